package visitor

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sluicegate/sluice/loadtest/script"
)

func parse(t *testing.T, text string) (Journey, error) {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return Parse(&n, "sale.yaml", "journey")
}

func TestAJourneyIsReadFromAScript(t *testing.T) {
	got, err := parse(t, `
spread: true
keep_alive: true
idle_close: 500ms
pages: [/drop/, /drop/item]
assets: 3
think: {min: 1s, max: 4s, distribution: exponential}
order: {share: 60%, path: /drop/order, body: '{"item":1}', type: application/json}
leave: 0.7
abandon:
  share: 0.05
  after: 2000
  return: {share: 0.5, after: 1m}
reload: 2%
tabs: 1%
impatient: {share: 0.1, every: {min: 100ms, max: 200ms}}
bots: {share: 0.01, requests: 5, every: 250ms}
cheats: {share: 1%, copies: 3, when: ended}
post: {share: 0.02, path: /drop/cart, after: 0s}
timeouts: {connect: 1s, page: 2s, poll: 3s}
headers: {X-Event: drop}
`)
	want := Journey{
		Spread: true, KeepAlive: true, IdleClose: 500 * time.Millisecond,
		Pages: Loads{Paths: []string{"/drop/", "/drop/item"}}, Assets: Loads{Count: 3},
		Think: Span{time.Second, 4 * time.Second, Exponential},
		Order: Order{.6, "/drop/order", `{"item":1}`, "application/json"}, Leave: .7,
		Reload: Every{.02, Span{Min: time.Second, Max: 3 * time.Second}}, Tabs: .01,
		Impatient: Every{.1, Span{Min: 100 * time.Millisecond, Max: 200 * time.Millisecond}},
		Bots:      Bots{.01, 5, Span{Min: 250 * time.Millisecond, Max: 250 * time.Millisecond}},
		Cheats:    Cheats{Share: .01, Copies: 3, Ended: true},
		Post:      Post{.02, "/drop/cart", "item=1&quantity=1", formType, Span{}},
		Timeouts:  Timeouts{time.Second, 2 * time.Second, 3 * time.Second},
		Headers:   [][2]string{{"X-Event", "drop"}},
	}
	want.Abandon.Share, want.Abandon.After = .05, Span{Min: 2 * time.Second, Max: 2 * time.Second}
	want.Abandon.Return.Share, want.Abandon.Return.After = .5, Span{Min: time.Minute, Max: time.Minute}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
}

func TestAScriptThatSaysNothingOfTheJourneyGetsPatientVisitors(t *testing.T) {
	for _, n := range []*yaml.Node{nil, {}} {
		if got, err := Parse(n, "sale.yaml", "journey"); err != nil || !reflect.DeepEqual(got, Defaults()) {
			t.Errorf("%v %+v", err, got)
		}
	}
	if got, err := parse(t, "null"); err != nil || !reflect.DeepEqual(got, Defaults()) {
		t.Errorf("%v %+v", err, got)
	}
}

func TestABadJourneyIsRefusedWithEveryProblemAndWhereItStands(t *testing.T) {
	_, err := parse(t, `think: {min: 5s, max: 1s}
leave: 1.5
pages: -1
assets: [a.css, "/b c"]
abandon: {after: 5s}
patience: high
reload: {share: 0.1, every: 0s}
cheats: {share: 1%, when: never}
bots: {share: 2%, requests: 0}
spread: "yes"
order: {share: lots, path: /o#rder}
headers: {Cookie: a=b, "X Y": z, X-A: "1\r\nB: 2"}
timeouts: 5s
idle_close: -1s
leave: 1
post: {share: 1%, after: {min: 1s}}
tabs: [1]
impatient: {share: .nan, every: {min: 1s, max: 2s, distribution: flat}}
`)
	want := []string{
		`sale.yaml:1:8: journey.think: min 5s is above max 1s`,
		`sale.yaml:1:1: journey.reload.every: is 0: nobody does anything without a pause`,
		`sale.yaml:2:8: journey.leave: "1.5" is not a share from 0 to 1, or from 0% to 100%`,
		`sale.yaml:3:8: journey.pages: "-1" is not a whole number from 0`,
		`sale.yaml:4:10: journey.assets[0]: "a.css" is not a path: it does not begin with /`,
		`sale.yaml:4:17: journey.assets[1]: "/b c" cannot stand in a request: percent-encode ' '`,
		`sale.yaml:5:10: journey.abandon: has no share: nobody would do it`,
		`sale.yaml:6:1: journey: unknown setting "patience"; there are: abandon, assets, bots, cheats, headers, idle_close, impatient, keep_alive, leave, order, pages, post, reload, spread, tabs, think, timeouts`,
		`sale.yaml:8:27: journey.cheats.when: "never" is none of active, ended, both`,
		`sale.yaml:9:29: journey.bots.requests: "0" is not a whole number from 1`,
		`sale.yaml:10:9: journey.spread: want true or false`,
		`sale.yaml:11:16: journey.order.share: "lots" is not a share from 0 to 1, or from 0% to 100%`,
		`sale.yaml:11:28: journey.order.path: "/o#rder" cannot stand in a request: percent-encode '#'`,
		`sale.yaml:12:11: journey.headers: Cookie is written by the visitors themselves`,
		`sale.yaml:12:24: journey.headers: "X Y" is no name of a header`,
		`sale.yaml:12:39: journey.headers.X-A: is no value of a header`,
		`sale.yaml:13:11: journey.timeouts: want settings, each with a name`,
		`sale.yaml:14:13: journey.idle_close: "-1s" is not a duration from 0s to 24h, as "1.5s" or "200ms"`,
		`sale.yaml:15:1: journey: leave is given twice`,
		`sale.yaml:16:26: journey.post.after: want min and max`,
		`sale.yaml:17:7: journey.tabs: want settings, each with a name`,
		`sale.yaml:18:20: journey.impatient.share: ".nan" is not a share from 0 to 1, or from 0% to 100%`,
		`sale.yaml:18:66: journey.impatient.every.distribution: "flat" is none of uniform, exponential, normal`,
	}
	var ps script.Problems
	if !errors.As(err, &ps) {
		t.Fatalf("%v", err)
	}
	var got []string
	for _, p := range ps {
		got = append(got, p.Error())
	}
	slices.Sort(got)
	slices.Sort(want)
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("\ngot  %s\nwant %s", g, w)
		}
	}
}

func TestASpanIsNeverLeft(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, d := range []Distribution{Uniform, Exponential, Normal} {
		s := Span{time.Second, 4 * time.Second, d}
		var sum time.Duration
		const n = 20_000
		for range n {
			x := s.Draw(r)
			if x < s.Min || x > s.Max {
				t.Fatalf("%v drew %v", d, x)
			}
			sum += x
		}
		want := map[Distribution]time.Duration{Uniform: 2500 * time.Millisecond, Exponential: 1843 * time.Millisecond, Normal: 2500 * time.Millisecond}[d]
		if mean := sum / n; (mean - want).Abs() > 30*time.Millisecond {
			t.Errorf("%v draws %v on average, want about %v", d, mean, want)
		}
	}
	if x := (Span{Min: time.Second, Max: time.Second}).Draw(r); x != time.Second {
		t.Errorf("a span without width drew %v", x)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("think: 1s\nabandon: {share: 5%, after: {min: 1s, max: 2s}}")
	f.Add("bots: &a {share: 1}\ncheats: *a")
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(text), &n) != nil {
			return
		}
		j, err := Parse(&n, "f", "journey")
		if err == nil && (j.Leave < 0 || j.Leave > 1 || j.Think.Min > j.Think.Max || j.Bots.Requests < 1) {
			t.Errorf("%+v", j)
		}
	})
}
