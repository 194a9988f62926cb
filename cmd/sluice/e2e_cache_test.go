package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// shownToCaches are pages of the recorder that tell caches something, or nothing.
var shownToCaches = map[string]map[string]string{
	"/drop/page":           {"Content-Type": "text/html"},
	"/drop/public":         {"Content-Type": "text/html", "Cache-Control": "public, max-age=600", "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"},
	"/drop/cdn":            {"Content-Type": "text/html", "Cache-Control": "private", "CDN-Cache-Control": "max-age=600", "X-Accel-Expires": "600", "Surrogate-Control": "max-age=600"},
	"/drop/stock.json":     {"Content-Type": "application/json", "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"},
	"/drop/assets/app.css": {"Content-Type": "text/css", "Cache-Control": "public, max-age=600"},
	"/drop/app.css":        {"Content-Type": "text/css", "Cache-Control": "public, max-age=600"}, // not excepted
	"/news":                {"Content-Type": "text/html", "Cache-Control": "public, max-age=600"},
}

// A shared cache in front of the gate that keeps whatever it may, for everybody,
// whatever cookies they bring: more than a careful one would.
func TestSharedCachesInFrontKeepNothingOfAnybody(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, gate string) (url string){"nginx": openNginxCache, "varnish": openVarnish} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSite(t, "except: [static]\n", "trusted_proxies: [127.0.0.1]")
			cache := open(t, s.visitors)
			through := func() *guest {
				v := s.visitor()
				v.gates = []string{cache}
				return v
			}
			gated := []string{"/drop/page", "/drop/public", "/drop/cdn", "/drop/stock.json"}
			held := map[string]string{} // tokens, by who was given them
			own := func(who string, v *guest) {
				t.Helper()
				text := v.cookie("sluice-drop")
				if by := held[text]; text == "" || by != "" && by != who {
					t.Errorf("%s holds %q, which was given to %s", who, text, by)
				}
				held[text] = who
			}

			// Everybody waits by themselves.
			ann, bob := through(), through()
			for range 2 {
				for _, path := range gated {
					for who, v := range map[string]*guest{"ann": ann, "bob": bob} {
						if r := v.opens(path); r.status != http.StatusTooManyRequests || r.header.Get("X-Cache") == "HIT" {
							t.Fatalf("%s opens %s: status %d with %v", who, path, r.status, r.header)
						}
						own(who, v)
					}
				}
				if a, b := ann.polls(), bob.polls(); a.Position == nil || b.Position == nil || *a.Position == *b.Position {
					t.Errorf("ann stands at %+v, bob at %+v", a, b)
				}
			}

			// Let in, everybody sees what is shown to them, on the first request and when
			// no answer sets a cookie any more. An app shows its pass in a field.
			s.patch(`{"mode": "auto"}`)
			app := through()
			app.headers = header("Sluice-Token", "")
			for who, v := range map[string]*guest{"ann": ann, "bob": bob, "the app": app} {
				if v == app {
					await(t, "the app is let in", func() error {
						r, a, err := v.ask(t.Context(), "POST")
						if err == nil && r.header.Get("Sluice-Token") != "" {
							v.headers = header("Sluice-Token", r.header.Get("Sluice-Token"))
						}
						if err == nil && a.State != "admitted" {
							err = errors.New(a.State)
						}
						return err
					})
				} else {
					v.enters()
					own(who, v)
				}
				for range 3 {
					for _, path := range gated {
						r := v.opens(path)
						pass := v.token()
						if v == app {
							pass, _ = readToken(v.headers.Get("Sluice-Token"))
						}
						if want := fmt.Sprintf("shown to %q", fmt.Sprintf("%016x", uint64(pass.ID))); r.status != 200 || string(r.body) != want || pass.Kind != token.Pass {
							t.Errorf("%s opens %s: status %d, %s, want %s", who, path, r.status, r.body, want)
						}
						if control := r.header.Get("Cache-Control"); !strings.HasPrefix(control, "private") || r.header.Get("Surrogate-Control") != "" {
							t.Errorf("%s of %s leaves with %v", path, who, r.header)
						}
					}
				}
			}

			// Somebody is let in by asking for a file that is for everybody.
			late := through()
			late.headers = header("Sluice-Token", "")
			if r := late.opens("/drop/app.css"); r.status != 200 || r.header.Get("Sluice-Token") == "" || r.header.Get("Cache-Control") != "private, max-age=600" {
				t.Errorf("a file with a pass: status %d with %v", r.status, r.header)
			}
			if r := through().with(ann.headers).send("GET", "/drop/app.css", script, ""); r.header.Get("Sluice-Token") != "" {
				t.Errorf("the pass of another comes with a file: %v", r.header)
			}

			// Nothing of it is there for who comes then, by any method.
			s.patch(`{"mode": "hold"}`)
			eve := through()
			for _, path := range gated {
				for _, method := range []string{"GET", "HEAD"} {
					h := navigation
					if method == "HEAD" {
						h = script
					}
					if r := eve.send(method, path, h, ""); r.status != http.StatusTooManyRequests || strings.Contains(string(r.body), "shown to") {
						t.Errorf("%s %s by somebody new: status %d with %v: %.100s", method, path, r.status, r.header, r.body)
					}
				}
				own("eve", eve)
			}

			// What is for everybody is kept: the cache is one.
			for _, path := range []string{"/news", "/drop/assets/app.css"} {
				s.shop.asked()
				for i := range 3 {
					r := through().opens(path)
					if r.status != 200 || string(r.body) != `shown to ""` || len(r.header["Set-Cookie"]) > 0 || i > 0 && r.header.Get("X-Cache") != "HIT" {
						t.Errorf("%s: status %d with %v: %s", path, r.status, r.header, r.body)
					}
				}
				if n := len(s.shop.asked()); n != 1 {
					t.Errorf("the shop was asked for %s %d times", path, n)
				}
			}
		})
	}
}

func openNginxCache(t *testing.T, gate string) (url string) {
	t.Helper()
	return "http://" + proc.Nginx(t, func(dir string, port int) string {
		return fmt.Sprintf(`
worker_processes 1;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	proxy_cache_path %[1]s/cache keys_zone=shop:1m;
	server {
		listen 127.0.0.1:%[2]d;
		location / {
			proxy_pass %[3]s;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Connection "";
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_cache shop;
			proxy_cache_key $scheme$http_host$request_uri;
			proxy_cache_valid any 10m;
			proxy_cache_lock on;
			proxy_cache_use_stale error timeout updating http_500 http_503 http_429;
			add_header X-Cache $upstream_cache_status always;
		}
	}
}
`, dir, port, gate)
	})
}

func openVarnish(t *testing.T, gate string) (url string) {
	t.Helper()
	program := proc.Need(t, "varnishd")
	host, port, err := net.SplitHostPort(strings.TrimPrefix(gate, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "shop.vcl")
	vcl := fmt.Sprintf(`
vcl 4.1;
backend default { .host = %q; .port = %q; }
sub vcl_recv {
	if (req.method == "GET" || req.method == "HEAD") { return (hash); }
	return (pass);
}
sub vcl_deliver {
	if (obj.hits > 0) { set resp.http.X-Cache = "HIT"; }
}
`, host, port)
	if err := errors.Join(os.WriteFile(file, []byte(vcl), 0o600), os.Mkdir(filepath.Join(dir, "work"), 0o700)); err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(proc.FreePort(t)))
	proc.Start(t, func() error {
		r, err := http.Get("http://" + addr + "/.sluice/health")
		if err == nil {
			r.Body.Close()
		}
		return err
	}, program, "-F", "-j", "none", "-n", filepath.Join(dir, "work"), "-a", addr, "-f", file, "-s", "malloc,16m")
	return "http://" + addr
}
