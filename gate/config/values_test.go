package config

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/gate/origin"
	"github.com/sluicegate/sluice/gate/route"
	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/redis"
	"go.yaml.in/yaml/v3"
)

func good(t *testing.T, name string) *Config {
	t.Helper()
	c, err := Load(Source{File: "testdata/good/" + name + ".yaml", Env: lookup(environment)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// text is a file beside the good ones.
func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/good/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %#v\nwant %#v", what, got, want)
	}
}

func TestEveryKeyHasItsMeaning(t *testing.T) {
	c := good(t, "full")
	want := Config{
		Listen: []Listener{
			{Address: ":8080", ReusePort: true, Mode: 0o660, Where: "testdata/good/full.yaml:8:14"},
			{Address: "unix:testdata/good/sluice.sock", Mode: 0o660, Owner: "www-data:www-data", Where: "testdata/good/full.yaml:10:14"},
			{Address: ":8443", TLS: true, Mode: 0o660, Where: "testdata/good/full.yaml:13:14"},
		},
		TLS: TLS{
			Certificates: []cert.Files{{Cert: "testdata/good/shop.pem", Key: "testdata/good/shop.key"}},
			ACME: cert.ACME{
				Hosts: []string{"www.shop.example"}, Email: "me@shop.example", Cache: "testdata/good/acme",
				Directory: "https://acme.example/dir", CAFile: "testdata/good/shop-ca.pem",
			},
			MinVersion: tls.VersionTLS12, Redirect: 308, RedirectPort: 443, HSTS: "max-age=63072000; includeSubDomains; preload",
		},
		Admin: Admin{Listen: "127.0.0.1:9090", TokensFile: "testdata/good/tokens", Tokens: []AdminToken{
			{"ann@shop.example", "viewer", sha256.Sum256([]byte("ann"))},
			{"bob", "operator", sha256.Sum256([]byte("bob"))},
		}},
		Store:       "redis://:0123456789abcdef0123456789abcdef@127.0.0.1:6379/0?prefix=sluice",
		OnStoreLoss: "hold",
		Secrets:     []string{"0123456789abcdef0123456789abcdef", "an-older-secret-that-only-verifies-now"},
		TrustedProxies: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32"),
		},
		HTTPS: "auto", Headers: Headers{Via: true, Trace: true}, Limits: defaultLimits,
		CORSOrigins: []string{"https://app.shop.example", "capacitor://localhost"},
		Origin: Origin{
			URLs:    []string{"https://10.0.0.1:3443", "https://10.0.0.2:3443"},
			Balance: origin.LeastConns, Host: "www.shop.example",
			ConnectTimeout: 2 * time.Second, HeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute, KeepAlive: 8 * time.Second,
			MaxConns: 1024, Queue: Queue{1024, 250 * time.Millisecond}, Tunnels: Tunnels{0, time.Hour}, Resolve: 10 * time.Second,
			Failures: origin.Failures{Count: 3, Within: 30 * time.Second, Out: 5 * time.Second, MaxOut: time.Minute},
			Check: &origin.Check{
				Path: "/health", Method: "GET", Host: "health.shop.example", Low: 200, High: 399,
				Interval: 5 * time.Second, Timeout: 2 * time.Second, Up: 2, Down: 3,
			},
			TLS: OriginTLS{
				ServerName: "shop.internal", CA: text(t, "shop-ca.pem"), Cert: text(t, "gate.pem"), Key: text(t, "gate.key"),
			},
		},
		Hosts: []string{"shop.example", "*.shop.example"},
		Visitors: Visitors{
			Reserve: 20, HeaderTimeout: 10 * time.Second, MinRate: 500,
			PerAddress: PerAddress{Requests: queue.Rate{N: 200, Per: 's'}, Newcomers: queue.Rate{N: 600, Per: 'm'}, IPv4: 32, IPv6: 64},
		},
		Log:      Log{slog.LevelInfo, "json"},
		Shutdown: Shutdown{5 * time.Second, 20 * time.Second},
		Rooms: []Room{
			{
				Name:  "drop",
				Match: []route.Match{{Host: "shop.example", Path: "/drop"}, {Host: "www.shop.example", Path: "/drop"}},
				Except: []route.Except{
					{Static: true},
					{Path: "/drop/assets"},
					{Path: "/drop/stock", Methods: []string{"GET", "HEAD"}, Sources: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
				},
				MatchCase: true,
				Settings: queue.Settings{
					Rate: queue.Rate{N: 600, Per: queue.PerMinute}, Burst: 10, MaxActive: 300, MaxWaiting: 80000,
					Session: 10 * time.Minute, MaxSession: 2 * time.Hour, ClaimWithin: 30 * time.Second, KeepPlace: 30 * time.Minute,
					PollMin: 2 * time.Second, PollMax: 30 * time.Second,
					Message: "Each book costs $5 ${SHOP_RATE}, $3 off",
				},
				CookieDomain: "shop.example",
				Page:         Page{429, "testdata/good/waiting.html", "/drop"},
			},
			{
				Name: "sale", Match: []route.Match{{Path: "/sale"}}, MatchCase: true,
				Settings: func() queue.Settings { s := queue.Defaults(); s.Rate, s.MaxActive = queue.NoRate, 50; return s }(),
				Page:     Page{Status: 429, Entry: "/sale"},
			},
		},
	}
	equal(t, "configuration", plain(*c), plain(want))
}

// The full example is what people read to learn the keys.
func TestTheFullExampleShowsEveryKey(t *testing.T) {
	data, err := os.ReadFile("testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	var walk func(n *yaml.Node, section string)
	walk = func(n *yaml.Node, section string) {
		for i, v := range n.Content {
			switch {
			case n.Kind == yaml.SequenceNode:
				walk(v, section+"[]")
			case i%2 == 1:
				key := join(section, n.Content[i-1].Value)
				shown[key] = true
				walk(v, key)
			}
		}
	}
	walk(root.Content[0], "")
	for section, keys := range known {
		for _, k := range keys {
			if key := join(section, k); !shown[key] && key != "secret_file" {
				t.Errorf("%s is not shown", key)
			}
		}
	}
}

// What is said to be known is what is read.
func TestEveryKnownKeyIsRead(t *testing.T) {
	for section, keys := range known {
		prefix, suffix := "", ""
		for _, part := range strings.Split(section, ".") {
			if part == "" {
				continue
			}
			name, list := strings.CutSuffix(part, "[]")
			prefix += name + ": "
			if list {
				prefix, suffix = prefix+"[", "]"+suffix
			}
			prefix, suffix = prefix+"{", "}"+suffix
		}
		if section == "" {
			prefix, suffix = "{", "}"
		}
		for _, k := range keys {
			_, err := Load(Source{File: "x.yaml", Data: []byte(prefix + k + ": " + suffix)})
			if err == nil || strings.Contains(err.Error(), "unknown key") {
				t.Errorf("%s in %q: %v", k, section, err)
			}
		}
		_, err := Load(Source{File: "x.yaml", Data: []byte(prefix + "zzzzzz: 1" + suffix)})
		if err == nil || !strings.Contains(err.Error(), "known here: "+strings.Join(keys, ", ")+"\n") &&
			!strings.HasSuffix(err.Error(), "known here: "+strings.Join(keys, ", ")) {
			t.Errorf("%q: %v", section, err)
		}
	}
}

func TestValuesNeedNoQuotes(t *testing.T) {
	c := good(t, "plain_values")
	r := c.Rooms[0]
	equal(t, "listen", c.Listen[0].Address, "0.0.0.0:8080")
	o := defaultOrigin()
	o.URLs, o.MaxConns = []string{"http://[::1]:3000"}, 64
	equal(t, "origin", c.Origin, o)
	equal(t, "trusted_proxies", c.TrustedProxies, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})
	equal(t, "log", c.Log, Log{slog.LevelDebug, "text"})
	equal(t, "name", r.Name, "2026")
	equal(t, "match_case", r.MatchCase, false)
	equal(t, "page", r.Page, Page{Status: 200, Entry: "/2026"})
	want := queue.Defaults()
	want.Rate, want.MaxWaiting, want.Mode, want.Message = queue.Rate{N: 90, Per: queue.PerMinute}, 500, queue.ModeHold, "true"
	equal(t, "settings", r.Settings, want)
}

func TestAnAliasStandsForItsAnchor(t *testing.T) {
	c := good(t, "anchors")
	equal(t, "methods", c.Rooms[1].Except, []route.Except{{Methods: []string{"GET", "HEAD"}}})
	equal(t, "settings", c.Rooms[1].Settings, c.Rooms[0].Settings)
	equal(t, "poll", c.Rooms[1].Settings.PollMin, time.Second)
}

func TestSecretsOfAFile(t *testing.T) {
	c := good(t, "secret_file")
	equal(t, "secrets", c.Secrets, []string{"fedcba9876543210fedcba9876543210", "0123456789abcdef0123456789abcdef"})
	equal(t, "origin", c.Origin.URLs, []string{"https://shop.internal:8443"})
}

func TestHostsAndEntries(t *testing.T) {
	c := good(t, "hosts")
	var got []string
	for _, r := range c.Rooms {
		got = append(got, r.Name+" "+r.CookieDomain+" "+r.Page.Entry)
	}
	equal(t, "rooms", got, []string{
		"nothing-in-common  /drop/start?lang=ko#top",
		"wait-at-each  /",
		"platform  /",
		"one-cookie brand.example /%EC%84%B8%EC%9D%BC",
		"addresses  /",
		"everywhere  /",
	})
}

func TestAnOriginAloneIsEnough(t *testing.T) {
	for name, s := range map[string]Source{
		"flag":        {Flags: map[string]string{"origin": "http://127.0.0.1:3000"}},
		"environment": {Env: lookup(map[string]string{"SLUICE_ORIGIN": "http://127.0.0.1:3000", "SLUICE_WHATEVER": "1", "SLUICE_LISTEN": ""})},
		"file":        {File: "testdata/good/least.yaml"},
	} {
		c, err := Load(s)
		if err != nil {
			t.Fatal(err)
		}
		if !c.SecretGenerated || len(c.Secrets) != 1 || len(c.Secrets[0]) != 44 {
			t.Errorf("%s: no random secret: %v, %d", name, c.SecretGenerated, len(c.Secrets))
		}
		want := queue.Defaults()
		want.Rate = queue.Rate{N: 10, Per: queue.PerSecond}
		c.Secrets = nil
		equal(t, name, plain(*c), plain{
			Listen: []Listener{{Address: ":8080", Mode: 0o660}}, TLS: TLS{MinVersion: tls.VersionTLS12, RedirectPort: 443}, Admin: Admin{Listen: "127.0.0.1:9090"}, Store: "memory", OnStoreLoss: "hold", SecretGenerated: true, HTTPS: "auto",
			Headers: Headers{Via: true, Trace: true}, Limits: defaultLimits,
			Origin: Origin{
				URLs: []string{"http://127.0.0.1:3000"}, ConnectTimeout: 2 * time.Second, HeaderTimeout: 30 * time.Second,
				IdleTimeout: 5 * time.Minute, KeepAlive: 8 * time.Second, MaxConns: 1024,
				Queue: Queue{1024, 250 * time.Millisecond}, Tunnels: Tunnels{0, time.Hour}, Resolve: 10 * time.Second,
				Failures: origin.Failures{Count: 3, Within: 30 * time.Second, Out: 5 * time.Second, MaxOut: time.Minute},
			},
			Visitors: Visitors{Reserve: 20, HeaderTimeout: 10 * time.Second, MinRate: 500, PerAddress: PerAddress{IPv4: 32, IPv6: 64}},
			Log:      Log{slog.LevelInfo, "json"}, Shutdown: Shutdown{5 * time.Second, 20 * time.Second},
			Rooms: []Room{{Name: "default", Match: []route.Match{{Path: "/"}}, MatchCase: true, Settings: want, Page: Page{Status: 429, Entry: "/"}}},
		})
	}
	a, _ := Load(Source{File: "testdata/good/least.yaml"})
	b, _ := Load(Source{File: "testdata/good/least.yaml"})
	if a.Secrets[0] == b.Secrets[0] {
		t.Error("two gates made the same secret")
	}
}

func TestFlagsWinOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	file := []byte("listen: ':1'\nadmin: {listen: ':2'}\nstore: redis://a\norigin: {url: http://a}\n")
	env := map[string]string{
		"SLUICE_LISTEN": ":11", "SLUICE_ADMIN": ":12", "SLUICE_STORE": "memory", "SLUICE_ORIGIN": "http://b, http://c/", "SLUICE_RATE": "20/m",
		"SLUICE_MAX_ACTIVE": "7", "SLUICE_SECRET": "\n0123456789abcdef0123456789abcdef\n",
	}
	flags := map[string]string{
		"listen": ":21", "admin": ":22", "store": "redis://d", "origin": "http://d", "rate": "30/h", "max-active": "none",
	}
	type values struct {
		listen, admin, store, origin, rate string
		maxActive                          int64
		secrets                            int
	}
	for _, c := range []struct {
		name  string
		flags map[string]string
		env   map[string]string
		want  values
	}{
		{"environment", nil, env, values{":11", ":12", "memory", "[http://b http://c]", "20/m", 7, 1}},
		{"flags", flags, env, values{":21", ":22", "redis://d", "[http://d]", "30/h", 0, 1}},
	} {
		got, err := Load(Source{File: "x.yaml", Data: file, Flags: c.flags, Env: lookup(c.env)})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		equal(t, c.name, values{got.Listen[0].Address, got.Admin.Listen, got.Store, fmt.Sprint(got.Origin.URLs), got.Rooms[0].Settings.Rate.String(),
			got.Rooms[0].Settings.MaxActive, len(got.Secrets)}, c.want)
	}
}

func TestProblemsOfFlagsAndTheEnvironmentAreToldByName(t *testing.T) {
	const origin = "origin: {url: http://a}\n"
	const secret = "0123456789abcdef0123456789abcdef"
	room := origin + "rooms:\n  - {name: a, match: [{path: /}], rate: none}\n"
	for _, c := range []struct {
		name  string
		file  string
		flags map[string]string
		env   map[string]string
		want  []string
	}{
		{"nothing at all", "", nil, nil,
			[]string{"origin.url: the address of the shop is missing; the flag --origin and SLUICE_ORIGIN set it too"}},
		{"every flag", "", map[string]string{"listen": "8080", "admin": "", "origin": "shop", "rate": "0", "max-active": "0", "store": "redis://u:hunter2@"}, nil,
			[]string{
				`--listen: "8080" has no port; want host:port or :port, such as :8080`,
				`--admin: "" has no port; want host:port or :port, such as :8080`,
				`--origin: "shop": want http://host:port, https://host:port or unix:/path`,
				`--store: host 1 has no name`,
				`--rate: rate "0" lets nobody in: say mode: hold`,
				`--max-active: 0 lets nobody in: say mode: hold`,
			}},
		{"every variable", "", nil,
			map[string]string{"SLUICE_LISTEN": "8080", "SLUICE_ADMIN": "http://127.0.0.1:9090", "SLUICE_ORIGIN": "http://a,http://a", "SLUICE_RATE": "1", "SLUICE_MAX_ACTIVE": "x", "SLUICE_STORE": "x", "SLUICE_SECRET": "short"},
			[]string{
				`SLUICE_LISTEN: "8080" has no port; want host:port or :port, such as :8080`,
				`SLUICE_ADMIN: "http://127.0.0.1:9090" has more than one colon: put an IPv6 address in brackets; want host:port or :port, such as :8080`,
				`SLUICE_ORIGIN: "http://a" is named twice`,
				`SLUICE_STORE: want ` + storeForms,
				`SLUICE_RATE: rate "1": want N/s, N/m, N/h or none, such as 600/m`,
				`SLUICE_MAX_ACTIVE: "x": want a whole number or none`,
				`SLUICE_SECRET: has 5 characters and needs 32: make one with openssl rand -base64 32`,
			}},
		{"a flag wins over a bad variable", origin, map[string]string{"listen": ":1"}, map[string]string{"SLUICE_LISTEN": "bad"}, nil},
		{"a flag does not hide what is wrong in the file", origin + "listen: bad\n", map[string]string{"listen": ":1"}, nil,
			[]string{`x.yaml:2:9: listen: "bad" has no port; want host:port or :port, such as :8080`}},
		{"a file with rooms", room, map[string]string{"rate": "10/s", "max-active": "3"}, nil,
			[]string{
				"--rate: is for the one room of a gate whose file names none; here set rate of a room in x.yaml",
				"--max-active: is for the one room of a gate whose file names none; here set max_active of a room in x.yaml",
			}},
		{"a file with rooms, by the environment", room, nil, map[string]string{"SLUICE_RATE": "10/s"},
			[]string{"SLUICE_RATE: is for the one room of a gate whose file names none; here set rate of a room in x.yaml"}},
		{"a file without rooms", origin, map[string]string{"rate": "10/s", "max-active": "3"}, nil, nil},
		{"both listeners at one address", "", map[string]string{"origin": "http://a", "listen": ":80", "admin": "127.0.0.1:80"}, nil,
			[]string{`--admin: "127.0.0.1:80" and the visitors' ":80" cannot both be listened at`}},
		{"an origin that is the gate", "", map[string]string{"origin": "http://127.0.0.1:8080"}, nil,
			[]string{`--origin: "http://127.0.0.1:8080" is this gate itself, which listens at ":8080"`}},
		{"Redis without a secret", "", map[string]string{"origin": "http://a", "store": "redis://a"}, nil,
			[]string{"secret: is missing, and all gates that share this store need the same; SLUICE_SECRET sets it too"}},
		{"Redis with a secret of the environment", "", map[string]string{"origin": "http://a", "store": "redis://a"}, map[string]string{"SLUICE_SECRET": secret}, nil},
		{"a secret that the file has too", origin + "secret: [" + secret + "x, \"${SLUICE_SECRET}\"]\n", nil, map[string]string{"SLUICE_SECRET": secret}, nil},
		{"a secret that the file does not have", origin + "secret: " + secret + "x\n", nil, map[string]string{"SLUICE_SECRET": secret},
			[]string{"SLUICE_SECRET: is not among the secrets that x.yaml names"}},
	} {
		s := Source{Flags: c.flags, Env: lookup(c.env)}
		if c.file != "" {
			s.File, s.Data = "x.yaml", []byte(c.file)
		}
		_, err := Load(s)
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", c.name, strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
		}
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	_, err := Load(Source{File: "testdata/no-such.yaml"})
	if !errors.Is(err, os.ErrNotExist) || err.Error() != "read configuration: open testdata/no-such.yaml: no such file or directory" {
		t.Errorf("got %v", err)
	}
	var problems Problems
	if errors.As(err, &problems) {
		t.Error("it is told as a problem of the configuration")
	}
	if _, err = Load(Source{File: "testdata"}); err == nil || !strings.Contains(err.Error(), "testdata") {
		t.Errorf("a folder: got %v", err)
	}
}

func TestProblemsAsJSON(t *testing.T) {
	_, err := Load(Source{File: "x.yaml", Data: []byte("origin: {url: http://a}\nlisen: 1\n"), Flags: map[string]string{"rate": "0"}})
	got, jerr := json.Marshal(err)
	if jerr != nil {
		t.Fatal(jerr)
	}
	const want = `[{"file":"x.yaml","line":2,"column":1,"key":"lisen","message":"unknown key; did you mean listen?"},` +
		`{"file":"","line":0,"column":0,"key":"--rate","message":"rate \"0\" lets nobody in: say mode: hold"}]`
	if string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	var p Problem
	if !errors.As(err, &p) || p.Key != "lisen" {
		t.Errorf("the first problem is %v", p)
	}
}

func TestNoSecretIsShown(t *testing.T) {
	c := good(t, "full")
	c.Store = "redis+sentinel://app:p%40ss-word@a,b/m/0?prefix=x"
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("loaded", "config", c, "value", *c)
	slog.New(slog.NewTextHandler(&log, nil)).Info("loaded", "config", c, "value", *c)
	js, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	ym, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{
		"String": c.String(), "%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", *c), "%#v": fmt.Sprintf("%#v", c), "%s": fmt.Sprintf("%s", *c),
		"%x": fmt.Sprintf("%x", c), "%q": fmt.Sprintf("%q", c), "inside": fmt.Sprintf("%+v", struct{ C Config }{*c}),
		"JSON": string(js), "YAML": string(ym), "slog": log.String(), "Redacted": fmt.Sprintf("%#v", plain(c.Redacted())),
	}
	for how, text := range shown {
		for _, secret := range append([]string{"ss-word", fmt.Sprintf("%x", c.Secrets[0]), fmt.Sprintf("%x", c.Admin.Tokens[0].Hash), fmt.Sprint(c.Admin.Tokens[0].Hash)}, c.Secrets...) {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %q: %s", how, secret, text)
			}
		}
		if how != "%x" && !strings.Contains(text, "sentinel://app:***@a,b/m/0?prefix=x") {
			t.Errorf("%s does not show the store: %s", how, text)
		}
	}
	if len(c.Secrets) != 2 || c.Secrets[0][0] != '0' || c.Admin.Tokens[0].Hash == ([32]byte{}) {
		t.Error("showing a configuration changed it")
	}
	for store, want := range map[string]string{
		"memory": "memory", "redis://a:1/0": "redis://a:1/0", "redis://:pw@a": "redis://:***@a", "redis://pw@a": "redis://pw:***@a",
		"rediss://u:a@b@c": "rediss://u:***@c",
	} {
		if got := hiddenStore(store); got != want {
			t.Errorf("%s is shown as %s, want %s", store, got, want)
		}
	}
}

func TestVariables(t *testing.T) {
	env := lookup(map[string]string{"A": "one", "B_2": "two ${A} $$", "EMPTY": ""})
	for in, want := range map[string]string{
		"": "", "plain": "plain", "${A}": "one", "<${A}${B_2}>": "<onetwo ${A} $$>", "$$": "$", "$${A}": "${A}", "$$$${A}": "$${A}",
		"$$${A}": "$one", "$A": "$A", "a$": "a$", "5 $ a": "5 $ a", "x${EMPTY}y": "xy", "}{": "}{",
	} {
		if got, err := expand(in, env); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"${NO}": "no NO", "${NO} ${A} ${NOR}": "no NO and no NOR", "${": "has no }", "a${A": "has no }", "${}": "only the name",
		"${A-x}": "only the name", "${1A}": "only the name", "${ A }": "only the name", "${${A}}": "only the name",
	} {
		if got, err := expand(in, env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, %v, want an error with %q", in, got, err, want)
		}
	}
}

func TestStores(t *testing.T) {
	for _, s := range []string{
		"redis://127.0.0.1:6379/0", "redis://a", "redis://a/", "redis://[::1]:6379/15", "redis://my_redis:6379", "rediss://app:p%40ss@a:6380/1?prefix=shop",
		"redis://:a:b$c@a", "redis+sentinel://a,b:26380/mymaster", "redis+sentinel://:pw@a,[2001:db8::1]:1/mymaster/3?prefix=a.b-c_d:e",
		"redis+cluster://a:1,b:2,c:3", "redis+cluster://u:p@a?prefix=x",
	} {
		if err := checkStore(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		store, err := redis.Open(s)
		if err != nil {
			t.Errorf("%s is accepted and cannot be opened: %v", s, err)
			continue
		}
		store.Close()
	}
	if err := checkStore("memory"); err != nil {
		t.Error(err)
	}
	for s, want := range map[string]string{
		"":                                 "want memory",
		"Memory":                           "want memory",
		"redis":                            "want memory",
		"redis:a":                          "want memory",
		"REDIS://a":                        "want memory",
		"http://a":                         "want memory",
		"unix:///run/redis.sock":           "want memory",
		"redis://":                         "host 1 has no name",
		"redis://hunter2@":                 "host 1 has no name",
		"redis://a,b":                      "several hosts",
		"redis://a:x":                      "host 1 has no port from",
		"redis://a:0":                      "host 1 has no port behind",
		"redis://a:":                       "host 1 has no port",
		"redis://::1":                      "more than one colon",
		"redis://a b":                      "percent-encoded",
		"redis://a/x":                      "not a number",
		"redis://a/-1":                     "not a number",
		"redis://a/0/1":                    "not a number",
		"redis://a?db=1":                   "no other parameter",
		"redis://a?prefix=":                "the prefix may have",
		"redis://a?prefix={x}":             "the prefix may have",
		"redis://a?prefix=a&prefix=b":      "two prefixes",
		"redis://a?prefix=a&":              "no other parameter",
		"redis://u:hunter2/@a":             "behind the host",
		"redis://u:hunter2?@a":             "behind the host",
		"redis://u:hunter2#@a":             "percent-encoded",
		"redis://u:hunter2@@a":             "not percent-encoded",
		"redis://u:hunter2%zz@a":           "not percent-encoded",
		"redis://u:hunter2^@a":             "not percent-encoded",
		"redis+sentinel://a,b":             "name the master",
		"redis+sentinel://a,b/":            "name the master",
		"redis+sentinel://a,,b/m":          "host 2 has no name",
		"redis+sentinel://a/my%20master":   "master name",
		"redis+sentinel://a/m/x":           "not a number",
		"redis+cluster://a,b/0":            "no numbered databases",
		"redis+cluster://u:hunter2@a,-b:1": "host 2 has no valid host",
	} {
		err := checkStore(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", s, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the password is told: %v", s, err)
		}
	}
}

func TestSlipsAreRecognised(t *testing.T) {
	for in, want := range map[string]string{
		"lisen": "listen", "listne": "listen", "Listen": "listen", "maxactive": "max_active", "max-active": "max_active", "MAX_ACTIVE": "max_active",
		"max_activ": "max_active", "burts": "burst", "rates": "rate", "sesion": "session", "exempt": "except", "colour": "", "x": "", "": "",
		strings.Repeat("listen", 1000): "",
	} {
		names := append([]string{"listen"}, known["rooms[]"]...)
		if got := nearest(in, names); got != want {
			t.Errorf("%.20q: got %q, want %q", in, got, want)
		}
	}
}
