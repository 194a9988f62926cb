package route

import (
	"strings"
	"testing"
)

func TestARefusedPathIsToldWhatIsWrongWithIt(t *testing.T) {
	for target, want := range map[string]string{
		"/api/a%2Fb":               "encoded slash",
		"/api/a%2fb?x=1":           "encoded slash",
		"/drop;jsessionid=1":       "parameters",
		"/drop;a=1/..":             "dot segment", // refused everywhere, so it counts first
		"/x/../drop":               "dot segment",
		"/x/%2e%2E/drop":           "dot segment",
		"/.":                       "dot segment",
		"/x//drop":                 "empty segment",
		"//drop":                   "empty segment",
		`/drop\x`:                  "backslash",
		"/drop%5cx":                "backslash",
		"/drop%00":                 "control character",
		"/dr op":                   "a space",
		"/drop#x":                  "number sign",
		"/%2564rop":                "encoded percent",
		"/ｄrop":                    "beyond ASCII",
		"/DROP":                    "another case",
		"/drop.":                   "dots or blanks",
		"/DROP?a/../b//c;d%2f":     "another case", // the query takes no part
		strings.Repeat("/a", long): "too long",
	} {
		if got := Why([]byte(target)); !strings.Contains(got, want) {
			t.Errorf("%.40q: %s, want %q", target, got, want)
		}
	}
}
