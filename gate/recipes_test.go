package gate

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/route"
)

func TestTheRecipesOfTheManualWork(t *testing.T) {
	text, err := os.ReadFile("../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]*route.Table{} // by their heading
	names := map[string][]config.Room{}
	for section := range strings.SplitSeq(string(text), "\n## ") {
		heading, _, _ := strings.Cut(section, "\n")
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(section, -1) {
			const rest = "origin: {url: \"http://127.0.0.1:9\"}\nsecret: 0123456789abcdef0123456789abcdef\n"
			c, err := config.Load(config.Source{File: heading, Data: []byte(block[1] + rest)})
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			if len(c.Warnings) > 0 {
				t.Errorf("%v", c.Warnings)
			}
			if tables[heading], err = route.New(c.Routes()); err != nil {
				t.Fatal(err)
			}
			names[heading] = c.Rooms
		}
	}
	for _, c := range []struct{ recipe, request, source, want string }{
		{"Payment providers and other webhooks", "POST /payments/notify", "203.0.113.9", "excepted shop"},
		{"Payment providers and other webhooks", "POST /payments/notify/17?x=y", "2001:db8:77::1", "excepted shop"},
		{"Payment providers and other webhooks", "POST /payments/notify", "198.51.100.1", "gated shop"},
		{"Payment providers and other webhooks", "GET /payments/notify", "203.0.113.9", "gated shop"},
		{"Payment providers and other webhooks", "POST /payments", "203.0.113.9", "gated shop"},
		{"Payment providers and other webhooks", "POST /hooks/stock", "198.51.100.1", "excepted shop"},
		{"Payment providers and other webhooks", "GET /hooks/stock", "198.51.100.1", "gated shop"},
		{"Health checks", "GET /healthz", "10.1.2.3", "excepted shop"},
		{"Health checks", "GET /healthz", "198.51.100.1", "gated shop"},
		{"Health checks", "GET /.well-known/acme-challenge/abc", "198.51.100.1", "excepted shop"},
		{"Health checks", "GET /.well-known/acme-challenge/../../drop", "198.51.100.1", "refused"},
		{"Static files", "GET /assets/app.css", "198.51.100.1", "excepted shop"},
		{"Static files", "GET /drop/app.css", "198.51.100.1", "gated shop"},
		{"Static files", "GET /assets/x.css;y", "198.51.100.1", "gated shop"},
		{"Static files", "GET /assets/page.php/x.css", "198.51.100.1", "gated shop"},
		{"Static files", "GET /assets/../x.css", "198.51.100.1", "refused"},
		{"A CDN or cache in front", "GET /drop/assets/app.css", "198.51.100.1", "excepted drop"},
		{"A CDN or cache in front", "GET /drop/page", "198.51.100.1", "gated drop"},
		{"A shop on several hosts", "GET /x shop.example", "198.51.100.1", "gated shop"},
		{"A shop on several hosts", "GET /x www.shop.example", "198.51.100.1", "gated shop"},
		{"A shop on several hosts", "GET /x blog.shop.example", "198.51.100.1", "gated blog"},
	} {
		if tables[c.recipe] == nil {
			t.Fatalf("there is no recipe %q", c.recipe)
		}
		f := append(strings.Fields(c.request), "shop.example")
		room, v := tables[c.recipe].Find([]byte(f[0]), []byte(f[2]), []byte(f[1]), netip.MustParseAddr(c.source))
		got := v.String()
		if room >= 0 {
			got += " " + names[c.recipe][room].Name
		}
		if got != c.want {
			t.Errorf("%s: %s from %s is %s, want %s", c.recipe, c.request, c.source, got, c.want)
		}
	}

	// The words of the rule set are those of the code.
	_, static, _ := strings.Cut(string(text), "\n## Static files")
	static, _, _ = strings.Cut(static, "Everything else in the room")
	static = strings.Join(strings.Fields(static), " ")
	for _, list := range [][]string{route.StaticFolders, route.StaticEndings} {
		if words := "`" + strings.Join(list, "`, `") + "`"; !strings.Contains(static, words) {
			t.Errorf("the manual does not list %s", words)
		}
	}
}
