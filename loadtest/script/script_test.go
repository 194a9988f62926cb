package script

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/metric"
)

func environment(name string) (string, bool) {
	v, ok := map[string]string{"SECOND_PORT": "8082", "PRICE": "999"}[name]
	return v, ok
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func good(t *testing.T, file string) *Script {
	t.Helper()
	s, err := Load(Source{File: "testdata/good/" + file, Env: environment})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestABadScriptIsRefusedWithEveryProblemAndWhereItStands(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := Load(Source{File: file, Data: []byte(read(t, file))})
			var problems Problems
			if s != nil || !errors.As(err, &problems) {
				t.Fatalf("got %+v, %v", s, err)
			}
			want := read(t, strings.TrimSuffix(file, "yaml")+"txt")
			if got := strings.ReplaceAll(err.Error(), file+":", "") + "\n"; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	t.Run("a file that is not there is no problem of the script", func(t *testing.T) {
		_, err := Load(Source{File: "testdata/nowhere.yaml"})
		if !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

func TestEveryOptionArrives(t *testing.T) {
	s := good(t, "spike.yaml")
	event := metric.NewTags("event", "sneaker")
	want := []Scenario{
		{Scenario: executor.Scenario{Name: "spike", Kind: executor.ConstantArrivalRate, GracefulStop: 3 * time.Minute, Rate: 8000,
			Duration: 10 * time.Second, TimeUnit: time.Second, PreAllocatedVUs: 80000, MaxVUs: 80000},
			Exec: "buyer", Env: map[string]string{"ITEM": "shoe", "PRICE": "120"}, Tags: metric.NewTags("event", "drop", "wave", "first"), JourneyKey: "journeys.buyer"},
		{Scenario: executor.Scenario{Name: "late", Kind: executor.RampingArrivalRate, StartTime: time.Minute, GracefulStop: 30 * time.Second, StartRate: 60,
			TimeUnit: time.Minute, PreAllocatedVUs: 5, MaxVUs: 50, Stages: []executor.Stage{{Duration: 30 * time.Second, Target: 600}, {Duration: time.Minute, Target: 600}}, FirstID: 80000},
			Env: map[string]string{"ITEM": "bag", "PRICE": "80"}, Tags: event, JourneyKey: "scenarios.late.journey"},
		{Scenario: executor.Scenario{Name: "people", Kind: executor.RampingVUs, GracefulRampDown: 10 * time.Second,
			Stages: []executor.Stage{{Duration: 10 * time.Second, Target: 20}, {Target: 5}, {Duration: 5 * time.Second, Target: 5}}, FirstID: 80050}, Tags: event, JourneyKey: "journey"},
		{Scenario: executor.Scenario{Name: "staff", Kind: executor.ConstantVUs, VUs: 3, Duration: 90 * time.Second, StartTime: 24 * time.Hour,
			GracefulStop: 30 * time.Second, FirstID: 80070}, Tags: event, JourneyKey: "journey"},
		{Scenario: executor.Scenario{Name: "each", Kind: executor.PerVUIterations, VUs: 2, Iterations: 7, MaxDuration: 10 * time.Minute,
			GracefulStop: 30 * time.Second, FirstID: 80073}, Tags: event, JourneyKey: "journey"},
		{Scenario: executor.Scenario{Name: "shared", Kind: executor.SharedIterations, VUs: 2, Iterations: 7, MaxDuration: 90 * time.Second,
			GracefulStop: 30 * time.Second, FirstID: 80075}, Tags: event, JourneyKey: "journey"},
	}
	if len(s.Scenarios) != len(want) {
		t.Fatalf("%d scenarios", len(s.Scenarios))
	}
	type journey struct {
		Think string   `yaml:"think"`
		Pages []string `yaml:"pages"`
		Price int      `yaml:"price"`
	}
	journeys := []journey{{"1s", []string{"/drop", "/item/shoe"}, 120}, {"1s", []string{"/drop", "/item/bag"}, 80}, {"2s", nil, 0}, {"2s", nil, 0}, {"2s", nil, 0}, {"2s", nil, 0}}
	for i, got := range s.Scenarios {
		var j journey
		if err := got.Journey.Decode(&j); err != nil || !reflect.DeepEqual(j, journeys[i]) {
			t.Errorf("%s: journey %+v, %v", got.Name, j, err)
		}
		got.Journey = want[i].Journey
		if !reflect.DeepEqual(got, want[i]) {
			t.Errorf("\ngot  %+v\nwant %+v", got, want[i])
		}
	}
	if line := s.Scenarios[0].Journey.Line; line != 10 {
		t.Errorf("the buyer's journey stands in line %d", line)
	}
	if !reflect.DeepEqual(s.Targets, []string{"http://127.0.0.1:8081", "http://127.0.0.1:8082"}) || s.Room != "drop" || s.Path != "/drop?utm=mail" || s.Tags != event {
		t.Errorf("%q %q %q %s", s.Targets, s.Room, s.Path, s.Tags)
	}
	if !reflect.DeepEqual(s.SummaryTrendStats, []string{"avg", "p(99)", "p(99.9)", "count"}) || s.SummaryTimeUnit != "ms" {
		t.Errorf("%q %q", s.SummaryTrendStats, s.SummaryTimeUnit)
	}
	var ts []string
	for _, x := range s.Thresholds {
		ts = append(ts, strings.Join([]string{x.Metric, x.Tags.String(), x.Source, x.DelayAbortEval.String()}, " "))
	}
	if want := []string{"http_req_failed  rate==0 0s", "http_req_duration scenario:spike,step:join p(99)<1000 0s",
		"http_req_duration scenario:spike,step:join p(99.9)<5000 5s", "iterations  count>=80000 0s"}; !reflect.DeepEqual(ts, want) || s.Thresholds[1].AbortOnFail || !s.Thresholds[2].AbortOnFail {
		t.Errorf("%q", ts)
	}
}

func TestShortcutsMakeTheScenarioThatK6WouldMake(t *testing.T) {
	base := executor.Scenario{Name: "default", GracefulStop: 30 * time.Second}
	for script, change := range map[string]func(*executor.Scenario){
		"room: a": func(s *executor.Scenario) {
			s.Kind, s.VUs, s.Iterations, s.MaxDuration = executor.PerVUIterations, 1, 1, 10*time.Minute
		},
		"{vus: 3, duration: 5s}": func(s *executor.Scenario) { s.Kind, s.VUs, s.Duration = executor.ConstantVUs, 3, 5*time.Second },
		"duration: 5s":           func(s *executor.Scenario) { s.Kind, s.VUs, s.Duration = executor.ConstantVUs, 1, 5*time.Second },
		"{iterations: 9, vus: 3}": func(s *executor.Scenario) {
			s.Kind, s.VUs, s.Iterations, s.MaxDuration = executor.SharedIterations, 3, 9, 10*time.Minute
		},
		"{iterations: 9, duration: 5s}": func(s *executor.Scenario) {
			s.Kind, s.VUs, s.Iterations, s.MaxDuration = executor.SharedIterations, 1, 9, 5*time.Second
		},
		"{vus: 3, stages: [{duration: 5s, target: 9}]}": func(s *executor.Scenario) {
			s.Kind, s.StartVUs, s.GracefulRampDown, s.Stages = executor.RampingVUs, 3, 30*time.Second, []executor.Stage{{Duration: 5 * time.Second, Target: 9}}
		},
	} {
		s, err := Load(Source{File: "s.yaml", Data: []byte(script)})
		if err != nil {
			t.Error(err)
			continue
		}
		want := base
		change(&want)
		if len(s.Scenarios) != 1 || !reflect.DeepEqual(s.Scenarios[0].Scenario, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", script, s.Scenarios, want)
		}
	}
}

func TestThresholdsWithoutAMetricAreToldWhereTheyStand(t *testing.T) {
	s, err := Load(Source{File: "s.yaml", Data: []byte(`
thresholds:
  http_reqs: ["p(99)<5", "count>1"]
  people_overtaken:
    - threshold: count==0
      abortOnFail: true
`)})
	if err != nil {
		t.Fatal(err)
	}
	r := metric.NewRegistry()
	metric.Builtin(r)
	got := ""
	if err := s.CheckThresholds(func(t metric.Threshold) error { return t.Check(r) }); err != nil {
		got = err.Error()
	}
	want := `s.yaml:3:15: thresholds.http_reqs[0]: threshold "p(99)<5": a counter has no p(99), only count or rate
s.yaml:5:18: thresholds.people_overtaken[0].threshold: no metric is named people_overtaken`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := good(t, "short.json").CheckThresholds(func(t metric.Threshold) error { return t.Check(r) }); err != nil {
		t.Error(err)
	}
}

func TestJSONMayBeIndentedWithTabs(t *testing.T) {
	s, err := Load(Source{File: "s.json", Data: []byte("\n{\n\t\"tags\":\t{\"said\": \"\\\"no\ttabs\"},\n\t\"room\": \"drop\"\n}\n")})
	if err != nil {
		t.Fatal(err)
	}
	if said, _ := s.Tags.Get("said"); said != "\"no\ttabs" || s.Room != "drop" {
		t.Errorf("%q %q", said, s.Room)
	}
}

func TestDurations(t *testing.T) {
	for s, want := range map[string]time.Duration{"1m30s": 90 * time.Second, "250": 250 * time.Millisecond, "0.5": 500 * time.Microsecond, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "0": 0, "0s": 0} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("%s is %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-1s", "-5", "1", "5 s", "s", "d", "-1d", "1.5d", "99999999d", "1d2", "NaN", "Inf", "1e30", "1d-2h"} {
		if got, err := parseDuration(s); err == nil && s != "1" {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func TestThePlan(t *testing.T) {
	p := good(t, "spike.yaml").Plan()
	if got, want := p.Text(), read(t, "testdata/plan/spike.txt"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := string(p.JSON()), read(t, "testdata/plan/spike.json"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheHighestNumberOfVirtualUsers(t *testing.T) {
	for _, c := range []struct {
		name, script string
		vus          int64
		duration     time.Duration
	}{
		{"scenarios one behind the other, with their graceful stops, do not add up",
			"scenarios: {a: {executor: constant-vus, vus: 5, duration: 10s}, b: {executor: constant-vus, vus: 7, duration: 1s, startTime: 40s}}", 7, 71 * time.Second},
		{"those that overlap by a graceful stop do",
			"scenarios: {a: {executor: constant-vus, vus: 5, duration: 10s}, b: {executor: constant-vus, vus: 7, duration: 1s, startTime: 39s}}", 12, 70 * time.Second},
		{"who was ramped down counts until the time to end is over",
			"scenarios: {a: {executor: ramping-vus, startVUs: 10, gracefulRampDown: 5s, stages: [{duration: 0, target: 0}, {duration: 10s, target: 0}]}, b: {executor: constant-vus, vus: 3, duration: 1s, startTime: 4s}}", 13, 40 * time.Second},
		{"and no longer",
			"scenarios: {a: {executor: ramping-vus, startVUs: 10, gracefulRampDown: 5s, stages: [{duration: 0, target: 0}, {duration: 10s, target: 0}]}, b: {executor: constant-vus, vus: 3, duration: 1s, startTime: 5s}}", 10, 40 * time.Second},
		{"who comes back before that counts once",
			"scenarios: {a: {executor: ramping-vus, startVUs: 10, gracefulRampDown: 5s, gracefulStop: 0, stages: [{duration: 0, target: 0}, {duration: 4s, target: 0}, {duration: 0, target: 8}, {duration: 4s, target: 8}]}}", 10, 8 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Load(Source{File: "s.yaml", Data: []byte(c.script)})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.MaxVUs(); got != c.vus {
				t.Errorf("%d users, want %d", got, c.vus)
			}
			if got := s.Duration(); got != c.duration {
				t.Errorf("%v, want %v", got, c.duration)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal(files, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if data == nil {
			data = []byte{}
		}
		s, err := Load(Source{File: "f.yaml", Data: data, Env: environment})
		if err != nil {
			var ps Problems
			if !errors.As(err, &ps) || len(ps) == 0 || s != nil {
				t.Fatalf("got %+v, %v", s, err)
			}
			for _, p := range ps {
				if p.Message == "" || p.Line < 0 || p.Column < 0 || p.File != "f.yaml" {
					t.Errorf("a problem that stands nowhere: %#v", p)
				}
			}
			return
		}
		if len(s.Scenarios) == 0 {
			t.Fatal("no scenario")
		}
		var ids int64
		for i := range s.Scenarios {
			sc := &s.Scenarios[i]
			if sc.Slots() < 1 || sc.Length() < 0 || sc.String() == "" || sc.FirstID != ids {
				t.Errorf("%+v", sc)
			}
			ids += sc.Slots()
			if sc.Kind.Open() {
				a := executor.NewArrivals(&sc.Scenario)
				if n := a.Total(); n < 1 || a.At(0) > a.At(n-1) || a.At(n-1) > sc.Length() {
					t.Errorf("%+v: %d arrivals to %v", sc, n, a.At(n-1))
				}
			}
		}
		if ids > 1_000_000 {
			return // the plan walks through each user of a ramp
		}
		if s.Plan().Text() == "" || s.Duration() <= 0 {
			t.Error("no plan")
		}
		if _, err := json.Marshal(s.Plan()); err != nil {
			t.Error(err)
		}
	})
}
