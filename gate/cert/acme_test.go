package cert_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/sluicegate/sluice/gate/cert"
)

// nobody is a port where nobody listens.
const nobody = 1

// authority starts one that checks hosts at the given ports of this machine, and
// returns its directory and the file of the certificate that its own is signed with.
// What it gives is good for some seconds; 0 are three months.
func authority(t *testing.T, httpPort, tlsPort int, seconds uint64) (directory, caFile string) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: seconds}})
	checks := va.New(quiet, httpPort, tlsPort, false, everyNameIsHere(t), store)
	front := wfe.New(quiet, store, checks, issuer, []string{"ca.example"}, false, false, 0, 0)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(caFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL + wfe.DirectoryPath, caFile
}

// everyNameIsHere starts a name server, by TCP, and returns its address.
func everyNameIsHere(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{})
	names := &dns.Server{Listener: l, NotifyStartedFunc: func() { close(up) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1),
			})
		}
		_ = w.WriteMsg(m)
	})}
	var all sync.WaitGroup
	all.Go(func() { _ = names.ActivateAndServe() })
	<-up
	t.Cleanup(func() {
		_ = names.Shutdown()
		all.Wait()
	})
	return l.Addr().String()
}

// site is a gate's ports with its keeper.
type site struct {
	*cert.Keeper
	plain  *httptest.Server
	secure net.Listener
	log    *record
}

func startSite(t *testing.T) *site {
	s := &site{log: new(record)}
	s.Keeper = cert.New(slog.New(slog.NewTextHandler(s.log, nil)), nil)
	s.AskEvery(10 * time.Millisecond)
	s.plain = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		status, body, ok := s.Challenge(host, r.URL.Path)
		if !ok {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.plain.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.secure = l
	s.serve(t)
	return s
}

// serve shakes hands until the test ends.
func (s *site) serve(t *testing.T) {
	l := s.Listener(s.secure)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { _ = c.(*cert.Conn).Handshake(); c.Close() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
}

// run keeps certificates until the test ends.
func (s *site) run(t *testing.T, c cert.ACME) {
	t.Helper()
	if err := s.Set(cert.Config{ACME: c}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// shown is the certificate that a visitor of a host is shown.
func (s *site) shown(host string) (*x509.Certificate, error) {
	c, err := tls.Dial("tcp", s.secure.Addr().String(), &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

// record is a log that is written while it is read.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// has tells whether there is a line with all the words.
func (r *record) has(words ...string) bool {
	for line := range strings.Lines(r.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// await asks until there is nothing to complain about.
func await(t *testing.T, complaint func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for err := complaint(); err != nil; err = complaint() {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestCertificatesAreGotFromAnAuthority(t *testing.T) {
	for _, way := range []string{"http-01", "tls-alpn-01", "http-01 asked of another gate", "tls-alpn-01 asked of another gate"} {
		t.Run(way, func(t *testing.T) {
			s := startSite(t)
			asked := s
			if strings.Contains(way, "another") {
				asked = startSite(t)
			}
			httpPort, tlsPort := nobody, port(asked.secure)
			if strings.HasPrefix(way, "http-01") {
				httpPort, tlsPort = port(asked.plain.Listener), nobody
			}
			c := cert.ACME{Hosts: []string{"shop.example"}, Cache: t.TempDir()}
			c.Directory, c.CAFile = authority(t, httpPort, tlsPort, 0)
			if err := asked.Set(cert.Config{ACME: c}); err != nil {
				t.Fatal(err)
			}
			s.run(t, c)
			await(t, func() error {
				got, err := s.shown("shop.example")
				if err == nil && fmt.Sprint(got.DNSNames) != "[shop.example]" {
					t.Fatalf("it is for %v", got.DNSNames)
				}
				if err != nil {
					err = fmt.Errorf("%w\n%s", err, s.log)
				}
				return err
			})
			if _, err := s.shown("other.example"); err == nil {
				t.Error("there is a certificate for a host that nobody named")
			}
			if s.Covers("other.example") {
				t.Error("visitors of a host that nobody named would be sent to https")
			}

			// A gate that starts anew has it at once, without asking anybody.
			again := startSite(t)
			c.Directory = "https://127.0.0.1:1/"
			if err := again.Set(cert.Config{ACME: c}); err != nil {
				t.Fatal(err)
			}
			if _, err := again.shown("shop.example"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestACertificateIsGotAnewBeforeItExpires(t *testing.T) {
	s := startSite(t)
	c := cert.ACME{Hosts: []string{"shop.example"}, Cache: t.TempDir()}
	c.Directory, c.CAFile = authority(t, nobody, port(s.secure), 7)
	s.run(t, c)
	var first *x509.Certificate
	await(t, func() (err error) {
		first, err = s.shown("shop.example")
		return err
	})
	await(t, func() error {
		if got, err := s.shown("shop.example"); err != nil || !got.NotAfter.After(first.NotAfter) {
			return fmt.Errorf("still the first one, %v", err)
		}
		return nil
	})
}

func TestTheLogSaysWhyAnAuthorityGivesNoCertificate(t *testing.T) {
	s := startSite(t)
	c := cert.ACME{Hosts: []string{"shop.example"}, Cache: t.TempDir()}
	c.Directory, c.CAFile = authority(t, nobody, nobody, 0)
	s.run(t, c)
	await(t, func() error {
		for _, line := range [][]string{
			{"WARN", "host=shop.example", "proof=http-01", "connection refused"},
			{"WARN", "host=shop.example", "proof=tls-alpn-01", "127.0.0.1:1"},
			{"ERROR", "host=shop.example", "again_in=2m0s"},
		} {
			if !s.log.has(line...) {
				return fmt.Errorf("no line with %q in\n%s", line, s.log)
			}
		}
		return nil
	})
	if n := strings.Count(s.log.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings of two proofs:\n%s", n, s.log)
	}
}
