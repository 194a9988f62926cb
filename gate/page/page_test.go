package page

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

// Everything a page can be, with numbers known and unknown.
var views = map[string]View{
	"waiting":             {State: Waiting, Position: 1234, Waiting: 80213, Low: 110, High: 160, PollAfter: 4200 * time.Millisecond, Age: 300 * time.Millisecond},
	"far back":            {State: Waiting, Position: 10_000_000, Waiting: 10_000_001, Low: 30000, High: 40000, PollAfter: 30 * time.Second},
	"next":                {State: Waiting, Position: 1, Waiting: 5, Low: 0, High: 4, PollAfter: 2 * time.Second},
	"unknown":             {State: Waiting},
	"full":                {State: Full, PollAfter: 20 * time.Second},
	"full, form":          {State: Full, PollAfter: 20 * time.Second, Next: "/cart"},
	"closed":              {State: Closed, PollAfter: 20 * time.Second},
	"closed, place":       {State: Closed, HasPlace: true, Position: 77, PollAfter: 20 * time.Second},
	"not sent":            {State: NotSent, Position: 1234, Waiting: 80213, Low: 110, High: 160, PollAfter: 4 * time.Second, Next: "/cart?a=1&b=2"},
	"not sent, next":      {State: NotSent, Position: 1, PollAfter: 4 * time.Second, Next: "/"},
	"not sent, unknown":   {State: NotSent},
	"unavailable":         {State: Unavailable, Status: 504, PollAfter: 5 * time.Second},
	"unavailable, pass":   {State: Unavailable, Status: 502, HasPlace: true, PollAfter: 5 * time.Second},
	"unavailable, form":   {State: Unavailable, Status: 502, HasPlace: true, Next: "/cart"},
	"unavailable, unsent": {State: Unavailable, Status: 503, HasPlace: true, Next: "/cart", Unsent: true},
	"refused":             {State: BadRequest, Status: 400},
	"missing":             {State: BadRequest, Status: 404},
	"large":               {State: BadRequest, Status: 413},
	"long":                {State: BadRequest, Status: 414},
	"crammed":             {State: BadRequest, Status: 431},
}

func newPage(t testing.TB, c Config) *Page {
	t.Helper()
	if c.Room == "" {
		c.Room = "drop"
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func gunzip(t testing.TB, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r.Multistream(false)
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(out), err)
	}
	if n, _ := r.Read(make([]byte, 1)); n != 0 {
		t.Fatal("more than one gzip member")
	}
	return out
}

func each(t *testing.T, f func(t *testing.T, v View)) {
	for name, v := range views {
		for l := range numLangs {
			t.Run(name+"/"+words[l].Lang, func(t *testing.T) {
				v.Lang = l
				f(t, v)
			})
		}
	}
}

func TestVisitorsSeeTheSamePageWhetherCompressedOrNot(t *testing.T) {
	p := newPage(t, Config{Message: "Size M is <sold out> & gone.\n\"Sorry\""})
	each(t, func(t *testing.T, v View) {
		want := p.Append([]byte("before"), &v)
		got := p.AppendGzip([]byte("before"), &v)
		if !bytes.HasPrefix(got, []byte("before")) {
			t.Fatal("what stood before was overwritten")
		}
		if plain := gunzip(t, got[6:]); !bytes.Equal(plain, want[6:]) {
			t.Errorf("compressed:\n%s\nplain:\n%s", plain, want[6:])
		}
	})
	t.Run("for any numbers, paths and messages", func(t *testing.T) {
		same := func(state, lang uint8, place bool, pos, waiting, low, high int64, poll, age time.Duration, next, message string, status int) bool {
			p, err := p.WithMessage(message)
			if err != nil {
				t.Fatal(err)
			}
			v := View{State(state % 8), int(lang) % 4, place, pos, waiting, low, high, poll, age, next, status%2 == 1, status}
			return bytes.Equal(gunzip(t, p.AppendGzip(nil, &v)), p.Append(nil, &v))
		}
		if err := quick.Check(same, nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("with more text than one stored block holds", func(t *testing.T) {
		for _, n := range []int{maxStored - 20, maxStored, maxStored + 1, 3 * maxStored} {
			p := newPage(t, Config{Message: strings.Repeat("m", n)})
			v := View{State: NotSent, Next: "/" + strings.Repeat("<", n/2)}
			if !bytes.Equal(gunzip(t, p.AppendGzip(nil, &v)), p.Append(nil, &v)) {
				t.Errorf("%d bytes: compressed and plain differ", n)
			}
		}
	})
}

func FuzzVisitorsGetOneValidGzipMember(f *testing.F) {
	f.Add(uint8(0), int64(1234), "/cart", "hello")
	f.Add(uint8(3), int64(1), "/</script>\u2028", "</p><script>")
	p := newPage(f, Config{})
	f.Fuzz(func(t *testing.T, state uint8, pos int64, next, message string) {
		p, err := p.WithMessage(message)
		if err != nil {
			t.Fatal(err)
		}
		v := View{State: State(state), Lang: int(state) % 3, Position: pos, Waiting: pos, High: pos, Next: next, Status: int(pos)}
		plain := p.Append(nil, &v)
		if !bytes.Equal(gunzip(t, p.AppendGzip(nil, &v)), plain) {
			t.Error("compressed and plain differ")
		}
		if n := bytes.Count(plain, []byte("<script")); n != bytes.Count(plain, []byte("</script")) || n > 2 {
			t.Errorf("%d script elements", n)
		}
	})
}

func TestThePageArrivesInOneTCPWindow(t *testing.T) {
	p := newPage(t, Config{Message: strings.Repeat("This is a rather long message of an operator. ", 10)})
	most := map[string]int{}
	each(t, func(t *testing.T, v View) {
		n := len(p.AppendGzip(nil, &v))
		most[words[v.Lang].Lang] = max(most[words[v.Lang].Lang], n)
		if n >= 14_000 {
			t.Errorf("%d bytes compressed, want less than 14,000", n)
		}
	})
	t.Logf("most bytes compressed, with a message of 460: %v", most)
}

func TestThePageFetchesNothingFromOutside(t *testing.T) {
	p := newPage(t, Config{})
	address := regexp.MustCompile(`(?i)(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]+)`)
	each(t, func(t *testing.T, v View) {
		doc := bytes.ReplaceAll(p.Append(nil, &v), []byte(script), nil)
		for _, m := range address.FindAllSubmatch(doc, -1) {
			if a := string(m[1]); !strings.HasPrefix(a, "data:") && !strings.HasPrefix(a, "/") {
				t.Errorf("page names the address %q", a)
			}
		}
	})
}

func TestThePolicyAllowsWhatThePageIsMadeOf(t *testing.T) {
	p := newPage(t, Config{})
	inline := regexp.MustCompile(`(?s)<(script|style)>(.*?)</`)
	each(t, func(t *testing.T, v View) {
		doc := p.Append(nil, &v)
		for _, m := range inline.FindAllSubmatch(doc, -1) {
			if want := string(m[1]) + "-src '" + hash(string(m[2])) + "'"; !strings.Contains(p.Header(0, false), want) {
				t.Errorf("policy %q forbids the page's own %s: no %s", p.Header(0, false), m[1], want)
			}
		}
		if regexp.MustCompile(`<[^>]* (?:style|on\w+)=`).Match(bytes.ReplaceAll(doc, []byte(script), nil)) {
			t.Error("an attribute with style or script, which the policy forbids")
		}
	})
}

func TestThePageSaysWhatIsKnownAndNothingElse(t *testing.T) {
	p := newPage(t, Config{KeepPlace: 30 * time.Minute})
	for _, tc := range []struct {
		view  string
		lang  int
		has   []string
		hasNo []string
	}{
		{"waiting", 0, []string{`<html lang="en"`, "You’re in line", ">1,234<", "80,213 waiting in total", "1 to 3 minutes", "just now", "within 30 minutes", `content="5"`, "<title>1,234 – "}, []string{"Nothing was sent"}},
		{"waiting", 1, []string{`<html lang="ko"`, "1,234</b><small>번째", "80,213명", "1~3분", "방금 전"}, nil},
		{"waiting", 2, []string{`<html lang="ja"`, "1,234</b><small>番目", "80,213人", "1～3分", "たった今"}, nil},
		{"far back", 0, []string{`data-digits="8"`, ">10,000,000<", "8 to 12 hours"}, nil},
		{"next", 0, []string{"You’re next", "less than a minute"}, nil},
		{"unknown", 0, []string{"working out your position", ">–<", "being worked out", `content="10"`, `"position":null`, `"estimate_seconds":null`}, []string{"waiting in total<"}},
		{"full", 0, []string{"The line is full", `"state":"full"`, `"place":false`}, []string{"Nothing was sent"}},
		{"full, form", 0, []string{"The line is full", "Nothing was sent", `content="20;url=/cart"`}, nil},
		{"closed", 0, []string{"The line is closed"}, []string{"Your place is kept, and"}},
		{"closed, place", 0, []string{"Your place is kept, and", ">77<"}, nil},
		{"not sent", 0, []string{"Nothing was sent or ordered.", `content="4;url=/cart?a=1&amp;b=2"`, `"next":"/cart?a=1\u0026b=2"`}, nil},
		{"not sent, unknown", 0, []string{`content="10;url=/"`, `"next":"/"`}, nil},
		{"unavailable", 0, []string{"The site isn’t answering", ">504<", `content="5"`, ">Try now<"}, []string{"You still have access", "Nothing was sent"}},
		{"unavailable, pass", 0, []string{"You still have access", ">502<", `content="5"`}, nil},
		{"unavailable, unsent", 0, []string{"The site isn’t answering", "Nothing was sent or ordered.", ">503<", `href="/cart"`}, []string{"http-equiv", "<script", "We can’t tell"}},
		{"unavailable, form", 0, []string{"We can’t tell whether", `href="/cart"`}, []string{"http-equiv", "<script"}},
		{"refused", 0, []string{"We can’t take this request", ">400<"}, []string{"http-equiv", "<script"}},
		{"missing", 0, []string{"Page not found", ">404<"}, []string{"http-equiv", "<script"}},
		{"large", 0, []string{"too much to send", ">413<"}, []string{"http-equiv", "<script"}},
		{"long", 0, []string{"address is too long", ">414<"}, []string{"http-equiv", "<script"}},
		{"crammed", 0, []string{"delete the cookies", ">431<"}, []string{"http-equiv", "<script"}},
	} {
		t.Run(fmt.Sprint(tc.view, "/", words[tc.lang].Lang), func(t *testing.T) {
			v := views[tc.view]
			v.Lang = tc.lang
			body, _, _ := strings.Cut(string(p.Append(nil, &v)), `,"words":`)
			for _, s := range tc.has {
				if !strings.Contains(body, s) {
					t.Errorf("no %q in\n%s", s, body)
				}
			}
			for _, s := range tc.hasNo {
				if strings.Contains(body, s) {
					t.Errorf("%q in\n%s", s, body)
				}
			}
		})
	}
}

func TestTheScriptReadsWhatThePageSays(t *testing.T) {
	p := newPage(t, Config{})
	each(t, func(t *testing.T, v View) {
		m, _ := v.moment()
		if !m.goesOn() {
			t.Skip("no script on this one")
		}
		v.Next = "/a\"b\\</script><!--\u2028\xff\x80'"
		if m == momentUnavailable {
			v.Next = ""
		}
		doc := string(p.Append(nil, &v))
		_, rest, _ := strings.Cut(doc, `id="sluice-data">`)
		text, _, _ := strings.Cut(rest, "</script>")
		var got struct {
			View struct {
				Room, State, Next string
				Position          *int64
				PollAfter         float64 `json:"poll_after_seconds"`
			}
			Words Words
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if got.View.Room != "drop" || got.View.PollAfter <= 0 || got.Words.Lang != words[v.Lang].Lang {
			t.Errorf("script starts with %+v", got.View)
		}
		if v.Next != "" && got.View.Next != "/a\"b\\</script><!--\u2028\uFFFD\uFFFD'" {
			t.Errorf("next is %q", got.View.Next)
		}
	})
}

func TestNobodyIsSentElsewhere(t *testing.T) {
	for in, want := range map[string]string{
		"/cart": "/cart", "": "/", "//evil.example": "/", `/\evil.example`: "/", "https://evil.example/": "/",
		"/\t/evil.example": "/", "cart": "/", "/a//b": "/a//b",
	} {
		if got := (&View{Next: in}).next(); got != want {
			t.Errorf("next of %q is %q, want %q", in, got, want)
		}
	}
}

func TestWordsOfTheOperatorAreTextAndNothingElse(t *testing.T) {
	p := newPage(t, Config{Message: `</p><script>alert("1")</script>&amp; 'x'`})
	v := views["waiting"]
	doc := string(p.Append(nil, &v))
	want := `&lt;/p&gt;&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&amp;amp; &#39;x&#39;</p>`
	if !strings.Contains(doc, want) {
		t.Errorf("no %q in\n%s", want, doc)
	}
	if n := strings.Count(doc, "<script"); n != 2 {
		t.Errorf("%d script elements, want 2", n)
	}
}

func TestAWaitIsToldInWordsThatStayTrue(t *testing.T) {
	for _, tc := range []struct {
		low, high  int64
		en, ko, ja string
	}{
		{0, 0, "being worked out", "계산 중", "計算中"},
		{10, -1, "being worked out", "계산 중", "計算中"},
		{0, 12, "less than a minute", "1분 이내", "1分未満"},
		{40, 60, "about a minute", "약 1분", "約1分"},
		{30, 61, "up to 2 minutes", "최대 2분", "最大2分"},
		{110, 160, "1 to 3 minutes", "1~3분", "1～3分"},
		{120, 120, "about 2 minutes", "약 2분", "約2分"},
		{1000, 1300, "15 to 25 minutes", "15~25분", "15～25分"},
		{2500, 3500, "40 to 60 minutes", "40~60분", "40～60分"},
		{2000, 6000, "30 minutes to 2 hours", "30분~2시간", "30分～2時間"},
		{500, 6000, "up to 2 hours", "최대 2시간", "最大2時間"},
		{5400, 9000, "1½ to 2½ hours", "1시간 30분~2시간 30분", "1時間30分～2時間30分"},
		{7200, 7200, "about 2 hours", "약 2시간", "約2時間"},
		{30000, 40000, "8 to 12 hours", "8시간~12시간", "8時間～12時間"},
	} {
		for l, want := range []string{tc.en, tc.ko, tc.ja} {
			if got := string(words[l].appendEstimate(nil, tc.low, tc.high)); got != want {
				t.Errorf("%d to %d seconds is %q, want %q", tc.low, tc.high, got, want)
			}
		}
	}
}

func TestVisitorsAreSpokenToInTheirLanguage(t *testing.T) {
	p := newPage(t, Config{})
	for header, want := range map[string]string{
		"":                                    "en",
		"ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7": "ko",
		"ja":                                  "ja",
		"JA-jp":                               "ja",
		"en-US,en;q=0.9,ko;q=0.8":             "en",
		"zh-CN,zh;q=0.9,ja;q=0.5,en;q=0.4":    "ja",
		"fr-FR,fr;q=0.9":                      "en",
		"*":                                   "en",
		"ko;q=0":                              "en",
		"ko;q=0.1, ja;q=0.25":                 "ja",
		"en;q=0.5 , ko ; q=0.50, ja; q=0.501": "ja",
		"ko;q=1.000,ja":                       "ko",
		"kok,jav;q=0.9,en;q=0.1":              "en",
		",,;q=,ko;q=":                         "ko",
		strings.Repeat("fr,", 100) + "ko":     "en",
	} {
		got := p.Header(p.Lang([]byte(header)), true)
		if !strings.HasPrefix(got, "Content-Encoding: gzip\r\nContent-Language: "+want+"\r\n") {
			t.Errorf("%q is answered in %s, want %s", header, got, want)
		}
	}
}

func FuzzAnyAcceptLanguageIsRead(f *testing.F) {
	f.Add("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7")
	f.Fuzz(func(t *testing.T, s string) {
		if l := matchLang([]byte(s)); l < 0 || l >= numLangs {
			t.Errorf("language %d", l)
		}
	})
}

func TestEveryLanguageSaysEverything(t *testing.T) {
	for i := range words {
		var m map[string]any
		if err := json.Unmarshal([]byte(words[i].json()), &m); err != nil {
			t.Fatal(err)
		}
		for k, s := range m {
			if s == "" {
				t.Errorf("%s: no text for %s", words[i].Lang, k)
			}
		}
		for _, moment := range append(momentNames[:], "in", "ended", "blocked") {
			if words[i].Heading[moment] == "" || words[i].Lead[moment] == "" {
				t.Errorf("%s: nothing to say about %s", words[i].Lang, moment)
			}
		}
	}
}

func TestTheWaitingPageCostsNoAllocation(t *testing.T) {
	p := newPage(t, Config{Message: "hello"})
	dst := make([]byte, 0, 64<<10)
	header := []byte("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7")
	for name, v := range views {
		if n := testing.AllocsPerRun(100, func() {
			v.Lang = p.Lang(header)
			dst = p.Append(dst[:0], &v)
			dst = p.AppendGzip(dst[:0], &v)
		}); n != 0 {
			t.Errorf("%s: %v allocations per answer, want 0", name, n)
		}
	}
}

func TestAnOperatorsOwnPage(t *testing.T) {
	write := func(t *testing.T, text string) Config {
		name := filepath.Join(t.TempDir(), "wait.html")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Config{Room: "drop", Template: name, Message: "today <only>"}
	}
	t.Run("shows the visitor's numbers wherever it prints them", func(t *testing.T) {
		p := newPage(t, write(t, `<html lang="{{.Lang}}"><title>{{.Title}}</title>{{.Refresh}}<body class="{{.Moment}}" data-n="{{.Position}}">
{{if .InLine}}{{.Position}} of {{.Waiting}}, {{.Estimate}}{{end}}{{if .Message}}<p>{{.Message}}</p>{{end}}
{{if .NotSent}}<a href="{{.Next}}" title="{{.Next}}">{{.Next}}</a><a href="/x?to={{.Next}}">x</a><script>var next={{.Next}}</script>{{end}}</body></html>`))
		if strings.Contains(p.Header(0, true), "Security-Policy") {
			t.Error("our policy was given to a page that is not ours")
		}
		v := views["not sent"]
		v.Next = "/cart?a='1'&b=2"
		want := `<html lang="en"><title>1,234 – You’re in line</title><noscript><meta http-equiv="refresh" content="4;url=/cart?a=&#39;1&#39;&amp;b=2"></noscript><body class="waiting" data-n="1,234">
1,234 of 80,213, 1 to 3 minutes<p>today &lt;only&gt;</p>
<a href="/cart?a=&#39;1&#39;&amp;b=2" title="/cart?a=&#39;1&#39;&amp;b=2">/cart?a=&#39;1&#39;&amp;b=2</a><a href="/x?to=%2Fcart%3Fa%3D%271%27%26b%3D2">x</a><script>var next="/cart?a=\u00271\u0027\u0026b=2"</script></body></html>`
		if got := string(p.Append(nil, &v)); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if got := string(gunzip(t, p.AppendGzip(nil, &v))); got != want {
			t.Errorf("got compressed\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("takes another message without being read again", func(t *testing.T) {
		c := write(t, `{{.Refresh}}<b>{{.Message}}</b>{{if not .Message}}nothing{{end}}`)
		p := newPage(t, c)
		if err := os.Remove(c.Template); err != nil {
			t.Fatal(err)
		}
		for message, want := range map[string]string{"sold & out": "<b>sold &amp; out</b>", "": "<b></b>nothing"} {
			q, err := p.WithMessage(message)
			if err != nil {
				t.Fatal(err)
			}
			v := views["refused"]
			if got := string(q.Append(nil, &v)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
	for name, tc := range map[string]struct{ text, want string }{
		"is refused where it does not parse":               {"<p>\n{{if .Message}\n", "wait.html:2"},
		"is refused where it names what there is not":      {"{{.Refresh}}\n\n{{.Colour}}", "wait.html:3"},
		"is refused where an element is left open":         {"{{.Refresh}}<a href=\"{{.Next}}", "wait.html"},
		"is refused where it cuts a visitor's number":      {"{{.Refresh}}\n<p>{{slice .Position 0 11}}</p>", "wait.html: line 2"},
		"is refused where nobody would ever get on":        {"<p>{{.Position}}</p>", "neither {{.Script}} nor {{.Refresh}}"},
		"is refused where a number stands in a style rule": {"{{.Refresh}}<style>p{width:{{.Next}}}</style>", "wait.html"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(write(t, tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want one with %q", err, tc.want)
			}
			t.Log(err)
		})
	}
	t.Run("is refused where the file is missing", func(t *testing.T) {
		_, err := New(Config{Template: "/nowhere/wait.html"})
		if err == nil || !strings.Contains(err.Error(), "/nowhere/wait.html") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestEverybodyCanReadTheColours(t *testing.T) {
	light, dark, ok := strings.Cut(pageCSS, "prefers-color-scheme:dark")
	if !ok {
		t.Fatal("no dark scheme")
	}
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colour := map[string]string{}
		for _, m := range regexp.MustCompile(`--(\w+):(#\w+)`).FindAllStringSubmatch(css, -1) {
			colour[m[1]] = m[2]
		}
		for _, pair := range []string{"ink ground", "ink panel", "ink near", "ink far", "soft ground", "soft panel", "link ground", "warn warnbg", "ground ink"} {
			text, on, _ := strings.Cut(pair, " ")
			a, b := luminance(t, colour[text]), luminance(t, colour[on])
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < 4.5 {
				t.Errorf("%s scheme: %s on %s has a contrast of %.2f, want 4.5 (WCAG 2 AA)", scheme, text, on, ratio)
			}
		}
	}
}

// luminance is WCAG 2's relative luminance of #rgb or #rrggbb.
func luminance(t *testing.T, colour string) float64 {
	var c [3]int
	n, err := fmt.Sscanf(colour, "#%02x%02x%02x", &c[0], &c[1], &c[2])
	if len(colour) == 4 {
		n, err = fmt.Sscanf(colour, "#%1x%1x%1x", &c[0], &c[1], &c[2])
		c = [3]int{c[0] * 17, c[1] * 17, c[2] * 17}
	}
	if n != 3 || err != nil {
		t.Fatalf("colour %q: %v", colour, err)
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		s := float64(c[i]) / 255
		if s <= 0.04045 {
			s /= 12.92
		} else {
			s = math.Pow((s+0.055)/1.055, 2.4)
		}
		sum += weight * s
	}
	return sum
}

func BenchmarkAppend(b *testing.B) {
	p := newPage(b, Config{Message: "hello"})
	v := views["waiting"]
	dst := make([]byte, 0, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		dst = p.Append(dst[:0], &v)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkAppendGzip(b *testing.B) {
	p := newPage(b, Config{Message: "hello"})
	v := views["waiting"]
	dst := make([]byte, 0, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		dst = p.AppendGzip(dst[:0], &v)
	}
	b.ReportMetric(float64(len(dst)), "bytes")
}

func BenchmarkLang(b *testing.B) {
	p := newPage(b, Config{})
	header := []byte("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7")
	b.ReportAllocs()
	for b.Loop() {
		p.Lang(header)
	}
}

func BenchmarkNew(b *testing.B) {
	newPage(b, Config{})
	b.ReportAllocs()
	for b.Loop() {
		newPage(b, Config{Message: "hello"})
	}
}

// BenchmarkTemplate is New with an operator's template, and the very first New
// of a process.
func BenchmarkTemplate(b *testing.B) {
	name := filepath.Join(b.TempDir(), "wait.html")
	if err := os.WriteFile(name, []byte(pageHTML), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		newPage(b, Config{Template: name, Message: "hello"})
	}
}
