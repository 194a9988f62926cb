package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestAPatchForAnotherVersionIsAConflict(t *testing.T) {
	current := Overrides{5, map[string]Override{}}
	next, _, err := ApplyPatch(Defaults(), current, map[string]any{"version": 4, "mode": "hold"}, "bob", time.Now())
	if !errors.Is(err, ErrConflict) || !reflect.DeepEqual(next, current) {
		t.Errorf("%+v, %v", next, err)
	}
}

func TestApplyPatch(t *testing.T) {
	ann := time.Date(2026, 7, 1, 9, 0, 0, 0, time.UTC)
	bob := ann.Add(time.Minute)
	override := func(raw, by string, at time.Time) Override {
		return Override{Value: json.RawMessage(raw), By: by, At: at}
	}
	file := Defaults()
	file.Rate, file.Burst, file.MaxActive = Rate{10, PerSecond}, 20, 300
	noRate := Defaults()
	noRate.Rate = NoRate
	fast := file
	fast.Rate = Rate{1000, PerSecond} // its burst of 20 is under 40 ms of it

	tests := []struct {
		name    string
		file    Settings
		current Overrides
		patch   map[string]any
		want    Overrides
		with    func(*Settings) // what changes in the file's settings
		errs    []string
	}{
		{
			name: "one key changes and the others stay",
			file: file, current: Overrides{4, map[string]Override{"mode": override(`"hold"`, "ann", ann)}},
			patch: map[string]any{"rate": "600/m"},
			want:  Overrides{5, map[string]Override{"mode": override(`"hold"`, "ann", ann), "rate": override(`"600/m"`, "bob", bob)}},
			with:  func(s *Settings) { s.Mode, s.Rate = ModeHold, Rate{600, PerMinute} },
		},
		{
			name: "a patch for the version that there is",
			file: file, current: Overrides{4, map[string]Override{"mode": override(`"hold"`, "ann", ann)}},
			patch: map[string]any{"version": json.Number("4"), "mode": nil},
			want:  Overrides{5, map[string]Override{}},
		},
		{
			name: "a version that is none",
			file: file, current: Overrides{Version: 4},
			patch: map[string]any{"version": "new", "mode": "hold"},
			want:  Overrides{Version: 4},
			errs:  []string{"version: new: want the number that the room was shown with"},
		},
		{
			name: "null resets",
			file: file, current: Overrides{4, map[string]Override{"mode": override(`"hold"`, "ann", ann)}},
			patch: map[string]any{"mode": nil},
			want:  Overrides{5, map[string]Override{}},
		},
		{
			name: "null for what is not overridden changes nothing",
			file: file, current: Overrides{Version: 4},
			patch: map[string]any{"mode": nil},
			want:  Overrides{Version: 4},
		},
		{
			name: "saying the same again changes nothing, not even who said it",
			file: file, current: Overrides{4, map[string]Override{"session": override(`"5m"`, "ann", ann)}},
			patch: map[string]any{"session": "300s"},
			want:  Overrides{4, map[string]Override{"session": override(`"5m"`, "ann", ann)}},
			with:  func(s *Settings) { s.Session = 5 * time.Minute },
		},
		{
			name: "the value of the file can be pinned",
			file: file, current: Overrides{},
			patch: map[string]any{"max_active": json.Number("300")},
			want:  Overrides{1, map[string]Override{"max_active": override(`300`, "bob", bob)}},
		},
		{
			name: "an empty patch changes nothing",
			file: file, current: Overrides{Version: 2}, patch: map[string]any{}, want: Overrides{Version: 2},
		},
		{
			name: "values are kept as the file spells them",
			file: file, current: Overrides{},
			patch: map[string]any{
				"rate": "30/h", "burst": "7", "max_active": "none", "max_waiting": json.Number("5"),
				"session": "60m", "mode": "closed", "message": "a <b> & c",
			},
			want: Overrides{1, map[string]Override{
				"rate": override(`"30/h"`, "bob", bob), "burst": override(`7`, "bob", bob),
				"max_active": override(`"none"`, "bob", bob), "max_waiting": override(`5`, "bob", bob),
				"session": override(`"1h"`, "bob", bob), "mode": override(`"closed"`, "bob", bob),
				"message": override(`"a <b> & c"`, "bob", bob),
			}},
			with: func(s *Settings) {
				s.Rate, s.Burst, s.MaxActive, s.MaxWaiting = Rate{30, PerHour}, 7, 0, 5
				s.Session, s.Mode, s.Message = time.Hour, ModeClosed, "a <b> & c"
			},
		},
		{
			name: "every bad key is named and nothing changes",
			file: file, current: Overrides{Version: 4},
			patch: map[string]any{
				"rate": "fast", "burst": json.Number("1.5"), "max_active": json.Number("0"), "max_waiting": true,
				"session": json.Number("5"), "mode": map[string]any{}, "message": []any{}, "keep_place": "1h", "poll": nil,
			},
			want: Overrides{Version: 4},
			errs: []string{
				`rate: rate "fast": want N/s, N/m, N/h or none, such as 600/m`,
				`burst: "1.5": want a whole number`,
				`max_active: 0 lets nobody in: say mode: hold`,
				`max_waiting: "true": want a whole number or none`,
				`session: 5: want a string`,
				`mode: an object or a list: want a single value`,
				`message: an object or a list: want a single value`,
				`keep_place: cannot be changed while the room runs; what can: rate, burst, max_active, max_waiting, session, mode, message`,
				`poll: cannot be changed while the room runs; what can: rate, burst, max_active, max_waiting, session, mode, message`,
			},
		},
		{
			name: "one bad key refuses the good ones beside it",
			file: file, current: Overrides{Version: 4},
			patch: map[string]any{"rate": "5/s", "session": "900ms"},
			want:  Overrides{Version: 4},
			errs:  []string{`session: 900ms is not between 1s and 24h`},
		},
		{
			name: "what does not go together is refused",
			file: file, current: Overrides{Version: 4},
			patch: map[string]any{"rate": "1000/s"},
			want:  Overrides{Version: 4},
			errs:  []string{`burst: 20 is under 40 ms of the rate 1000/s, which it would throttle: use at least 40`},
		},
		{
			name: "a rate and a burst that go together only with each other",
			file: noRate, current: Overrides{},
			patch: map[string]any{"rate": "1000/s", "burst": json.Number("40")},
			want:  Overrides{1, map[string]Override{"rate": override(`"1000/s"`, "bob", bob), "burst": override(`40`, "bob", bob)}},
			with:  func(s *Settings) { s.Rate, s.Burst = Rate{1000, PerSecond}, 40 },
		},
		{
			name: "the rate can be taken off although the file has a burst",
			file: file, current: Overrides{},
			patch: map[string]any{"rate": "none"},
			want:  Overrides{1, map[string]Override{"rate": override(`"none"`, "bob", bob)}},
			with:  func(s *Settings) { s.Rate, s.Burst = NoRate, 0 },
		},
		{
			name: "a burst without a rate is refused",
			file: noRate, current: Overrides{},
			patch: map[string]any{"burst": json.Number("40")},
			want:  Overrides{},
			errs:  []string{`burst: has no meaning with rate none`},
		},
		{
			name: "a room is put on hold although its file is at odds with itself",
			file: fast, current: Overrides{},
			patch: map[string]any{"mode": "hold"},
			want:  Overrides{1, map[string]Override{"mode": override(`"hold"`, "bob", bob)}},
			with:  func(s *Settings) { s.Mode = ModeHold },
		},
		{
			name: "what was wrong before is refused when it is said again",
			file: fast, current: Overrides{},
			patch: map[string]any{"burst": json.Number("20"), "mode": "hold"},
			want:  Overrides{},
			errs:  []string{`burst: 20 is under 40 ms of the rate 1000/s, which it would throttle: use at least 40`},
		},
		{
			name: "a burst is not judged by a rate that was a slip",
			file: fast, current: Overrides{},
			patch: map[string]any{"rate": "10 a second", "burst": json.Number("10")},
			want:  Overrides{},
			errs:  []string{`rate: rate "10 a second": want N/s, N/m, N/h or none, such as 600/m`},
		},
		{
			name: "an override that cannot be read leaves the file in force",
			file: file, current: Overrides{4, map[string]Override{"rate": override(`"9/d"`, "ann", ann), "burst": override(`{`, "ann", ann)}},
			patch: map[string]any{"mode": "hold"},
			want: Overrides{5, map[string]Override{
				"rate": override(`"9/d"`, "ann", ann), "burst": override(`{`, "ann", ann), "mode": override(`"hold"`, "bob", bob),
			}},
			with: func(s *Settings) { s.Mode = ModeHold },
		},
		{
			name: "an override that only a newer gate knows is kept, and can be reset",
			file: file, current: Overrides{4, map[string]Override{"colour": override(`"red"`, "ann", ann), "weight": override(`1`, "ann", ann)}},
			patch: map[string]any{"weight": nil},
			want:  Overrides{5, map[string]Override{"colour": override(`"red"`, "ann", ann)}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			untouched := fmt.Sprint(tt.current, tt.patch)
			next, effective, err := ApplyPatch(tt.file, tt.current, tt.patch, "bob", bob)
			var errs []string
			for _, p := range Problems(err) {
				errs = append(errs, p.Error())
			}
			if !slices.Equal(errs, tt.errs) || (err == nil) != (tt.errs == nil) {
				t.Errorf("problems\n got %q\nwant %q\nerror: %v", errs, tt.errs, err)
			}
			if !reflect.DeepEqual(next, tt.want) {
				t.Errorf("overrides\n got %s\nwant %s", asJSON(t, next), asJSON(t, tt.want))
			}
			want := tt.file
			if tt.with != nil {
				tt.with(&want)
			}
			if effective != want {
				t.Errorf("settings\n got %+v\nwant %+v", effective, want)
			}
			if fmt.Sprint(tt.current, tt.patch) != untouched {
				t.Error("the overrides or the patch that were handed in changed")
			}
			if err == nil {
				if applied, err := next.Apply(tt.file); err == nil && applied.EffectiveBurst() != effective.EffectiveBurst() {
					t.Errorf("other gates make of it a burst of %d, this one %d", applied.EffectiveBurst(), effective.EffectiveBurst())
				}
			}
		})
	}
}

func TestOneOverrideThatDoesNotFitLeavesTheOthersInForce(t *testing.T) {
	file := Defaults()
	file.Rate, file.Burst = Rate{1000, PerSecond}, 20
	raw := func(s string) Override { return Override{Value: json.RawMessage(s)} }
	tests := []struct {
		name string
		keys map[string]Override
		with func(*Settings)
		errs []string
	}{
		{
			name: "a hold stays when the file was changed to a rate that its burst throttles",
			keys: map[string]Override{"mode": raw(`"hold"`)},
			with: func(s *Settings) { s.Mode = ModeHold },
			errs: []string{"burst: 20 is under 40 ms of the rate 1000/s, which it would throttle: use at least 40"},
		},
		{
			name: "a hold stays beside what only a newer gate can read",
			keys: map[string]Override{"mode": raw(`"hold"`), "burst": raw(`40`), "rate": raw(`"9/d"`), "colour": raw(`"red"`)},
			with: func(s *Settings) { s.Mode, s.Burst = ModeHold, 40 },
			errs: []string{
				`rate: rate "9/d": want N/s, N/m, N/h or none, such as 600/m`,
				`colour: cannot be changed while the room runs; what can: rate, burst, max_active, max_waiting, session, mode, message`,
			},
		},
		{
			name: "no rate has no use for the file's burst",
			keys: map[string]Override{"rate": raw(`"none"`)},
			with: func(s *Settings) { s.Rate, s.Burst = NoRate, 0 },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := Overrides{1, tt.keys}.InForce(file)
			want := file
			tt.with(&want)
			if got != want {
				t.Errorf("settings\n got %+v\nwant %+v", got, want)
			}
			var errs []string
			for _, p := range problems {
				errs = append(errs, p.Error())
			}
			if !slices.Equal(errs, tt.errs) {
				t.Errorf("problems\n got %q\nwant %q", errs, tt.errs)
			}
		})
	}
}

func TestProblemsAreFoundHoweverTheyAreWrapped(t *testing.T) {
	a, b := Problem{"a", ErrConflict}, Problem{"b", ErrConflict}
	got := Problems(fmt.Errorf("room: %w", errors.Join(a, fmt.Errorf("deeper: %w", b), ErrConflict)))
	if !slices.Equal(got, []Problem{a, b}) {
		t.Errorf("got %v", got)
	}
	if got := Problems(nil); got != nil {
		t.Errorf("no error has problems: %v", got)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
