package origin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	ca := &authority{t: t}
	c := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	ca.cert, ca.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return ca
}

// sign signs a certificate, by itself where there is no authority yet.
func (ca *authority) sign(leaf *x509.Certificate) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	leaf.SerialNumber = big.NewInt(time.Now().UnixNano())
	or(&leaf.NotBefore, time.Now().Add(-time.Hour))
	or(&leaf.NotAfter, time.Now().Add(time.Hour))
	parent, by := ca.cert, ca.key
	if parent == nil {
		parent, by = leaf, key
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, key.Public(), by)
	if err != nil {
		ca.t.Fatal(err)
	}
	c := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	if c.Leaf, err = x509.ParseCertificate(der); err != nil {
		ca.t.Fatal(err)
	}
	return c
}

func (ca *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

// tlsServer shakes hands with whoever comes, and returns its port.
func tlsServer(t *testing.T, c *tls.Config) (port string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(10 * time.Second))
				s := tls.Server(nc, c)
				if s.Handshake() == nil {
					silent(s)
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); work.Wait() })
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

func TestAnOriginAtHTTPSHasToProveWhoItIs(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	shop := ours.sign(&x509.Certificate{DNSNames: []string{"shop.internal"}})
	now := time.Now()
	for name, tc := range map[string]struct {
		server tls.Certificate
		client *tls.Config
		why    string // "": it is believed
	}{
		"signed by whom we trust, for the name": {shop, &tls.Config{RootCAs: ours.pool(), ServerName: "shop.internal"}, ""},
		"for another name than the URL's":       {shop, &tls.Config{RootCAs: ours.pool()}, "IP SANs"},
		"for another name than is said":         {shop, &tls.Config{RootCAs: ours.pool(), ServerName: "pay.internal"}, "not pay.internal"},
		"signed by somebody else":               {shop, &tls.Config{RootCAs: theirs.pool(), ServerName: "shop.internal"}, "unknown authority"},
		"signed by whom the system trusts not":  {shop, &tls.Config{ServerName: "shop.internal"}, "unknown authority"},
		"expired": {
			ours.sign(&x509.Certificate{DNSNames: []string{"shop.internal"}, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}),
			&tls.Config{RootCAs: ours.pool(), ServerName: "shop.internal"}, "expired",
		},
		"for the address of the URL": {
			ours.sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}), &tls.Config{RootCAs: ours.pool()}, "",
		},
		"whoever it is, where nobody asks": {theirs.sign(&x509.Certificate{}), &tls.Config{InsecureSkipVerify: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			port := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{tc.server}})
			g, err := New(Config{URLs: []string{"https://127.0.0.1:" + port}, TLS: tc.client, ConnectTimeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			conn, err := g.Take(time.Now(), new(Round))
			switch {
			case err == nil:
				conn.Drop()
				if tc.why != "" {
					t.Error("it is believed")
				}
			case tc.why == "":
				t.Error(err)
			case !errors.Is(err, ErrConnect) || !strings.Contains(err.Error(), tc.why):
				t.Errorf("refused with %v, want %q in it", err, tc.why)
			}
		})
	}
}

func TestAnOriginAtAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sock")
	g, err := New(Config{URLs: []string{"unix:" + path}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Take(time.Now(), new(Round)); !errors.Is(err, ErrConnect) || !strings.Contains(err.Error(), path) {
		t.Errorf("before it is there: %v", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := g.Take(time.Now(), new(Round))
	if err != nil {
		t.Fatal(err)
	}
	if conn.Server().Host() != "localhost" {
		t.Errorf("the Host of a socket is %q", conn.Server().Host())
	}
	conn.Drop()
}
