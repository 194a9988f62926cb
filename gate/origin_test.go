package gate

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// openFrontOf opens a gate in front of what the lines of origin say, with one room
// that everybody is let into.
func openFrontOf(t *testing.T, origin string) *front {
	t.Helper()
	f := &front{}
	f.open(t, "store: memory\nsecret: 0123456789abcdef0123456789abcdef\n"+
		"rooms: [{name: drop, match: [{path: /drop}], rate: 1000/s, mode: open}]\norigin: {"+origin+"}\n")
	return f
}

// listener is a server that does the same on every connection.
func listener(t *testing.T, serve func(c net.Conn, r *bufio.Reader)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			work.Go(func() { defer c.Close(); serve(c, bufio.NewReader(c)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return "http://" + l.Addr().String()
}

func hangs(_ net.Conn, r *bufio.Reader) {
	for {
		if _, err := r.ReadByte(); err != nil {
			return
		}
	}
}

func breaksOff(_ net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) }

func TestAVisitorWhomTheOriginFails(t *testing.T) {
	const nobody = "http://127.0.0.1:1"
	for name, tc := range map[string]struct {
		origin func(t *testing.T) string
		status int
		form   string // what somebody is told who sent one
		script string // and what a script is told
	}{
		"refuses": {
			func(*testing.T) string { return "url: " + nobody }, 502, "Nothing was sent or ordered.", "the request was not sent",
		},
		"hangs": {
			func(t *testing.T) string { return "header_timeout: 300ms, url: " + listener(t, hangs) }, 504, "We can’t tell whether", "did not answer in time",
		},
		"breaks off": {
			func(t *testing.T) string { return "url: " + listener(t, breaksOff) }, 502, "We can’t tell whether", "did not answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFrontOf(t, tc.origin(t))
			navigation := "Host: shop.example\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\n"
			check := func(r *http.Response) {
				t.Helper()
				after, err := strconv.Atoi(r.Header.Get("Retry-After"))
				if r.StatusCode != tc.status || err != nil || after < 5 || after > 10 {
					t.Errorf("status %d, Retry-After %q; want %d and some seconds", r.StatusCode, r.Header.Get("Retry-After"), tc.status)
				}
				if r.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("Cache-Control %q", r.Header.Get("Cache-Control"))
				}
			}

			// Whoever is just let in gets the pass all the same, and keeps it.
			r, _ := f.ask(t, "GET /drop HTTP/1.1\r\n"+navigation+"Accept-Language: en\r\n\r\n")
			check(r)
			cookies := r.Cookies()
			if len(cookies) != 1 || cookies[0].Name != "sluice-drop" || cookies[0].MaxAge <= 0 {
				t.Fatalf("cookies %v, want a pass", cookies)
			}
			pass := "Cookie: sluice-drop=" + cookies[0].Value + "\r\n"
			for lang, words := range map[string]string{"en": "You still have access.", "ko": "입장 상태는 그대로 유지됩니다.", "ja": "サイトが応答していません"} {
				r, body := f.ask(t, "GET /drop HTTP/1.1\r\n"+navigation+pass+"Accept-Language: "+lang+"\r\n\r\n")
				check(r)
				if r.Header.Get("Content-Language") != lang || !strings.Contains(body, words) || !strings.Contains(body, ">"+strconv.Itoa(tc.status)+"<") {
					t.Errorf("%s: Content-Language %q, page without %q", lang, r.Header.Get("Content-Language"), words)
				}
				if !strings.Contains(body, `<meta http-equiv="refresh"`) || !strings.Contains(body, `"state":"unavailable"`) {
					t.Errorf("%s: the page does not try again by itself", lang)
				}
				for _, c := range r.Cookies() {
					if c.MaxAge < 0 || c.Value == "" {
						t.Errorf("%s: the pass is taken away: %v", lang, c)
					}
				}
			}

			// A form is not sent again by the page, which tells what became of it.
			r, body := f.ask(t, "POST /drop HTTP/1.1\r\n"+navigation+pass+"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=1")
			check(r)
			if !strings.Contains(body, tc.form) || strings.Contains(body, `http-equiv="refresh"`) {
				t.Errorf("somebody who sent a form is told %s", body)
			}

			// And a script gets no page.
			r, body = f.ask(t, "GET /drop/api HTTP/1.1\r\nHost: shop.example\r\nAccept: application/json\r\n"+pass+"\r\n")
			check(r)
			if r.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, tc.script) {
				t.Errorf("a script is told %s: %s", r.Header.Get("Content-Type"), body)
			}
		})
	}
}

func TestAnOriginAtItsLimit(t *testing.T) {
	asked, answer := make(chan bool, 1), make(chan bool)
	url := listener(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			asked <- true
			<-answer
			_, _ = c.Write([]byte(shopAnswer))
		}
	})
	f := openFrontOf(t, "max_conns: 1, queue: {wait: 10ms}, url: "+url)
	first := make(chan int)
	go func() {
		r, err := http.Get("http://" + f.addr + "/")
		if err != nil {
			first <- 0
			return
		}
		r.Body.Close()
		first <- r.StatusCode
	}()
	<-asked
	r, body := f.ask(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" || !strings.Contains(body, "this one was not sent") {
		t.Errorf("status %d, Retry-After %q, %s", r.StatusCode, r.Header.Get("Retry-After"), body)
	}
	answer <- true
	if status := <-first; status != 200 {
		t.Errorf("who had the connection got %d", status)
	}
}

// metric is the value of a series at this gate, -1 when there is none.
func (f *front) metric(t *testing.T, series string) float64 {
	t.Helper()
	w := httptest.NewRecorder()
	f.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.SplitSeq(w.Body.String(), "\n") {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return -1
}

func TestOneOfTwoOriginsDies(t *testing.T) {
	shop := func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = c.Write([]byte(shopAnswer))
		}
	}
	f := openFrontOf(t, "url: [http://127.0.0.1:1, "+listener(t, shop)+"]")
	for i := range 20 {
		method := []string{"GET", "POST"}[i%2]
		if r, _ := f.ask(t, method+" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"); r.StatusCode != 200 {
			t.Errorf("request %d: status %d", i, r.StatusCode)
		}
	}
	log := f.logged()
	if n := strings.Count(log, "level=WARN"); n != 1 || !strings.Contains(log, "an origin is left alone") || !strings.Contains(log, "origin=http://127.0.0.1:1 ") {
		t.Errorf("%d warnings, want one, of the origin:\n%s", n, log)
	}
	for series, want := range map[string]float64{
		`sluice_origin_servers{origin="1",state="out"}`:      1,
		`sluice_origin_servers{origin="2",state="up"}`:       1,
		`sluice_origin_connections{origin="2",state="idle"}`: 1,
		`sluice_origin_connections{origin="2",state="used"}`: 0,
		`sluice_origin_errors_total{kind="connect"}`:         0, // nobody was failed
		`sluice_origin_retries_total`:                        3,
	} {
		if got := f.metric(t, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
}

// pki writes an authority, and certificates it signed, as PEM files into dir.
type pki struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) write(name string, leaf *x509.Certificate) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	leaf.SerialNumber = big.NewInt(time.Now().UnixNano())
	leaf.Subject = pkix.Name{CommonName: name}
	leaf.NotBefore, leaf.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := p.cert, p.key
	if parent == nil {
		parent, by, p.cert, p.key = leaf, key, leaf, key
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, key.Public(), by)
	if err != nil {
		p.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	for ext, block := range map[string]*pem.Block{
		".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(p.file(name+ext), pem.EncodeToMemory(block), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

func newPKI(t *testing.T) *pki {
	p := &pki{t: t, dir: t.TempDir()}
	p.write("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature})
	return p
}

func TestNginxAsAnOriginThatWantsToKnowWhoAsks(t *testing.T) {
	p := newPKI(t)
	p.write("shop", &x509.Certificate{DNSNames: []string{"shop.internal"}})
	p.write("gate", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	other := newPKI(t)
	other.write("gate", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	addr := proc.Nginx(t, func(dir string, port int) string {
		return fmt.Sprintf(`
worker_processes 1;
events { worker_connections 128; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server {
		listen 127.0.0.1:%[2]d ssl;
		ssl_certificate %[3]s; ssl_certificate_key %[4]s;
		ssl_client_certificate %[5]s; ssl_verify_client on;
		location / { return 200 "$ssl_client_s_dn, for $ssl_server_name, as $host, request $connection_requests"; }
	}
}`, dir, port, p.file("shop.pem"), p.file("shop.key"), p.file("ca.pem"))
	})
	own := fmt.Sprintf("cert_file: %s, key_file: %s", p.file("gate.pem"), p.file("gate.key"))
	for name, tc := range map[string]struct {
		origin string
		status int
		says   []string // by request
	}{
		"the gate shows its certificate": {
			"tls: {ca_file: " + p.file("ca.pem") + ", server_name: shop.internal, " + own + "}", 200,
			[]string{"CN=gate, for shop.internal, as www.shop.example, request 1", "request 2", "request 3"},
		},
		"and a host of its own": {
			"host: shop.internal, tls: {ca_file: " + p.file("ca.pem") + ", server_name: shop.internal, " + own + "}", 200,
			[]string{"as shop.internal, request 1"},
		},
		"the gate shows none": {
			"tls: {ca_file: " + p.file("ca.pem") + ", server_name: shop.internal}", 400, []string{"No required SSL certificate was sent"},
		},
		"one that nginx does not know": {
			fmt.Sprintf("tls: {ca_file: %s, server_name: shop.internal, cert_file: %s, key_file: %s}", p.file("ca.pem"), other.file("gate.pem"), other.file("gate.key")),
			400, []string{"The SSL certificate error"},
		},
		"nginx is somebody else": {
			"tls: {ca_file: " + p.file("ca.pem") + ", server_name: pay.internal, " + own + "}", 502, []string{"cannot be reached"},
		},
		"nginx is signed by somebody else": {
			"tls: {ca_file: " + other.file("ca.pem") + ", server_name: shop.internal, " + own + "}", 502, []string{"cannot be reached"},
		},
		"nobody is verified": {
			"tls: {insecure: true, " + own + "}", 200, []string{"CN=gate"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFrontOf(t, "url: https://"+addr+", "+tc.origin)
			for _, says := range tc.says {
				r, body := f.ask(t, "GET / HTTP/1.1\r\nHost: www.shop.example\r\n\r\n")
				if r.StatusCode != tc.status || !strings.Contains(body, says) {
					t.Errorf("status %d, %s; want %d and %q", r.StatusCode, body, tc.status, says)
				}
			}
			if tc.status == 502 && !strings.Contains(f.logged(), "failed to verify certificate") {
				t.Errorf("the log does not say why:\n%s", f.logged())
			}
		})
	}
}
