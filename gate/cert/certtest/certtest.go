// Package certtest makes certificates for tests.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/sluicegate/sluice/gate/cert"
)

// T is what a test is asked of.
type T interface {
	Helper()
	TempDir() string
	Fatal(...any)
}

// CA is an authority that nobody but the test trusts.
type CA struct {
	t    T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	File string         // its certificate as PEM
	Pool *x509.CertPool // with it alone
}

// NewCA makes an authority.
func NewCA(t T) *CA {
	t.Helper()
	ca := &CA{t: t, Pool: x509.NewCertPool(), File: filepath.Join(t.TempDir(), "ca.pem")}
	ca.key = ca.newKey()
	der := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}, &ca.key.PublicKey)
	ca.cert, _ = x509.ParseCertificate(der)
	ca.Pool.AddCert(ca.cert)
	ca.write(ca.File, "CERTIFICATE", der)
	return ca
}

func (ca *CA) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	return key
}

func (ca *CA) sign(c *x509.Certificate, public any) []byte {
	ca.t.Helper()
	c.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-365 * 24 * time.Hour)
	}
	parent := ca.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return der
}

func (ca *CA) write(file, kind string, der []byte) {
	ca.t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		ca.t.Fatal(err)
	}
}

// Write writes name.pem and name.key into a folder, for hosts, that are good until
// the given time.
func (ca *CA) Write(dir, name string, until time.Time, hosts ...string) cert.Files {
	ca.t.Helper()
	key := ca.newKey()
	return ca.files(dir, name, until, hosts, &key.PublicKey, key)
}

// WriteRSA is Write with a key of RSA.
func (ca *CA) WriteRSA(dir, name string, until time.Time, hosts ...string) cert.Files {
	ca.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		ca.t.Fatal(err)
	}
	return ca.files(dir, name, until, hosts, &key.PublicKey, key)
}

func (ca *CA) files(dir, name string, until time.Time, hosts []string, public, private any) cert.Files {
	ca.t.Helper()
	c := &x509.Certificate{NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		ca.t.Fatal(err)
	}
	f := cert.Files{Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
	ca.write(f.Cert, "CERTIFICATE", ca.sign(c, public))
	ca.write(f.Key, "PRIVATE KEY", der)
	return f
}
