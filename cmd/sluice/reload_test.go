package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/gate/cert/certtest"
	"github.com/sluicegate/sluice/gate/config"
)

// reloaded is a gate that serves nobody, with what its next reload finds.
type reloaded struct {
	*process
	text string
	log  strings.Builder
}

func openReloaded(t *testing.T, text string) *reloaded {
	t.Helper()
	r := &reloaded{text: text}
	load := func() (*config.Config, error) {
		listen := fmt.Sprintf("listen: {address: \"127.0.0.1:0\", tls: %t}\n", strings.Contains(r.text, "tls:"))
		return config.Load(config.Source{File: "sluice.yaml", Data: []byte(listen + "admin: {listen: 127.0.0.1:0}\nsecret: " + secret + "\n" + r.text)})
	}
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if r.process, err = newProcess(c, slog.New(slog.NewTextHandler(&r.log, nil)), load); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.closeVisitors()
		r.operators.Close()
		_ = r.gate.Close(context.Background())
		_ = r.store.Close()
	})
	return r
}

func TestAReloadNamesWhatTakesARestart(t *testing.T) {
	t.Parallel()
	r := openReloaded(t, "origin: {url: http://127.0.0.1:1}")
	for key, text := range map[string]string{
		"visitors.max_conns":      "visitors: {max_conns: 1000}",
		"visitors.reserve":        "visitors: {reserve: 30%}",
		"visitors.header_timeout": "visitors: {header_timeout: 20s}",
		"limits.header":           "limits: {header: 32KiB}",
		"proxy_protocol":          "trusted_proxies: [127.0.0.1]\nproxy_protocol: true",
		"origin.max_conns":        "origin: {url: http://127.0.0.1:1, max_conns: 10}",
		"origin.tunnels.max":      "origin: {url: http://127.0.0.1:1, tunnels: {max: 10}}",
		"log":                     "log: {level: debug}",
	} {
		if r.text = text; !strings.Contains(text, "origin:") {
			r.text += "\norigin: {url: http://127.0.0.1:1}"
		}
		if err := r.reload(t.Context()); err == nil || err.Error() != key+" changed, which takes a restart" {
			t.Errorf("%s: %v", key, err)
		}
	}
	r.text = "origin: {url: http://127.0.0.1:1}\nvisitors: {min_rate: 1000, per_address: {requests: 100/s}}"
	if err := r.reload(t.Context()); err != nil {
		t.Errorf("what takes no restart: %v", err)
	}
}

func TestOriginsThatNeedMoreFilesGetThemOfTheVisitors(t *testing.T) {
	t.Parallel()
	r := openReloaded(t, "origin: {url: http://127.0.0.1:1, max_conns: 300}")
	r.text = "origin: {url: [http://127.0.0.1:1, http://127.0.0.1:2], max_conns: 300}"
	if err := r.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("limit=%d missing=300 visitors=%d servers=2 origin=600 origin_before=300 ", r.files.Limit, r.files.Visitor); !strings.Contains(r.log.String(), want) {
		t.Errorf("the log does not warn of %q:\n%s", want, r.log.String())
	}
	connections := func() string {
		page := httptest.NewRecorder()
		r.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		_, after, _ := strings.Cut(page.Body.String(), "\nsluice_connections_limit ")
		line, _, _ := strings.Cut(after, "\n")
		return line
	}
	if got, want := connections(), fmt.Sprint(r.files.Visitor-300); got != want {
		t.Errorf("visitors have %s connections, want %s", got, want)
	}
	text := r.text
	r.text = "origin: {url: http://127.0.0.1:1, max_conns: 300}"
	if err := r.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := connections(), fmt.Sprint(r.files.Visitor); got != want {
		t.Errorf("and %s when it needs them no more, want %s", got, want)
	}
	r.text = text
	if err := r.reload(t.Context()); err != nil {
		t.Fatal(err)
	}

	// What would not start is not reloaded either.
	c := *r.config
	for len(c.Origin.URLs)*300 < r.files.Limit {
		c.Origin.URLs = append(c.Origin.URLs, "http://127.0.0.1:3")
	}
	want := fmt.Sprintf("the limit of %d open files leaves 0 for visitors beside %d for the origin", r.files.Limit, len(c.Origin.URLs)*300)
	if err := r.apply(&c); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestARefusedReloadLeavesTheCertificatesToo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := certtest.NewCA(t)
	ca.Write(dir, "a", tomorrow(), "a.example")
	ca.Write(dir, "b", tomorrow(), "b.example")
	with := func(name string) string {
		return fmt.Sprintf("origin: {url: http://127.0.0.1:1}\ntls: {certificates: [{cert_file: %s/%s.pem, key_file: %[1]s/%[2]s.key}]}\n", dir, name)
	}
	r := openReloaded(t, with("a"))
	r.text = with("b")
	c, err := r.load()
	if err != nil {
		t.Fatal(err)
	}
	c.Origin.URLs = []string{"gopher://shop.example"} // as when a file of the origin's is gone by now
	if err := r.apply(c); err == nil {
		t.Fatal("an origin of no known kind was accepted")
	}
	if !r.certs.Covers("a.example") || r.certs.Covers("b.example") {
		t.Error("the certificates changed all the same")
	}
	if err := r.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.certs.Covers("a.example") || !r.certs.Covers("b.example") {
		t.Error("the certificates did not change with the reload")
	}
}
