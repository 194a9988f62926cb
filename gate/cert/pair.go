package cert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Files are a certificate with its chain, and its key, as PEM.
type Files struct {
	Cert, Key string
}

// maxFile bounds what is read of either, in bytes.
const maxFile = 1 << 20

// pair is what stood in the files.
type pair struct {
	cert, key []byte
}

func (f Files) read() (p pair, err error) {
	if p.cert, err = readFile(f.Cert); err != nil {
		return p, err
	}
	p.key, err = readFile(f.Key)
	return p, err
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a pipe would never end
		return nil, fmt.Errorf("%s is no file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return text, err
}

// Load reads a certificate and says what is wrong with it. One that has expired, or
// is not valid yet, is returned: see Valid.
func Load(f Files) (*tls.Certificate, error) {
	p, err := f.read()
	if err != nil {
		return nil, err
	}
	return f.parse(p)
}

func (f Files) parse(p pair) (*tls.Certificate, error) {
	if what := first(p.cert); what != "CERTIFICATE" {
		return nil, fmt.Errorf("%s does not begin with a certificate in PEM, but with %s", f.Cert, named(what))
	}
	switch what := first(p.key); {
	case bytes.Contains(p.key, []byte("ENCRYPTED")):
		return nil, fmt.Errorf("the key in %s is encrypted, and nobody is there to ask for its password: openssl pkey -in %s -out FILE makes one without", f.Key, f.Key)
	case what == "":
		return nil, fmt.Errorf("%s has no key in PEM", f.Key)
	}
	c, err := tls.X509KeyPair(p.cert, p.key)
	switch {
	case err != nil && bytes.Contains([]byte(err.Error()), []byte("does not match")):
		return nil, fmt.Errorf("the key in %s is not that of the first certificate in %s", f.Key, f.Cert)
	case err != nil:
		return nil, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Cert, err)
		}
	}
	return &c, nil
}

// first is the kind of the first PEM block, "" when there is none.
func first(text []byte) string {
	block, _ := pem.Decode(text)
	if block == nil {
		return ""
	}
	return block.Type
}

func named(kind string) string {
	if kind == "" {
		return "something else"
	}
	return "a " + kind
}

// Valid returns why browsers refuse a certificate at that time for its dates.
func Valid(c *tls.Certificate, now time.Time) error {
	switch {
	case now.After(c.Leaf.NotAfter):
		return fmt.Errorf("expired on %s", c.Leaf.NotAfter.UTC().Format(time.RFC1123))
	case now.Before(c.Leaf.NotBefore):
		return fmt.Errorf("is not valid before %s", c.Leaf.NotBefore.UTC().Format(time.RFC1123))
	case len(names(c)) == 0:
		return errors.New("names no host (subjectAltName)")
	}
	return nil
}

// names are the hosts that a certificate is for.
func names(c *tls.Certificate) []string {
	out := c.Leaf.DNSNames
	for _, ip := range c.Leaf.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}
