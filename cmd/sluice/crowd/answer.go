package crowd

import (
	"html"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// answer is what came back, read to its end.
type answer struct {
	status int
	state  string // Sluice-State
	retry  int    // Retry-After in seconds; 0 when it did not say
	body   []byte
}

// waiting reports that the gate answered instead of the shop. The status may
// differ by configuration, the header does not.
func (a *answer) waiting() bool {
	return a.state != "" && a.state != "admitted" || a.status == http.StatusTooManyRequests
}

func (a *answer) retryAfter() time.Duration {
	if a.retry <= 0 {
		return 2 * time.Second
	}
	return time.Duration(min(a.retry, 3600)) * time.Second
}

var (
	href    = regexp.MustCompile(`<a\b[^>]*?\bhref="([^"#]+)"`)
	src     = regexp.MustCompile(`<img\b[^>]*?\bsrc="([^"]+)"|<link rel="stylesheet" href="([^"]+)"`)
	posting = regexp.MustCompile(`(?s)<form\b[^>]*?\bmethod="post"[^>]*?\baction="([^"]+)"[^>]*>(.*?)</form>`)
	field   = regexp.MustCompile(`<(?:input|select|textarea)\b[^>]*>`)
	attr    = regexp.MustCompile(`\b(name|type|value)="([^"]*)"`)
)

// links are the addresses below path that the page leads to.
func (a *answer) links(path string) []string {
	return a.find(href, func(to string) bool { return strings.HasPrefix(to, path+"/") })
}

// pictures are the pictures and styles of the page on the same host.
func (a *answer) pictures() []string {
	return a.find(src, func(to string) bool { return strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") })
}

func (a *answer) find(re *regexp.Regexp, fits func(string) bool) []string {
	var out []string
	for _, m := range re.FindAllSubmatch(a.body, -1) {
		for _, to := range m[1:] {
			if to := html.UnescapeString(string(to)); fits(to) {
				out = append(out, to)
			}
		}
	}
	return out
}

// form is a form as the page shows it.
type form struct {
	action string
	fields []input
}

type input struct{ name, kind, value string }

// form returns the first form of the page that posts.
func (a *answer) form() (form, bool) {
	m := posting.FindSubmatch(a.body)
	if m == nil || !strings.HasPrefix(string(m[1]), "/") {
		return form{}, false
	}
	f := form{action: html.UnescapeString(string(m[1]))}
	for _, tag := range field.FindAll(m[2], -1) {
		in := input{kind: "text"}
		if strings.HasPrefix(string(tag), "<select") {
			in.kind = "select"
		}
		for _, at := range attr.FindAllSubmatch(tag, -1) {
			value := html.UnescapeString(string(at[2]))
			switch string(at[1]) {
			case "name":
				in.name = value
			case "type":
				in.kind = value
			case "value":
				in.value = value
			}
		}
		if in.name != "" {
			f.fields = append(f.fields, in)
		}
	}
	return f, true
}

// fill writes what somebody would write: hidden fields as they are, one of the
// radio buttons, one piece, a name.
func (f form) fill(r *rand.Rand) url.Values {
	out := make(url.Values)
	choices := make(map[string]int)
	for _, in := range f.fields {
		switch in.kind {
		case "radio":
			choices[in.name]++
			if r.IntN(choices[in.name]) == 0 {
				out.Set(in.name, in.value)
			}
		case "select", "number":
			out.Set(in.name, "1")
		case "hidden":
			out.Set(in.name, in.value)
		case "text":
			out.Set(in.name, firstNames[r.IntN(len(firstNames))]+" "+lastNames[r.IntN(len(lastNames))])
		}
	}
	return out
}

var firstNames = []string{
	"Ada", "Amina", "Anders", "Beatriz", "Bo-ra", "Chidi", "Clara", "Daan", "Elif", "Emil", "Freya", "Goran", "Hana", "Haruto",
	"Ines", "Jamal", "Ji-woo", "Kofi", "Leila", "Luca", "Mai", "Mateo", "Min-jun", "Nadia", "Noor", "Olu", "Priya", "Rosa",
	"Sakura", "Seo-yeon", "Tomas", "Wren", "Yuki", "Zoe",
}

var lastNames = []string{
	"Abara", "Andersen", "Baptiste", "Castillo", "Choi", "Dubois", "Eriksen", "Fontana", "Garcia", "Hughes", "Ito", "Jansen",
	"Kang", "Kaya", "Larsen", "Mbeki", "Moreau", "Nakamura", "Novak", "Okafor", "Park", "Quinn", "Rossi", "Sato", "Silva", "Tanaka",
	"Varga", "Weber", "Yilmaz", "Yoon",
}
