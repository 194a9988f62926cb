package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// OriginTLS is how a gate speaks TLS with the origin. The zero value wants a
// certificate for the URL's host that one of the system's authorities has signed.
// It holds what the files held, so that a reload notices a new certificate.
type OriginTLS struct {
	ServerName string // in SNI, and whom the certificate must be for; "": the URL's host
	Insecure   bool   // no certificate is verified
	CA         string // PEM: the authorities that may have signed; "": the system's
	Cert, Key  string // PEM: what the gate shows of itself; "": nothing
}

// Client is what a client is to be configured with; nil: the defaults.
func (t *OriginTLS) Client() (*tls.Config, error) {
	if *t == (OriginTLS{}) {
		return nil, nil
	}
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.Insecure}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, fmt.Errorf("no certificate in it that can be read")
		}
	}
	if t.Cert != "" {
		pair, err := tls.X509KeyPair([]byte(t.Cert), []byte(t.Key))
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (l *loader) originTLS(n *yaml.Node, key string) {
	t := &l.c.Origin.TLS
	pemFile := func(to *string, kind, what string) func(*yaml.Node, string) {
		return func(n *yaml.Node, key string) {
			path, ok := l.scalar(n, key, "the path of a file")
			if !ok {
				return
			}
			if path == "" {
				l.problem(key, "is empty: leave it out for none")
				return
			}
			data, err := readRegular(l.local(path))
			switch {
			case err != nil:
				l.problem(key, "%s", err)
			case len(data) > maxFile:
				l.problem(key, "%s is longer than %d bytes", path, maxFile)
			case !hasPEM(data, kind):
				l.problem(key, "%s holds no %s in PEM (-----BEGIN ...-----)", path, what)
			default:
				*to = string(data)
			}
		}
	}
	l.object(n, key, "origin.tls", []field{
		{"server_name", func(n *yaml.Node, key string) {
			s, ok := l.scalar(n, key, "a name such as shop.internal")
			if ok && !validHost(s) {
				l.problem(key, "%q is no host name", s)
			} else if ok {
				t.ServerName = s
			}
		}},
		{"ca_file", pemFile(&t.CA, "CERTIFICATE", "certificate")},
		{"cert_file", pemFile(&t.Cert, "CERTIFICATE", "certificate")},
		{"key_file", pemFile(&t.Key, "PRIVATE KEY", "private key")},
		{"insecure", l.flag(&t.Insecure)},
	})
}

// hasPEM tells whether data has a block of a kind, RSA PRIVATE KEY being a PRIVATE KEY.
func hasPEM(data []byte, kind string) bool {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return false
		}
		if n := len(block.Type) - len(kind); n >= 0 && block.Type[n:] == kind {
			return true
		}
	}
}

func (l *loader) checkOriginTLS() {
	const key = "origin.tls"
	o := &l.c.Origin
	if l.isBad(key) {
		return
	}
	given := func(name string) bool { _, ok := l.at[key+"."+name]; return ok }
	if given("cert_file") != given("key_file") {
		l.problem(key, "cert_file and key_file belong together")
		return
	}
	if o.TLS.Insecure && o.TLS.CA != "" {
		l.problem(key+".ca_file", "is for nothing beside insecure: true, which verifies nobody")
		return
	}
	if _, given := l.at[key]; given && len(o.URLs) > 0 && !l.isBad("origin.url") && !slices.ContainsFunc(o.URLs, isHTTPS) {
		l.problem(key, "is for nothing, as no origin.url begins with https://")
		return
	}
	c, err := o.TLS.Client()
	if err != nil {
		at := key + ".cert_file"
		if o.TLS.Cert == "" {
			at = key + ".ca_file"
		}
		l.problem(at, "%s", err)
		return
	}
	if o.TLS.Insecure {
		l.warn(key+".insecure", "is on: whoever can get between the gate and the origin reads and changes what they like, passwords and orders too")
	}
	if c == nil || len(c.Certificates) == 0 {
		return
	}
	switch leaf, now := c.Certificates[0].Leaf, time.Now(); {
	case leaf == nil:
	case now.After(leaf.NotAfter):
		l.warn(key+".cert_file", "expired at %s: origins that want a certificate will refuse it", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		l.warn(key+".cert_file", "is valid only from %s on: until then origins that want a certificate will refuse it", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
}

func (l *loader) warn(key, format string, args ...any) {
	l.c.Warnings = append(l.c.Warnings, l.about(key, fmt.Sprintf(format, args...)))
}
