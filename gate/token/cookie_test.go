package token

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func find(header, name string) []string {
	var got []string
	Find([]byte(header), []byte(name), func(v []byte) bool {
		got = append(got, string(v))
		return true
	})
	return got
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name   string
		header string
		want   []string
	}{
		{"nothing", "", nil},
		{"one", "a=1", []string{"1"}},
		{"first of three", "a=1; b=2; c=3", []string{"1"}},
		{"last of three", "c=3; b=2; a=1", []string{"1"}},
		{"twice, in order", "a=1; b=2; a=3", []string{"1", "3"}},
		{"no blank after the semicolon", "b=2;a=1;c=3", []string{"1"}},
		{"blanks and tabs around", " \ta \t=\t 1 \t; b=2", []string{"1"}},
		{"quoted", `a="1"; a = "2" `, []string{"1", "2"}},
		{"half quoted", `a="1; a=2"; a="`, []string{`"1`, `2"`, `"`}},
		{"a semicolon ends what is quoted", `a="1;2"`, []string{`"1`}},
		{"empty", "a=; a=\"\"; a", []string{"", ""}},
		{"equals signs belong to the value", "a=b=c==", []string{"b=c=="}},
		{"a name that only begins alike", "ab=1; a-b=2; xa=3; A=4", nil},
		{"a value that looks like a cookie", "b=a=1; c= a=2", nil},
		{"stray semicolons", ";;; ;a=1;;", []string{"1"}},
		{"no name", "=1; =a; a=2", []string{"2"}},
		{"a comma is no separator", "b=1, a=2", nil},
		{"bytes that are no text", "\x00\xff=1; a=\xff\x00; \x80", []string{"\xff\x00"}},
		{"behind 8 kB of garbage", strings.Repeat("x;=y\"; ", 1200) + "a=1", []string{"1"}},
		{"8 kB without a pair", strings.Repeat("a", 8192), nil},
		{"a value of 8 kB", "a=" + strings.Repeat("v", 8192), []string{strings.Repeat("v", 8192)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := find(c.header, "a"); !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func TestFindStopsWhenTold(t *testing.T) {
	var got []string
	Find([]byte("a=1; a=2; a=3"), []byte("a"), func(v []byte) bool {
		got = append(got, string(v))
		return len(got) < 2
	})
	if want := []string{"1", "2"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func unquote(s string) string {
	if inner, ok := strings.CutPrefix(s, `"`); ok && strings.HasSuffix(inner, `"`) {
		return inner[:len(inner)-1]
	}
	return s
}

// FuzzFind holds that Find sees every cookie that net/http sees (which leaves
// blanks around a value alone), that what it finds lies in the header, and that a
// cookie of ours is found behind anything.
func FuzzFind(f *testing.F) {
	f.Add("a=1; b=2", "a")
	f.Add(` a = "1" ;a="`, "a")
	f.Add("=;;=", "")
	f.Add("sluice-drop=AQE; sluice-drop", "sluice-drop")
	f.Fuzz(func(t *testing.T, header, name string) {
		got := find(header, name)
		for _, v := range got {
			if !strings.Contains(header, v) || strings.Contains(v, ";") {
				t.Fatalf("found %q in %q", v, header)
			}
		}
		if parsed, err := http.ParseCookie(header); err == nil && !strings.ContainsAny(header, "\r\n") { // no header holds those
			for _, c := range parsed {
				if c.Name == name && !slices.Contains(got, c.Value) && !slices.Contains(got, unquote(strings.Trim(c.Value, " \t"))) {
					t.Fatalf("net/http finds %q in %q, we %q", c.Value, header, got)
				}
			}
		}
		if len(trim([]byte(name))) == len(name) && !strings.ContainsAny(name, "=;") {
			behind := find(header+"; "+name+"=value", name)
			if !slices.Equal(behind, append(got, "value")) {
				t.Fatalf("with a cookie behind %q: %q", header, behind)
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	header := []byte("lang=ko; _ga=GA1.1.1234567890.1234567890; sid=s%3A0123456789abcdef0123456789abcdef; sluice-drop=" + strings.Repeat("A", EncodedSize))
	name := []byte("sluice-drop")
	for _, c := range []struct {
		name   string
		header []byte
	}{{"browser", header}, {"8 kB", append(bytes.Repeat([]byte("sluice-dro=1; "), 600), header...)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Find(c.header, name, func([]byte) bool { return true })
			}
		})
	}
}
