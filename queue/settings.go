package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rate is how many visitors may be called per time, kept as it was written.
// The zero value is not a rate; NoRate sets no limit.
type Rate struct {
	N   int64
	Per Unit
}

// Unit is the time of a Rate.
type Unit byte

// The units of a Rate, as they are written.
const (
	PerSecond Unit = 's'
	PerMinute Unit = 'm'
	PerHour   Unit = 'h'
)

// NoRate is the rate "none": no limit per time.
var NoRate = Rate{N: -1}

// maxPerHour keeps the arithmetic of admission exact in a double.
const maxPerHour = 1_000_000 * 3600

// PerHour returns visitors per hour, -1 when there is no limit.
func (r Rate) PerHour() int64 {
	switch r.Per {
	case PerSecond:
		return r.N * 3600
	case PerMinute:
		return r.N * 60
	case PerHour:
		return r.N
	default:
		return -1
	}
}

// String returns the rate as it is written in the configuration.
func (r Rate) String() string {
	if r.PerHour() < 0 {
		return "none"
	}
	return strconv.FormatInt(r.N, 10) + "/" + string(r.Per)
}

// ParseRate reads N/s, N/m, N/h or none.
func ParseRate(s string) (Rate, error) {
	if s == "none" {
		return NoRate, nil
	}
	if s == "0" {
		return Rate{}, fmt.Errorf("rate %q lets nobody in: say mode: hold", s)
	}
	number, unit, found := strings.Cut(s, "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if !found || err != nil || len(unit) != 1 || !strings.Contains("smh", unit) || number[0] == '+' {
		return Rate{}, fmt.Errorf("rate %q: want N/s, N/m, N/h or none, such as 600/m", s)
	}
	r := Rate{n, Unit(unit[0])}
	switch {
	case n == 0:
		return Rate{}, fmt.Errorf("rate %q lets nobody in: say mode: hold", s)
	case n < 0:
		return Rate{}, fmt.Errorf("rate %q is negative", s)
	case n > maxPerHour || r.PerHour() > maxPerHour:
		return Rate{}, fmt.Errorf("rate %q is over the most that can be counted, 1000000/s", s)
	}
	return r, nil
}

// Mode is what a room does with visitors.
type Mode uint8

const (
	ModeAuto   Mode = iota // as the limits allow
	ModeHold               // nobody is called; the called may still come; places go on being given
	ModeOpen               // everybody passes
	ModeClosed             // nobody joins or is called; places are kept; the admitted go on
)

var modeNames = [...]string{"auto", "hold", "open", "closed"}

func (m Mode) String() string { return modeNames[m] }

// ParseMode reads auto, hold, open or closed.
func ParseMode(s string) (Mode, error) {
	i := slices.Index(modeNames[:], s)
	if i < 0 {
		return 0, fmt.Errorf("mode %q: want auto, hold, open or closed", s)
	}
	return Mode(i), nil
}

// Settings are the limits and times of a room.
type Settings struct {
	Rate        Rate
	Burst       int64         // most called in one instant after a quiet time; 0: one second's worth of the rate, at least 1
	MaxActive   int64         // most visitors called or active at once; 0: no limit
	MaxWaiting  int64         // most places given at once; 0: no limit
	Session     time.Duration // idle time after which an active visitor's slot is freed
	MaxSession  time.Duration // ends a session however busy; 0: never
	ClaimWithin time.Duration // longest that a called visitor's slot waits for them
	KeepPlace   time.Duration // how long an absent visitor's place is kept
	Mode        Mode
	PollMin     time.Duration
	PollMax     time.Duration
	Message     string // shown to people who wait
}

// Defaults are the settings of a room that names only its rate.
func Defaults() Settings {
	return Settings{
		Session:     10 * time.Minute,
		ClaimWithin: 30 * time.Second,
		KeepPlace:   30 * time.Minute,
		PollMin:     2 * time.Second,
		PollMax:     30 * time.Second,
	}
}

// EffectiveBurst is Burst, or what it follows from. With no rate it is 0: then
// only MaxActive limits what one instant may call.
func (s *Settings) EffectiveBurst() int64 {
	if s.Rate.PerHour() < 0 {
		return 0
	}
	if s.Burst > 0 {
		return s.Burst
	}
	return max(1, s.Rate.PerHour()/3600)
}

// Fit returns s with what its times do to each other: a slot waits no longer for a
// visitor than it then lasts, and visitors are asked to come back at least twice
// within the time that their place is kept.
func (s Settings) Fit() Settings {
	s.ClaimWithin = min(s.ClaimWithin, s.Session)
	s.PollMax = min(s.PollMax, s.KeepPlace/2)
	s.PollMin = min(s.PollMin, s.PollMax)
	return s
}

// SlotMargin is how much longer a slot lives in the store than any pass for it
// says, so that no pass is in use whose slot was given away.
const SlotMargin = 10 * time.Second

// ClaimMargin is the SlotMargin of a slot that waits for its visitor.
func (s *Settings) ClaimMargin() time.Duration { return min(SlotMargin, s.ClaimWithin/2) }

// UsedFor is how long a used ticket must be remembered after its claim: until
// the latest copy of it has expired by itself.
func (s *Settings) UsedFor() time.Duration { return TicketLife(s.KeepPlace) + time.Minute }

// TicketLife is how long a ticket is good for after its last-seen stamp.
func TicketLife(keepPlace time.Duration) time.Duration { return keepPlace / 6 * 7 }

// Problem is something wrong with one setting.
type Problem struct {
	Key string
	Err error
}

func (p Problem) Error() string { return p.Key + ": " + p.Err.Error() }
func (p Problem) Unwrap() error { return p.Err }

// Check returns everything wrong with s.
func (s *Settings) Check() []Problem {
	var out []Problem
	bad := func(key, format string, args ...any) { out = append(out, Problem{key, fmt.Errorf(format, args...)}) }
	between := func(key string, d, low, high time.Duration) {
		if d < low || d > high {
			bad(key, "%s is not between %s and %s", Span(d), Span(low), Span(high))
		}
	}
	if s.Rate == (Rate{}) {
		bad("rate", "a room must have a rate; say none for no limit")
	}
	switch perHour := s.Rate.PerHour(); {
	case s.Burst < 0:
		bad("burst", "%d is negative", s.Burst)
	case s.Burst > maxBurst:
		bad("burst", "%d is over the most that can be counted, %d", s.Burst, int64(maxBurst))
	case s.Burst > 0 && perHour < 0:
		bad("burst", "has no meaning with rate none")
	case s.Burst > 0 && s.Burst*25*3600 < perHour:
		bad("burst", "%d is under 40 ms of the rate %s, which it would throttle: use at least %d", s.Burst, s.Rate, (perHour+25*3600-1)/(25*3600))
	}
	count := func(key string, n int64) {
		if n < 0 || n > math.MaxInt32 {
			bad(key, "%d is not between 1 and %d", n, math.MaxInt32)
		}
	}
	count("max_active", s.MaxActive)
	count("max_waiting", s.MaxWaiting)
	between("session", s.Session, time.Second, 24*time.Hour)
	if s.MaxSession != 0 {
		between("max_session", s.MaxSession, time.Second, 30*24*time.Hour)
	}
	between("claim_within", s.ClaimWithin, time.Second, time.Hour)
	between("keep_place", s.KeepPlace, time.Second, 7*24*time.Hour)
	between("poll.min", s.PollMin, 100*time.Millisecond, time.Minute)
	between("poll.max", s.PollMax, 100*time.Millisecond, 10*time.Minute)
	if s.PollMin > s.PollMax {
		bad("poll.max", "%s is below poll.min %s", Span(s.PollMax), Span(s.PollMin))
	}
	if len(s.Message) > maxMessage {
		bad("message", "%d bytes are more than %d", len(s.Message), maxMessage)
	}
	return out
}

const (
	maxBurst   = 10_000_000
	maxMessage = 2000
)

// Span writes a duration as the configuration does: 10m, not 10m0s.
func Span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// live are the settings that may be changed while the room runs: how each is
// read from its JSON value, spelled as in the file, and how it is written.
var live = map[string]struct {
	read  func(*Settings, any) error
	write func(*Settings) any
}{
	"rate": {
		func(s *Settings, v any) (err error) { s.Rate, err = stringThen(v, ParseRate); return },
		func(s *Settings) any { return s.Rate.String() },
	},
	"burst": {
		func(s *Settings, v any) (err error) { s.Burst, err = ParseCount(v, false); return },
		func(s *Settings) any {
			if s.Rate.PerHour() < 0 {
				return nil
			}
			return s.EffectiveBurst()
		},
	},
	"max_active": {
		func(s *Settings, v any) (err error) { s.MaxActive, err = ParseCount(v, true); return },
		func(s *Settings) any { return countOrNone(s.MaxActive) },
	},
	"max_waiting": {
		func(s *Settings, v any) (err error) {
			if s.MaxWaiting, err = ParseCount(v, true); errors.Is(err, errZero) {
				err = errors.New("0 lets nobody join: say mode: closed")
			}
			return
		},
		func(s *Settings) any { return countOrNone(s.MaxWaiting) },
	},
	"session": {
		func(s *Settings, v any) (err error) { s.Session, err = stringThen(v, ParseSpan); return },
		func(s *Settings) any { return Span(s.Session) },
	},
	"mode": {
		func(s *Settings, v any) (err error) { s.Mode, err = stringThen(v, ParseMode); return },
		func(s *Settings) any { return s.Mode.String() },
	},
	"message": {
		func(s *Settings, v any) (err error) {
			s.Message, err = stringThen(v, func(m string) (string, error) { return m, nil })
			return
		},
		func(s *Settings) any { return s.Message },
	},
}

// LiveKeys are the settings that may be changed while the room runs.
func LiveKeys() []string {
	return []string{"rate", "burst", "max_active", "max_waiting", "session", "mode", "message"}
}

// Set changes one live setting by its JSON value: a string, a json.Number or
// nil. It does not check how the settings go together: see Check.
func (s *Settings) Set(key string, value any) error {
	k, ok := live[key]
	if !ok {
		return Problem{key, fmt.Errorf("cannot be changed while the room runs; what can: %s", strings.Join(LiveKeys(), ", "))}
	}
	if err := k.read(s, value); err != nil {
		return Problem{key, err}
	}
	return nil
}

// Get returns one live setting as it is written in the file.
func (s *Settings) Get(key string) any { return live[key].write(s) }

// ParseSpan reads a duration such as 10m; nothing without a unit, not even 0,
// and nothing with a sign.
func ParseSpan(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || s == "0" || s[0] == '-' || s[0] == '+' {
		return 0, fmt.Errorf("duration %q: want a number with a unit, such as 90s or 10m", s)
	}
	return d, nil
}

var errZero = errors.New("0 lets nobody in: say mode: hold")

// ParseCount reads a whole number above 0, or (when orNone) the word none as 0.
// It takes what JSON and YAML make of them.
func ParseCount(v any, orNone bool) (int64, error) {
	want := "a whole number"
	if orNone {
		want = "a whole number or none"
	}
	if v == "none" && orNone {
		return 0, nil
	}
	text, isString := v.(string)
	if !isString {
		text = fmt.Sprint(v)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || isString && text[0] == '+':
		return 0, fmt.Errorf("%q: want %s", text, want)
	case n == 0:
		return 0, errZero
	case n < 0:
		return 0, fmt.Errorf("%d is negative", n)
	}
	return n, nil
}

func stringThen[T any](v any, parse func(string) (T, error)) (T, error) {
	s, ok := v.(string)
	if !ok {
		var zero T
		return zero, fmt.Errorf("%v: want a string", v)
	}
	return parse(s)
}

func countOrNone(n int64) any {
	if n == 0 {
		return "none"
	}
	return n
}

// Override is one setting changed while the room runs.
type Override struct {
	Value json.RawMessage `json:"value"`
	By    string          `json:"by"`
	At    time.Time       `json:"at"`
}

// Overrides are the live changes of a room. They win over the configuration of
// every gate until they are reset.
type Overrides struct {
	Version int64               `json:"version"`
	Keys    map[string]Override `json:"keys"`
}

// Apply returns s with the overrides in force.
func (o Overrides) Apply(s Settings) (Settings, error) {
	for _, key := range slices.Sorted(maps.Keys(o.Keys)) {
		value, err := decodeValue(o.Keys[key].Value)
		if err != nil {
			return s, Problem{key, err}
		}
		if err := s.Set(key, value); err != nil {
			return s, err
		}
	}
	return s, nil
}

func decodeValue(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("value %s: %w", raw, err)
	}
	return v, nil
}
