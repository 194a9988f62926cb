package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/gate/route"
	"github.com/sluicegate/sluice/gate/token"
)

// environment of the good and bad files.
var environment = map[string]string{
	"SHOP_SECRET":  "0123456789abcdef0123456789abcdef",
	"SHOP_DOMAIN":  "shop.example",
	"SHOP_RATE":    "600/m",
	"SHOP_MESSAGE": "costs $5 ${SHOP_RATE}",
	"EMPTY":        "",
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
}

// Beside each bad file stands what is wrong with it, written by hand: a line for
// each problem, from "line:column" on where it is about the file itself.
func TestEveryProblemOfABadFileIsToldWithItsPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Split(strings.TrimSpace(string(text)), "\n")
			for i, line := range want {
				switch {
				case line[0] >= '0' && line[0] <= '9':
					want[i] = file + ":" + line
				case line[0] == ':':
					want[i] = file + line
				}
			}
			c, err := Load(Source{File: file, Env: lookup(environment)})
			if c != nil {
				t.Error("there is a configuration all the same")
			}
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got the error %v, want Problems", err)
			}
			same := func(got, want string) bool {
				if start, cut := strings.CutSuffix(want, "..."); cut { // the rest is another package's words
					return strings.HasPrefix(got, start)
				}
				return got == want
			}
			if got := strings.Split(err.Error(), "\n"); !slices.EqualFunc(got, want, same) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "tok_live") || strings.Contains(err.Error(), "aSecret") {
				t.Errorf("a secret is told:\n%s", err)
			}
		})
	}
}

func TestGoodFilesLoad(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			c, err := Load(Source{File: file, Env: lookup(environment)})
			if err != nil {
				t.Fatal(err)
			}
			if err := sound(c); err != nil {
				t.Error(err)
			}
		})
	}
}

// sound tells what a Config that Load gave must never be.
func sound(c *Config) error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(len(c.Listen) > 0, "nowhere to arrive")
	for _, v := range c.Listen {
		want(checkListener(v.Address) == nil && v.Mode != 0, "listen %+v", v)
	}
	want(checkListen(c.Admin.Listen) == nil, "admin.listen %q", c.Admin.Listen)
	want(len(c.Secrets) > 0, "no secret")
	for _, s := range c.Secrets {
		want(len(s) >= token.MinSecret, "a secret of %d bytes", len(s))
	}
	want(!c.SecretGenerated || c.Store == "memory", "a random secret with a shared store")
	want(checkStore(c.Store) == nil, "store")
	want(len(c.Origin.URLs) > 0, "no origin")
	want(c.Origin.ConnectTimeout > 0 && c.Origin.HeaderTimeout > 0 && c.Origin.MaxConns > 0, "origin %+v", c.Origin)
	want(c.Shutdown.Delay >= 0 && c.Shutdown.Timeout > 0, "shutdown %+v", c.Shutdown)
	want(c.HTTPS == "auto" || c.HTTPS == "always", "https %q", c.HTTPS)
	want(c.OnStoreLoss == "hold" || c.OnStoreLoss == "admit", "on_store_loss %q", c.OnStoreLoss)
	want(c.Log.Format == "json" || c.Log.Format == "text", "log.format %q", c.Log.Format)
	for _, p := range c.TrustedProxies {
		want(p.IsValid() && p == p.Masked(), "trusted proxy %s", p)
	}
	for _, o := range c.CORSOrigins {
		want(corsOrigin(o) == nil, "CORS origin %q", o)
	}
	want(len(c.Rooms) > 0, "no rooms")
	names := map[string]bool{}
	for _, r := range c.Rooms {
		want(r.Name != "" && len(r.Name) <= maxName && !names[r.Name], "room %q", r.Name)
		names[r.Name] = true
		want(len(r.Settings.Check()) == 0, "settings of %q: %v", r.Name, r.Settings.Check())
		want(checkEntry(r.Page.Entry) == nil, "entry %q", r.Page.Entry)
		want(slices.Contains([]int{200, 202, 429, 503}, r.Page.Status), "status %d", r.Page.Status)
	}
	if _, err := route.New(c.Routes()); err != nil {
		errs = append(errs, err)
	}
	if s := c.String(); strings.Contains(s, c.Secrets[0]) {
		errs = append(errs, errors.New("String tells a secret"))
	}
	return errors.Join(errs...)
}
