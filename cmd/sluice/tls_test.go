package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/gate/cert/certtest"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// tlsSite is a gate with a port for https and one for plain http.
type tlsSite struct {
	*gateProcess
	ca            *certtest.CA
	secure, plain string // addresses
	port          string // of secure
	dir           string
	pair          cert.Files
}

func tomorrow() time.Time { return time.Now().Add(24 * time.Hour) }

func startTLSSite(t *testing.T, shop, more string) *tlsSite {
	t.Helper()
	s := &tlsSite{ca: certtest.NewCA(t), dir: t.TempDir()}
	securePort := proc.FreePort(t)
	s.secure, s.plain = fmt.Sprintf("127.0.0.1:%d", securePort), fmt.Sprintf("127.0.0.1:%d", proc.FreePort(t))
	s.port = fmt.Sprint(securePort)
	s.pair = s.ca.Write(s.dir, "shop", tomorrow(), "shop.example", "*.shop.example", "localhost", "127.0.0.1")
	s.ca.WriteRSA(s.dir, "rsa", tomorrow(), "old.example")
	file := writeConfig(t, s.dir, "sluice.yaml", shop, fmt.Sprintf(`
listen: [%q, {address: %q, tls: true}]
tls:
  certificates:
    - {cert_file: shop.pem, key_file: shop.key}
    - {cert_file: rsa.pem, key_file: rsa.key}
  redirect: 308
  redirect_port: %d
  hsts: {max_age: 8760h, include_subdomains: true}
rooms: [{name: drop, match: [{path: /drop}], rate: 1/h, burst: 1, max_active: 1}]
%s`, s.plain, s.secure, securePort, more))
	s.gateProcess = startGateAs(t, file, sluice(t))
	return s
}

// client trusts the site's authority and takes every name for the site.
func (s *tlsSite) client(t *testing.T) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.ca.Pool},
		DialContext:     func(context.Context, string, string) (net.Conn, error) { return net.Dial("tcp", s.secure) },
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func TestVisitorsUseTLS(t *testing.T) {
	t.Parallel()
	s := startTLSSite(t, shopServer(t), "")
	client := s.client(t)
	t.Run("the shop learns of it, cookies are Secure, browsers are told to stay", func(t *testing.T) {
		for _, c := range []struct{ path, proto string }{{"/x", "https"}, {"/drop", "https"}, {"/drop", ""}} {
			resp, err := client.Get("https://shop.example:" + s.port + c.path)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if got := resp.Header.Get("Proto"); got != c.proto {
				t.Errorf("%s: the shop is told %q, want %q", c.path, got, c.proto)
			}
			if got := resp.Header.Values("Strict-Transport-Security"); len(got) != 1 || got[0] != "max-age=31536000; includeSubDomains" {
				t.Errorf("%s: Strict-Transport-Security %q", c.path, got)
			}
			for _, cookie := range resp.Cookies() {
				if !cookie.Secure || cookie.SameSite != http.SameSiteNoneMode {
					t.Errorf("%s: %v", c.path, cookie)
				}
			}
			if resp.ProtoMajor != 1 {
				t.Errorf("%s: %s", c.path, resp.Proto)
			}
		}
	})
	t.Run("curl", func(t *testing.T) {
		curl := proc.Need(t, "curl")
		out, err := exec.Command(curl, "-sS", "--cacert", s.ca.File, "--resolve", "www.shop.example:"+s.port+":127.0.0.1",
			"-d", "a=b", "https://www.shop.example:"+s.port+"/x?y").CombinedOutput()
		if err != nil || string(out) != "ok POST /x?y" {
			t.Errorf("%s, %v", out, err)
		}
	})
	t.Run("each name has its certificate", func(t *testing.T) {
		for name, want := range map[string]string{
			"shop.example": "shop.example", "A.Shop.Example": "shop.example", "old.example": "old.example", "a.b.shop.example": "shop.example", "": "shop.example",
		} {
			c, err := tls.Dial("tcp", s.secure, &tls.Config{ServerName: name, InsecureSkipVerify: true})
			if err != nil {
				t.Errorf("%q: %v", name, err)
				continue
			}
			if got := c.ConnectionState().PeerCertificates[0].DNSNames[0]; got != want {
				t.Errorf("%q is shown that of %q", name, got)
			}
			c.Close()
		}
	})
	t.Run("openssl", func(t *testing.T) {
		openssl := proc.Need(t, "openssl")
		for _, c := range []struct {
			want bool
			args string
		}{
			{true, "-tls1_3"},
			{true, "-tls1_2"},
			{true, "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305"},
			{true, "-alpn h2,http/1.1"},
			{false, "-tls1_1 -cipher ALL:@SECLEVEL=0"},
			{false, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA"},
			{false, "-tls1_2 -cipher AES128-GCM-SHA256"},
			{false, "-alpn h2"},
		} {
			args := append([]string{"s_client", "-connect", s.secure, "-servername", "shop.example", "-CAfile", s.ca.File, "-verify_return_error"},
				strings.Fields(c.args)...)
			out, err := exec.Command(openssl, args...).CombinedOutput()
			if (err == nil) != c.want || c.want && !strings.Contains(string(out), "Verify return code: 0 (ok)") {
				t.Errorf("%s: %v\n%s", c.args, err, out)
			}
			if strings.Contains(c.args, "http/1.1") && !strings.Contains(string(out), "ALPN protocol: http/1.1") {
				t.Errorf("%s:\n%s", c.args, out)
			}
		}
	})
	t.Run("a WebSocket goes through", func(t *testing.T) { s.echo(t) })
	t.Run("who speaks http there is told", func(t *testing.T) {
		resp, err := http.Get("http://" + s.secure + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); resp.StatusCode != 400 || !strings.Contains(string(text), "speaks https") {
			t.Errorf("%d %q, %v", resp.StatusCode, text, err)
		}
	})
	t.Run("plain http is sent on to https", s.redirects)
	t.Run("nobody is sent on to a host of somebody else's choice", s.sendsNobodyAway)
	t.Run("what went wrong is counted", func(t *testing.T) {
		for _, result := range []string{"ok", "no_tls", "incompatible"} {
			if n := s.metric(t, `sluice_tls_handshakes_total{result="`+result+`"}`); n == 0 {
				t.Errorf("%s: %v", result, n)
			}
		}
		if n := s.metric(t, `sluice_tls_certificate_expiry_timestamp_seconds{certificate="shop.example"}`); n < float64(time.Now().Unix()) {
			t.Errorf("it expires at %v", n)
		}
	})
	s.stop()
}

// metric reads one line of /metrics.
func (s *tlsSite) metric(t *testing.T, line string) (value float64) {
	t.Helper()
	resp, err := http.Get(s.operators + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	_, rest, ok := strings.Cut(string(text), "\n"+line+" ")
	if ok {
		_, _ = fmt.Sscan(rest, &value)
	}
	return value
}

// echo talks with an echo behind the gate.
func (s *tlsSite) echo(t *testing.T) {
	d := websocket.Dialer{
		TLSClientConfig: &tls.Config{RootCAs: s.ca.Pool},
		NetDial:         func(string, string) (net.Conn, error) { return net.Dial("tcp", s.secure) },
	}
	c, _, err := d.Dial("wss://shop.example:"+s.port+"/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{1, 70_000} {
		want := strings.Repeat("x", size)
		if err := c.WriteMessage(websocket.TextMessage, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.ReadMessage(); err != nil || string(got) != want {
			t.Errorf("%d bytes come back for %d, %v", len(got), size, err)
		}
	}
}

func (s *tlsSite) redirects(t *testing.T) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, c := range []struct {
		method, host, target string
		status               int
		location             string
	}{
		{"GET", "shop.example", "/drop?a=b%20c", 308, "https://shop.example:PORT/drop?a=b%20c"},
		{"GET", "SHOP.example:80", "//evil.example/%2e", 308, "https://shop.example:PORT//evil.example/%2e"},
		{"GET", "shop.example.", "/", 308, "https://shop.example:PORT/"},
		{"POST", "www.shop.example", "/x", 308, "https://www.shop.example:PORT/x"},
		{"GET", "127.0.0.1:99", "/.sluice/rooms/drop", 308, "https://127.0.0.1:PORT/.sluice/rooms/drop"},
		{"GET", "evil.example", "/drop", 421, ""},
		{"GET", "shop.example.evil.example", "/", 421, ""},
		{"GET", "a.b.shop.example", "/", 421, ""},
		{"GET", "evil.example", "/.sluice/health", 200, ""},
		{"GET", "shop.example", "/.well-known/acme-challenge/x", 200, ""},
	} {
		req, err := http.NewRequest(c.method, "http://"+s.plain+"/", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque, req.Host = c.target, c.host
		if strings.HasPrefix(c.target, "//") {
			req.URL.Opaque = ""
			req.URL.Path, req.URL.RawPath = "//evil.example/.", "//evil.example/%2e"
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want := strings.ReplaceAll(c.location, "PORT", s.port)
		if got := resp.Header.Get("Location"); resp.StatusCode != c.status || got != want {
			t.Errorf("%s %s%s: %d %q, want %d %q", c.method, c.host, c.target, resp.StatusCode, got, c.status, want)
		}
		if got := resp.Header.Get("Strict-Transport-Security"); got != "" && got != "max-age=1" { // the shop's own
			t.Errorf("%s%s: over plain http the gate says to be strict: %q", c.host, c.target, got)
		}
	}
}

// sendsNobodyAway tries what has made others' redirects open ones.
func (s *tlsSite) sendsNobodyAway(t *testing.T) {
	sentOn := 0
	for _, target := range []string{
		"/", "//evil.example", "//evil.example/", "///evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "/%09/evil.example",
		"/%2f%2fevil.example", "/%5cevil.example", "/..//evil.example", "/.//evil.example", "//shop.example@evil.example/", "@evil.example", ".evil.example",
		":@evil.example/", "?x", "/?next=//evil.example", "/#@evil.example", "http://evil.example/", "https://evil.example/", "http:evil.example", "*",
		"http://shop.example/", "http://shop.example@evil.example/", "http://shop.example//evil.example", "/%0d%0aLocation:%20https://evil.example/",
		"/\rLocation: https://evil.example/", "/\x00@evil.example", "/.well-known/acme-challenge/../../@evil.example",
	} {
		for _, host := range []string{
			"shop.example", "Shop.Example:80", "shop.example.", "evil.example", "shop.example.evil.example", "evil.example:80@shop.example", "shop.example@evil.example",
			"shop.example:@evil.example", "shop.example:80@evil.example", "shop.example/.evil.example", "shop.example\\.evil.example", "shop.example#.evil.example",
			"shop.example?.evil.example", "shop.example%2eevil.example", "shop.example, evil.example", "shop.example evil.example",
			"shop.example\r\nHost: evil.example", "evil.example\r\nHost: shop.example", "shop.example\r\nX-Forwarded-Host: evil.example",
			"shop.example\r\nForwarded: host=evil.example", "[::1]", "[::ffff:127.0.0.1]", "evil.example%00.shop.example", "evil.example/.shop.example", "evil\t.shop.example", "",
		} {
			c, err := net.Dial("tcp", s.plain)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			c.Close()
			if err != nil {
				t.Errorf("%q of %q: %v", target, host, err)
				continue
			}
			to := resp.Header.Values("Location")
			if len(to) == 0 {
				continue
			}
			sentOn++
			u, err := url.Parse(to[0])
			if err != nil || len(to) > 1 || u.Scheme != "https" || u.User != nil || u.Port() != s.port || !s.has(u.Hostname()) ||
				!strings.HasPrefix(to[0], "https://"+u.Host+"/") {
				t.Errorf("%q of %q is sent on to %q", target, host, to)
			}
		}
	}
	if sentOn < 20 {
		t.Errorf("%d were sent on: nothing was tried", sentOn)
	}
}

// has tells whether a host is one of the site's: shop.example or one label before it.
func (s *tlsSite) has(host string) bool {
	label, of, _ := strings.Cut(host, ".shop.example")
	return host == "shop.example" || of == "" && label != host && label != "" && !strings.ContainsAny(label, "./@:%\\ ")
}

func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	s := startTLSSite(t, shopServer(t), "")
	serial := func() string {
		c, err := tls.Dial("tcp", s.secure, &tls.Config{ServerName: "shop.example", RootCAs: s.ca.Pool})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()

	// Half a change is none, and what cannot be used changes nothing.
	other := s.ca.Write(t.TempDir(), "other", tomorrow(), "shop.example")
	move(t, other.Cert, s.pair.Cert)
	await(t, "the log says why", func() error { return s.says("is not that of the first certificate") })
	if serial() != first {
		t.Error("a certificate without its key is shown")
	}
	move(t, other.Key, s.pair.Key)
	await(t, "the new one is shown", func() error {
		if serial() == first {
			return fmt.Errorf("still the first one")
		}
		return nil
	})
	second := serial()

	// A reload with a broken pair is refused as a whole, with the place.
	if err := os.WriteFile(s.pair.Key, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(s.operators+"/api/v1/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode < 400 || !strings.Contains(string(text), "sluice.yaml:8:7: tls.certificates[0]: ") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if serial() != second {
		t.Error("a refused reload changed the certificate")
	}

	// An expired one is worse than the one before.
	s.ca.Write(s.dir, "shop", time.Now().Add(-time.Hour), "shop.example")
	await(t, "the log says why", func() error { return s.says("expired on") })
	if serial() != second {
		t.Error("an expired certificate is shown")
	}
	s.signalAndForget(t)
}

// signalAndForget stops a gate whose log has errors that were wanted.
func (s *tlsSite) signalAndForget(t *testing.T) {
	s.signal(os.Interrupt)
	<-s.done
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the gate ended with exit code %d", code)
	}
	s.stopped = true
}

func (s *tlsSite) says(what string) error {
	if text := s.printed(); !strings.Contains(text, what) {
		return fmt.Errorf("it does not say %q", what)
	}
	return nil
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestSlowHandshakesKeepNobodyUp(t *testing.T) {
	t.Parallel()
	s := startTLSSite(t, shopServer(t), "")
	var all sync.WaitGroup
	defer all.Wait()
	for range 200 { // who connect and say nothing, or little
		c, err := net.Dial("tcp", s.secure)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte{0x16, 3, 1})
	}
	resp, err := s.client(t).Get("https://shop.example:" + s.port + "/x")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	s.stop()
}

func TestACertificateThatCannotBeUsedIsToldWithItsLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := certtest.NewCA(t)
	ca.Write(dir, "a", tomorrow(), "a.example")
	ca.Write(dir, "b", tomorrow(), "b.example")
	ca.Write(dir, "old", time.Now().Add(-time.Hour), "old.example")
	file := filepath.Join(dir, "sluice.yaml")
	text := `origin: {url: http://127.0.0.1:3000}
listen: {address: ":443", tls: true}
tls:
  certificates:
    - {cert_file: a.pem, key_file: b.key}
    - {cert_file: a.key, key_file: a.key}
    - {cert_file: gone.pem, key_file: a.key}
    - {cert_file: old.pem, key_file: old.key}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sluice(t), "validate", "-c", file)
	cmd.Env = environment
	out, err := cmd.Output()
	if err == nil {
		t.Error("it is valid")
	}
	for _, want := range []string{
		":5:7: tls.certificates[0]: the key in ", " is not that of the first certificate in ",
		":6:7: tls.certificates[1]: ", "does not begin with a certificate in PEM, but with a PRIVATE KEY",
		":7:7: tls.certificates[2]: stat ",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}
