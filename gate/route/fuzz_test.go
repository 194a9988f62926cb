package route

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// What follows reads paths slowly and in a way of its own: every step that some
// origin, router or file system is known to take, in every order, as often as
// it changes something.

func perSegment(f func(string) string) func(string) string {
	return func(p string) string {
		s := strings.Split(p, "/")
		for i := range s {
			s[i] = f(s[i])
		}
		return strings.Join(s, "/")
	}
}

func before(p, chars string) string {
	if i := strings.IndexAny(p, chars); i >= 0 {
		return p[:i]
	}
	return p
}

func without(p string, drop func(rune) bool) string {
	return strings.Map(func(r rune) rune {
		if drop(r) {
			return -1
		}
		return r
	}, p)
}

var (
	escapes     = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	wideEscapes = regexp.MustCompile(`%[uU][0-9a-fA-F]{4}`)
	slashes     = regexp.MustCompile(`/+`)
	authority   = regexp.MustCompile(`^[/\\]{2,}[^/\\?#]*`)
	streams     = regexp.MustCompile(`::\$[^/\\]*`)
)

// literally decodes what it can and leaves the rest.
func literally(p string) string {
	return escapes.ReplaceAllStringFunc(p, func(e string) string {
		s, _ := url.PathUnescape(e)
		return s
	})
}

var steps = map[string]func(string) string{
	"decode": literally,
	"decode strictly": func(p string) string {
		if u, err := url.PathUnescape(p); err == nil {
			return u
		}
		return p
	},
	"decode as a form": func(p string) string {
		if u, err := url.QueryUnescape(p); err == nil {
			return u
		}
		return p
	},
	"decode %u": func(p string) string {
		return wideEscapes.ReplaceAllStringFunc(p, func(e string) string {
			var r rune
			for _, c := range strings.ToLower(e[2:]) {
				r = r<<4 | rune(strings.IndexRune("0123456789abcdef", c))
			}
			return string(r)
		})
	},
	"decode unreserved": func(p string) string {
		return escapes.ReplaceAllStringFunc(p, func(e string) string {
			if s, _ := url.PathUnescape(e); strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") {
				return s
			}
			return e
		})
	},
	"clean":           func(p string) string { return path.Clean("/" + p) },
	"climb unmerged":  climb,
	"merge":           func(p string) string { return slashes.ReplaceAllString(p, "/") },
	"backslash":       func(p string) string { return strings.ReplaceAll(p, `\`, "/") },
	"drop parameters": perSegment(func(s string) string { return before(s, ";") }),
	"drop a parameter": func(p string) string {
		i := strings.LastIndexByte(p, ';')
		if i < 0 {
			return p
		}
		_, rest, _ := strings.Cut(p[i:], "/")
		return p[:i] + "/" + rest
	},
	"cut at parameter": func(p string) string { return before(p, ";") },
	"cut at NUL":       func(p string) string { return before(p, "\x00") },
	"cut at fragment":  func(p string) string { return before(p, "#") },
	"cut at query":     func(p string) string { return before(p, "?") },
	"cut at line end":  func(p string) string { return before(p, "\r\n") },
	"cut at control": func(p string) string {
		i := strings.IndexFunc(p, unicode.IsControl)
		return p[:max(i, 0)] + p[:len(p)*b2i(i < 0)]
	},
	"skip line ends": func(p string) string {
		return without(p, func(r rune) bool { return r == '\t' || r == '\r' || r == '\n' })
	},
	"skip control": func(p string) string { return without(p, func(r rune) bool { return unicode.IsControl(r) }) },
	"skip NUL":     func(p string) string { return strings.ReplaceAll(p, "\x00", "") },
	"skip invisible": func(p string) string {
		return without(p, func(r rune) bool {
			return unicode.Is(unicode.Cf, r) && r < 0x10000 && r != 0x600 && unicode.Is(unicode.Join_Control, r) || r == 0xfeff || r == 0xad
		})
	},
	"skip invalid": func(p string) string { return strings.ToValidUTF8(p, "") },
	"skip accents": func(p string) string {
		return norm.NFC.String(without(norm.NFD.String(p), func(r rune) bool { return r >= 0x300 && r < 0x370 }))
	},
	"trim":          strings.TrimSpace,
	"trim segments": perSegment(func(s string) string { return strings.Trim(s, " ") }),
	"trim as Windows": perSegment(func(s string) string {
		if s == "." || s == ".." {
			return s
		}
		return strings.TrimRight(s, ". ")
	}),
	"drop streams": func(p string) string { return streams.ReplaceAllString(p, "") },
	"lower":        strings.ToLower,
	"upper, lower": func(p string) string { return strings.ToLower(strings.ToUpper(p)) },
	"NFC":          norm.NFC.String,
	"NFKC":         norm.NFKC.String,
	"look-alikes":  strings.NewReplacer("\u2215", "/", "\u2044", "/", "\uff0f", "/", "\uff3c", `\`, "\u2216", `\`, "\u29f8", "/", "\uff0e", ".", "\u3002", ".", "\u2024", ".").Replace,
	"overlong": func(p string) string {
		var b []byte
		for i := 0; i < len(p); i++ {
			switch {
			case p[i]&0xfe == 0xc0 && i+1 < len(p) && p[i+1]&0xc0 == 0x80:
				b = append(b, p[i]<<6|p[i+1]&0x3f)
				i++
			case p[i] == 0xe0 && i+2 < len(p) && p[i+1]&0xfe == 0x80 && p[i+2]&0xc0 == 0x80:
				b = append(b, p[i+1]<<6|p[i+2]&0x3f)
				i += 2
			default:
				b = append(b, p[i])
			}
		}
		return string(b)
	},
	"take for a URL": func(p string) string {
		if a := authority.FindString(p); a != "" {
			return "/" + strings.TrimLeft(p[len(a):], `/\`)
		}
		return p
	},
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// climb resolves dot segments as RFC 3986 does, which leaves empty segments.
func climb(p string) string {
	var out []string
	parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
	for i, s := range parts {
		switch s {
		case ".":
		case "..":
			out = out[:max(len(out)-1, 0)]
		default:
			out = append(out, s)
			continue
		}
		if i == len(parts)-1 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

// readings is all that becomes of a path by the steps, at most max of them.
func readings(p string, most int) []string {
	all := []string{p}
	seen := map[string]bool{p: true}
	for i := 0; i < len(all) && len(all) < most; i++ {
		for _, step := range steps {
			if r := step(all[i]); !seen[r] {
				seen[r] = true
				all = append(all, r)
			}
		}
	}
	return all
}

func lies(p, under string) bool {
	return under == "/" || p == under || strings.HasPrefix(p, under+"/")
}

var fuzzRooms = []Room{
	{Name: "drop", Match: []Match{{Path: "/drop"}}, Except: []Except{{Path: "/drop/pay", Methods: []string{"POST"}}}},
	{Name: "vip", Match: []Match{{Path: "/drop/vip"}}},
	{Name: "sale", Match: []Match{{Path: "/a/sale"}}, IgnoreCase: true},
	{Name: "kr", Match: []Match{{Path: "/한정"}}},
	{Name: "gap", Match: []Match{{Path: "/b c"}}},
}

// judge compares Find with the readings.
func judge(t *testing.T, tab, rest *Table, target string) {
	t.Helper()
	judgeRest(t, tab, rest, target)
	get, post, b := []byte("GET"), []byte("POST"), []byte(target)
	room, v := tab.Find(get, nil, b, visitor)
	exempt, w := tab.Find(post, nil, b, visitor)
	if string(b) != target {
		t.Fatalf("%q was written to", target)
	}
	if v == Excepted || w == Excepted != (w != v) {
		if !(v == Gated && w == Refused) {
			t.Fatalf("%q: GET %v, POST %v", target, v, w)
		}
	}
	if (room >= 0) != (v == Gated) || (exempt >= 0) != (w == Gated || w == Excepted) {
		t.Fatalf("%q: room %d %v, %d %v", target, room, v, exempt, w)
	}
	if v == Refused || target == "" || target[0] != '/' {
		return
	}
	p := before(target, "?")
	owner := func(r string) (room int) {
		room = -1
		for i, f := range fuzzRooms {
			m := f.Match[0].Path
			if f.IgnoreCase {
				if lies(strings.ToLower(r), m) {
					room = i
				}
			} else if lies(r, m) {
				room = i
			}
		}
		return room
	}
	if v == Ungated {
		for _, r := range readings(p, 400) {
			if i := owner(r); i >= 0 {
				t.Fatalf("%q is ungated, but is read as %q in %q", target, r, fuzzRooms[i].Name)
			}
		}
		return
	}
	for _, r := range readings(literally(p), 400) {
		if i := owner(r); i != room {
			t.Fatalf("%q is in room %d, but is read as %q in %d", target, room, r, i)
		}
		if w == Excepted && !lies(r, "/drop/pay") {
			t.Fatalf("%q is excepted, but is read as %q", target, r)
		}
	}
	if w == Excepted && !lies(p, "/drop/pay") {
		t.Fatalf("%q is excepted, but not to who does not decode", target)
	}
}

// judgeRest compares with a table that has one room more, for all that is in no other:
// what was ungated is in it, and nothing else is.
func judgeRest(t *testing.T, tab, rest *Table, target string) {
	t.Helper()
	room, v := tab.Find([]byte("GET"), nil, []byte(target), visitor)
	if v == Ungated {
		room, v = len(fuzzRooms), Gated
	}
	if r, w := rest.Find([]byte("GET"), nil, []byte(target), visitor); r != room || w != v {
		t.Fatalf("%q: room %d %v where a room has the rest, want %d %v", target, r, w, room, v)
	}
}

func fuzzTables(t testing.TB) (tab, rest *Table) {
	return mustNew(t, fuzzRooms), mustNew(t, append(slices.Clone(fuzzRooms), Room{Name: "rest", Match: []Match{{}}}))
}

func FuzzNoReadingOfAnUngatedPathIsGated(f *testing.F) {
	for _, a := range readAround(f) {
		f.Add(a.target)
	}
	tab, rest := fuzzTables(f)
	f.Fuzz(func(t *testing.T, target string) {
		if len(target) > 200 {
			return
		}
		judge(t, tab, rest, target)
	})
}

func FuzzFindNeverPanicsNorAllocates(f *testing.F) {
	sites := []*Table{}
	var last []Room
	for _, a := range readAround(f) {
		f.Add(a.method, a.host, a.target)
		if !slices.EqualFunc(last, a.rooms, func(x, y Room) bool { return x.Name == y.Name }) {
			last = a.rooms
			sites = append(sites, mustNew(f, last))
		}
	}
	f.Fuzz(func(t *testing.T, method, host, target string) {
		m, h, g := []byte(method), []byte(host), []byte(target)
		for _, tab := range sites {
			if n := testing.AllocsPerRun(3, func() { tab.Find(m, h, g, visitor) }); n != 0 {
				t.Fatalf("%s %q on %q allocates %v times", method, target, host, n)
			}
		}
	})
}
