package route

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var visitor = netip.MustParseAddr("192.0.2.7")

// around is a line of testdata/around.txt with the rooms it is about.
type around struct {
	line                         int
	rooms                        []Room
	host, method, target, expect string
	why                          string
}

func readAround(t testing.TB) (all []around) {
	f, err := os.Open("testdata/around.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rooms []Room
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, why, _ := strings.Cut(lines.Text(), " # ")
		fields := strings.Fields(text)
		if strings.HasPrefix(text, "#") {
			continue
		}
		for i := range fields {
			fields[i] = unescape(t, n, fields[i])
		}
		switch {
		case len(fields) == 0:
		case fields[0] == "site":
			rooms = nil
		case fields[0] == "room":
			r := Room{Name: fields[1]}
			for _, m := range fields[2:] {
				if m == "nocase" {
					r.IgnoreCase = true
					continue
				}
				i := strings.IndexByte(m, '/')
				r.Match = append(r.Match, Match{m[:i], m[i:]})
			}
			rooms = append(slices.Clone(rooms), r)
		case fields[0] == "except":
			var e Except
			if fields[1] == "static" {
				e.Static = true
				fields = []string{"except", "-", "-", "-"}
			}
			if fields[1] != "-" {
				e.Path = fields[1]
			}
			if fields[2] != "-" {
				e.Methods = strings.Split(fields[2], ",")
			}
			if fields[3] != "-" {
				e.Sources = []netip.Prefix{netip.MustParsePrefix(fields[3])}
			}
			rooms = slices.Clone(rooms)
			last := &rooms[len(rooms)-1]
			last.Except = append(slices.Clone(last.Except), e)
		default:
			if len(fields) < 4 || why == "" {
				t.Fatalf("around.txt:%d: want HOST METHOD TARGET VERDICT [ROOM] # why", n)
			}
			if fields[0] == "-" {
				fields[0] = ""
			}
			all = append(all, around{n, rooms, fields[0], fields[1], fields[2], strings.Join(fields[3:], " "), strings.TrimSpace(why)})
		}
	}
	return all
}

func unescape(t testing.TB, line int, s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	s = strings.ReplaceAll(s, `\s`, " ")
	u, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		t.Fatalf("around.txt:%d: %q: %v", line, s, err)
	}
	return u
}

func mustNew(t testing.TB, rooms []Room) *Table {
	t.Helper()
	tab, err := New(rooms)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	return tab
}

func answer(rooms []Room, room int, v Verdict) string {
	if room < 0 {
		return v.String()
	}
	return v.String() + " " + rooms[room].Name
}

func TestNobodyGetsAroundARoomBySpellingAndEverybodyElsePasses(t *testing.T) {
	all := readAround(t)
	if len(all) < 150 {
		t.Fatalf("%d spellings, want 150 at least", len(all))
	}
	for _, a := range all {
		tab := mustNew(t, a.rooms)
		room, v := tab.Find([]byte(a.method), []byte(a.host), []byte(a.target), visitor)
		if got := answer(a.rooms, room, v); got != a.expect {
			t.Errorf("around.txt:%d: %s %q on %q is %s, want %s (%s)", a.line, a.method, a.target, a.host, got, a.expect, a.why)
		}
	}
	t.Logf("%d spellings", len(all))
}

func TestALongPathIsDecidedAsAShortOneIs(t *testing.T) {
	tab := mustNew(t, []Room{{Name: "drop", Match: []Match{{Path: "/drop"}}}})
	for _, c := range []struct {
		target string
		want   Verdict
	}{
		{"/drop/" + strings.Repeat("a", 16<<10), Gated},
		{"/drop?" + strings.Repeat("%2f", 5<<10), Gated},
		{"/drop/" + strings.Repeat("%ED%95%9C", 1800), Gated},
		{"/" + strings.Repeat("%ED%95%9C", 1800), Ungated},
		{"/" + strings.Repeat("%ED%95%9C", 1800) + "/../drop", Refused},
		{"/" + strings.Repeat("%ED%95%9C", 1800) + "/../drip", Ungated},
		{"/" + strings.Repeat("a/../", 3000) + "drop", Refused},
		{"/" + strings.Repeat("a/", 60) + "../x", Ungated},
		{"/" + strings.Repeat("a/", 600) + "../x", Refused}, // more work than it is worth
		{"/" + strings.Repeat("/", 16000) + "drop", Refused},
		{"/%" + strings.Repeat("25", 8000) + "64rop", Refused},
		{"/" + strings.Repeat("\ufdfa", 5000), Refused}, // grows elevenfold
		{"/drop/" + strings.Repeat("\ufdfa", 5000), Refused},
		{"/" + strings.Repeat("%61", 20000), Refused}, // longer than any header may be
	} {
		if _, v := tab.Find([]byte("GET"), nil, []byte(c.target), visitor); v != c.want {
			t.Errorf("%.30q... of %d bytes is %v, want %v", c.target, len(c.target), v, c.want)
		}
	}
}

func TestAnExceptionBySourceHoldsForThatSourceOnly(t *testing.T) {
	tab := mustNew(t, []Room{{Name: "all", Match: []Match{{}}, Except: []Except{
		{Path: "/hook", Methods: []string{"POST"}, Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}},
		{Sources: []netip.Prefix{netip.MustParsePrefix("::ffff:203.0.113.0/120")}},
	}}})
	for _, c := range []struct {
		method, path, source string
		want                 Verdict
	}{
		{"POST", "/hook", "198.51.100.9", Excepted},
		{"POST", "/hook", "::ffff:198.51.100.9", Excepted},
		{"POST", "/hook", "2001:db8::1", Excepted},
		{"POST", "/hook", "2001:db9::1", Gated},
		{"POST", "/hook", "198.51.101.9", Gated},
		{"GET", "/hook", "198.51.100.9", Gated},
		{"POST", "/x", "198.51.100.9", Gated},
		{"GET", "/x", "203.0.113.1", Excepted},
		{"GET", "/x//%41", "::ffff:203.0.113.1", Excepted},
		{"GET", "/x/../y", "203.0.113.1", Refused},
	} {
		if _, v := tab.Find([]byte(c.method), nil, []byte(c.path), netip.MustParseAddr(c.source)); v != c.want {
			t.Errorf("%s %s from %s is %v, want %v", c.method, c.path, c.source, v, c.want)
		}
	}
	if _, v := tab.Find([]byte("POST"), nil, []byte("/hook"), netip.Addr{}); v != Gated {
		t.Errorf("from nowhere: %v, want gated", v)
	}
}

func TestEveryMistakeIsReportedAtOnceWithItsPlace(t *testing.T) {
	one := []Match{{Path: "/drop"}}
	for name, c := range map[string]struct {
		rooms []Room
		want  []string
	}{
		"no match":              {[]Room{{Name: "a"}}, []string{"rooms[0].match: a room without"}},
		"path without slash":    {[]Room{{Match: []Match{{Path: "drop"}}}}, []string{"rooms[0].match[0].path: path \"drop\" must start"}},
		"encoded path":          {[]Room{{Match: []Match{{Path: "/a%20b"}}}}, []string{"write it decoded"}},
		"dot segment":           {[]Room{{Match: []Match{{Path: "/a/../b"}}}}, []string{"dot segment"}},
		"single dot":            {[]Room{{Match: []Match{{Path: "/."}}}}, []string{"dot segment"}},
		"query":                 {[]Room{{Match: []Match{{Path: "/a?b"}}}}, []string{"query"}},
		"star":                  {[]Room{{Match: []Match{{Path: "/a/*"}}}}, []string{"star"}},
		"parameter":             {[]Room{{Match: []Match{{Path: "/a;b"}}}}, []string{"';'"}},
		"backslash":             {[]Room{{Match: []Match{{Path: `/a\b`}}}}, []string{`'\\'`}},
		"control byte":          {[]Room{{Match: []Match{{Path: "/a\tb"}}}}, []string{`'\t'`}},
		"empty segment":         {[]Room{{Match: []Match{{Path: "/a//b"}}}}, []string{"empty segment"}},
		"trailing dot":          {[]Room{{Match: []Match{{Path: "/a."}}}}, []string{"drop a dot or space"}},
		"not UTF-8":             {[]Room{{Match: []Match{{Path: "/\xff"}}}}, []string{"UTF-8"}},
		"look-alike slash":      {[]Room{{Match: []Match{{Path: "/a\u2215b"}}}}, []string{"different ways"}},
		"fullwidth parameter":   {[]Room{{Match: []Match{{Path: "/a\uff1bb"}}}}, []string{"different ways"}},
		"fullwidth percent":     {[]Room{{Match: []Match{{Path: "/a\uff05b"}}}}, []string{"different ways"}},
		"nothing to see":        {[]Room{{Match: []Match{{Path: "/\u200b"}}}}, []string{"different ways"}},
		"host with scheme":      {[]Room{{Match: []Match{{Host: "http://a"}}}}, []string{"rooms[0].match[0].host: host \"http://a\" must be a name"}},
		"host with port":        {[]Room{{Match: []Match{{Host: "a:80"}}}}, []string{"port"}},
		"host with inner star":  {[]Room{{Match: []Match{{Host: "a.*.b"}}}}, []string{"first label"}},
		"host of a star":        {[]Room{{Match: []Match{{Host: "*"}}}}, []string{"leave it out"}},
		"host with empty label": {[]Room{{Match: []Match{{Host: "a..b"}}}}, []string{"empty label"}},
		"host ending in a dot":  {[]Room{{Match: []Match{{Host: "a."}}}}, []string{"empty label"}},
		"host beyond ASCII":     {[]Room{{Match: []Match{{Host: "쇼핑.example"}}}}, []string{"xn--"}},
		"host with a space":     {[]Room{{Match: []Match{{Host: "a b"}}}}, []string{"' '"}},
		"host no address":       {[]Room{{Match: []Match{{Host: "[1:2]"}}}}, []string{"IPv6"}},
		"same match": {[]Room{{Name: "a", Match: one}, {Name: "b", Match: []Match{{Path: "/x"}, {Path: "/drop/"}}}},
			[]string{`rooms[1].match[1].path: room "a" has the same match: "/drop"`}},
		"same match in a room":      {[]Room{{Match: []Match{{}, {Path: "/"}}}}, []string{"match 0 of this room"}},
		"same match but for case":   {[]Room{{Name: "a", Match: one}, {Name: "b", Match: []Match{{Path: "/Drop"}}}}, []string{"cannot be told from"}},
		"same host but for case":    {[]Room{{Match: []Match{{Host: "a.b"}}}, {Match: []Match{{Host: "A.B"}}}}, []string{"same match"}},
		"same host in IPv6":         {[]Room{{Match: []Match{{Host: "[::1]"}}}, {Match: []Match{{Host: "0:0::1"}}}}, []string{"same match"}},
		"empty exception":           {[]Room{{Match: one, Except: []Except{{}}}}, []string{"rooms[0].except[0]: an exception that names nothing"}},
		"exception elsewhere":       {[]Room{{Match: one, Except: []Except{{Path: "/x"}}}}, []string{"rooms[0].except[0].path: \"/x\" is outside"}},
		"exception above":           {[]Room{{Match: one, Except: []Except{{Path: "/", Methods: []string{"GET"}}}}}, []string{"outside"}},
		"exception of the whole":    {[]Room{{Match: one, Except: []Except{{Path: "/drop"}}}}, []string{"whole room"}},
		"exception with bad path":   {[]Room{{Match: one, Except: []Except{{Path: "x"}}}}, []string{"must start"}},
		"exception taken by a room": {[]Room{{Match: []Match{{}}, Except: []Except{{Path: "/drop/x"}}}, {Match: one}}, []string{"more specific"}},
		"small method":              {[]Room{{Match: one, Except: []Except{{Methods: []string{"get"}}}}}, []string{"rooms[0].except[0].methods: method \"get\" can never apply: write GET"}},
		"unknown method":            {[]Room{{Match: one, Except: []Except{{Methods: []string{"GTE"}}}}}, []string{"unknown method"}},
		"static files and more":     {[]Room{{Match: one, Except: []Except{{Static: true, Path: "/drop/x"}}}}, []string{"rooms[0].except[0]: an exception of static files names nothing else"}},
		"no prefix":                 {[]Room{{Match: one, Except: []Except{{Sources: []netip.Prefix{{}}}}}}, []string{"rooms[0].except[0].source"}},
		"wide mapped prefix":        {[]Room{{Match: one, Except: []Except{{Sources: []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/80")}}}}}, []string{"wider"}},
		"all of them": {[]Room{{Match: []Match{{Host: "a b", Path: "x"}, {Path: "/a?"}}, Except: []Except{{}, {Methods: []string{"get", "GTE"}}}}, {}},
			[]string{"rooms[0].match[0].host", "rooms[0].match[0].path", "rooms[0].match[1].path", "rooms[0].except[0]", "rooms[0].except[1].methods", "rooms[0].except[1].methods", "rooms[1].match"}},
	} {
		t.Run(name, func(t *testing.T) {
			tab, err := New(c.rooms)
			if err == nil || tab != nil {
				t.Fatal("accepted")
			}
			var p Problem
			if !errors.As(err, &p) {
				t.Errorf("%v holds no Problem", err)
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(c.want) {
				t.Fatalf("%d problems, want %d:\n%v", len(got), len(c.want), err)
			}
			for i, w := range c.want {
				if !strings.Contains(got[i], w) {
					t.Errorf("problem %d is %q, want %q in it", i, got[i], w)
				}
			}
		})
	}
}

func TestRoomsAsPeopleWriteThemAreAccepted(t *testing.T) {
	mustNew(t, nil)
	mustNew(t, []Room{
		{Name: "default", Match: []Match{{}}},
		{Name: "drop", Match: []Match{{Host: "Shop.Example", Path: "/drop/"}, {Host: "*.shop.example", Path: "/drop"}, {Path: "/한정판"}, {Path: "/flash sale"}},
			Except: []Except{{Path: "/drop/api", Methods: []string{"POST"}}, {Path: "/drop", Methods: []string{"OPTIONS"}}, {Methods: []string{"HEAD"}}}},
		{Name: "wk", Match: []Match{{Path: "/.well-known/x"}, {Path: "/a:b@c~d!e(f)"}, {Host: "::1"}, {Host: "10.0.0.1"}, {Host: "my_host"}}},
	})
}

func manyRooms(n int) (rooms []Room) {
	for i := range n {
		rooms = append(rooms, Room{Name: fmt.Sprint("r", i), IgnoreCase: i%2 == 0,
			Match:  []Match{{Path: fmt.Sprintf("/drop-%d", i)}, {Host: "shop.example", Path: fmt.Sprintf("/drop-%d", i)}, {Host: "*.shop.example", Path: fmt.Sprintf("/drop-%d/x", i)}},
			Except: []Except{{Path: fmt.Sprintf("/drop-%d/x/api", i), Methods: []string{"POST"}}, {Static: true}}})
	}
	return rooms
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{3, 100} {
		plain := make([]Room, n)
		for i := range plain {
			plain[i] = Room{Match: []Match{{Path: fmt.Sprintf("/drop-%d", i)}}}
		}
		for _, c := range []struct {
			name   string
			rooms  []Room
			target string
		}{
			{"plain", plain, "/drop-2/products/limited-edition-shoes-42"},
			{"elsewhere", plain, "/elsewhere/products/limited-edition-shoe"},
			{"hosts", manyRooms(n), "/drop-2/products/limited-edition-shoes-42"},
			{"korean", plain, "/drop-2/%ED%95%9C%EC%A0%95%ED%8C%90/%EC%8B%A0%EB%B0%9C"},
			{"climbing", plain, "/" + strings.Repeat("a/../", 3000) + "drop-2"},
			{"long", plain, "/" + strings.Repeat("%ED%95%9C", 1800)},
		} {
			b.Run(fmt.Sprintf("%s/rooms=%d", c.name, n), func(b *testing.B) {
				tab := mustNew(b, c.rooms)
				method, host, target := []byte("GET"), []byte("shop.example"), []byte(c.target)
				b.ReportAllocs()
				for b.Loop() {
					tab.Find(method, host, target, visitor)
				}
			})
		}
	}
}
