package cert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACME says which certificates to get from an authority, and where (RFC 8555). The
// authority asks for a proof that the hosts are ours, at port 80 (http-01) or 443
// (tls-alpn-01).
type ACME struct {
	Hosts     []string // in lower case; nobody else's name is ever asked for
	Email     string   // for the authority's warnings; "": none
	Cache     string   // a folder of ours, for the account and the certificates
	Directory string   // address of the authority; "": Let's Encrypt
	CAFile    string   // whom to trust that it is the authority; "": whom the machine trusts
}

// challengeProto is what an authority asks for that checks by TLS (RFC 8737).
const challengeProto = acme.ALPNProto

// ChallengePath is where an authority asks that checks by HTTP.
const ChallengePath = "/.well-known/acme-challenge/"

const (
	askTime  = 30 * time.Second // for one request to the authority
	askEvery = time.Minute      // how often the manager, which renews by itself, is looked at
	firstTry = 2 * time.Minute  // the next try after a first failure; then twice as long
	lastTry  = 4 * time.Hour    // the longest pause: authorities count failures by the hour
)

// authority is an authority with what was agreed with it.
type authority struct {
	config  ACME
	manager *autocert.Manager
	hearer  *hearer
	http    http.Handler
}

func (a *authority) is(c ACME) bool {
	return slices.Equal(a.config.Hosts, c.Hosts) && a.config.Email == c.Email && a.config.Cache == c.Cache &&
		a.config.Directory == c.Directory && a.config.CAFile == c.CAFile
}

// newAuthority returns nil where there is nothing to get.
func newAuthority(c ACME, log *slog.Logger) (*authority, error) {
	if len(c.Hosts) == 0 {
		return nil, nil
	}
	if err := writable(c.Cache); err != nil {
		return nil, fmt.Errorf("tls.acme.cache: %w", err)
	}
	h := &hearer{RoundTripper: http.DefaultTransport, log: log}
	if c.CAFile != "" {
		text, err := readFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM", c.CAFile)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
		h.RoundTripper = transport
	}
	directory := c.Directory
	if directory == "" {
		directory = autocert.DefaultACMEDirectory
	}
	client := &http.Client{Timeout: askTime, Transport: h}
	a := &authority{config: c, hearer: h, manager: &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(c.Cache),
		HostPolicy: autocert.HostWhitelist(c.Hosts...),
		Email:      c.Email,
		Client:     &acme.Client{DirectoryURL: directory, HTTPClient: client, UserAgent: "sluice"},
	}}
	a.http = a.manager.HTTPHandler(http.NotFoundHandler())
	return a, nil
}

// retire ends what the manager would go on with for ever: it cannot be stopped.
func (a *authority) retire() {
	if a != nil {
		a.hearer.retired.Store(true)
	}
}

// writable makes a folder if there is none, and tries to write into it. Without one
// every restart would ask for new certificates, until the authority gives no more.
func writable(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".try-*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}

// cached are the certificates that were got before and are good still.
func (a *authority) cached() map[string]*tls.Certificate {
	out := make(map[string]*tls.Certificate)
	if a == nil {
		return out
	}
	for _, host := range a.config.Hosts {
		text, err := a.manager.Cache.Get(context.Background(), host)
		if err != nil {
			continue
		}
		c, err := tls.X509KeyPair(text, text)
		if err == nil && Valid(&c, time.Now()) == nil {
			out[host] = &c
		}
	}
	return out
}

// isChallenge tells whether it is the authority that asks.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProto
}

// Challenge answers an authority that asks by HTTP at ChallengePath. It is false for
// a host whose certificates are none of ours to get: the site may have its own.
func (k *Keeper) Challenge(host, path string) (status int, body []byte, ok bool) {
	a := k.acme.Load()
	if a == nil || !slices.Contains(a.config.Hosts, host) {
		return 0, nil, false
	}
	w := &note{header: make(http.Header), status: http.StatusOK}
	a.http.ServeHTTP(w, &http.Request{Method: "GET", Host: host, URL: &url.URL{Path: path}, Header: http.Header{}})
	return w.status, w.body, true
}

// note is what a handler writes.
type note struct {
	header http.Header
	status int
	body   []byte
}

func (n *note) Header() http.Header { return n.header }

func (n *note) WriteHeader(status int) { n.status = status }

func (n *note) Write(b []byte) (int, error) {
	n.body = append(n.body, b...)
	return len(b), nil
}

// runAuthority gets certificates, and gets them anew before they expire.
func (k *Keeper) runAuthority(ctx context.Context) {
	for ctx.Err() == nil {
		a := k.acme.Load()
		during, stop := context.WithCancel(ctx)
		var all sync.WaitGroup
		if a != nil {
			for _, host := range a.config.Hosts {
				all.Go(func() { k.runHost(during, a, host) })
			}
		}
		for ctx.Err() == nil && k.acme.Load() == a {
			select {
			case <-ctx.Done():
			case <-k.changed:
			}
		}
		stop()
		all.Wait()
	}
}

// runHost keeps one host's certificate.
func (k *Keeper) runHost(ctx context.Context, a *authority, host string) {
	pause := firstTry
	for {
		c, err := a.get(ctx, host)
		wait := k.askEvery
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = pause
			pause = min(2*pause, lastTry)
			k.log.Error("no certificate was got", "host", host, "error", err, "again_in", wait.String())
		default:
			pause = firstTry
			k.keep(host, c)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// get asks the manager, which has it, or gets it from its cache or the authority.
// Nothing ends the manager's work, so it is left behind when ctx ends.
func (a *authority) get(ctx context.Context, host string) (*tls.Certificate, error) {
	type answer struct {
		c   *tls.Certificate
		err error
	}
	got := make(chan answer, 1)
	go func() {
		c, err := a.manager.GetCertificate(&tls.ClientHelloInfo{
			ServerName: host, CipherSuites: suites, // of which some say that ECDSA will do
		})
		got <- answer{c, err}
	}()
	select {
	case g := <-got:
		if g.err == nil && g.c.Leaf == nil {
			g.err = errors.New("it has no leaf")
		}
		return g.c, g.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keep puts what was got on the shelf, if it is new.
func (k *Keeper) keep(host string, c *tls.Certificate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.got[host]; old != nil && old.Leaf.Equal(c.Leaf) {
		return
	}
	k.got[host] = c
	k.show()
	k.log.Info("a certificate was got", "host", host, "expires", c.Leaf.NotAfter.UTC())
}
