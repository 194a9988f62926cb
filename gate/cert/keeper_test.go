package cert_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/gate/cert/certtest"
)

func tomorrow() time.Time { return time.Now().Add(24 * time.Hour) }

func set(t *testing.T, k *cert.Keeper, files ...cert.Files) {
	t.Helper()
	if err := k.Set(cert.Config{Files: files}); err != nil {
		t.Fatal(err)
	}
}

func TestAVisitorIsShownTheCertificateOfTheirHost(t *testing.T) {
	ca, dir := certtest.NewCA(t), t.TempDir()
	s := startSite(t)
	set(t, s.Keeper,
		ca.Write(dir, "first", tomorrow(), "first.example"),
		ca.Write(dir, "any", tomorrow(), "*.shop.example"),
		ca.Write(dir, "exact", tomorrow(), "www.shop.example", "Shop.Example", "127.0.0.1"),
		ca.WriteRSA(dir, "rsa", tomorrow(), "both.example"),
		ca.Write(dir, "ecdsa", tomorrow(), "both.example"),
	)
	for _, tc := range []struct {
		host, want string
		covered    bool
	}{
		{"first.example", "first.example", true},
		{"www.shop.example", "www.shop.example", true}, // rather than *.
		{"shop.example", "www.shop.example", true},
		{"m.shop.example", "*.shop.example", true},
		{"M.SHOP.example", "*.shop.example", true},
		{"m.shop.example.", "*.shop.example", true},
		{"a.b.shop.example", "first.example", false}, // * is one label
		{"*.shop.example", "*.shop.example", true},
		{"other.example", "first.example", false},
		{"", "first.example", false},
		{"example", "first.example", false},
		{"127.0.0.1", "first.example", true}, // browsers send no address as a name
	} {
		got, err := s.shown(tc.host)
		if err != nil || got.DNSNames[0] != tc.want {
			t.Errorf("%q is shown %v, %v, want %s", tc.host, got, err, tc.want)
		}
		if host := strings.TrimSuffix(strings.ToLower(tc.host), "."); s.Covers(host) != tc.covered {
			t.Errorf("covers %q: %v", host, !tc.covered)
		}
	}

	t.Run("with the key that the browser can use, the first of them", func(t *testing.T) {
		for _, tc := range []struct {
			suite uint16
			want  x509.PublicKeyAlgorithm
		}{
			{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, x509.RSA},
			{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, x509.ECDSA},
			{0, x509.RSA},
		} {
			conf := &tls.Config{ServerName: "both.example", RootCAs: ca.Pool}
			if tc.suite != 0 {
				conf.CipherSuites, conf.MaxVersion = []uint16{tc.suite}, tls.VersionTLS12
			}
			c, err := tls.Dial("tcp", s.secure.Addr().String(), conf)
			if err != nil {
				t.Errorf("%s: %v", tls.CipherSuiteName(tc.suite), err)
				continue
			}
			if got := c.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm; got != tc.want {
				t.Errorf("%s: %s, want %s", tls.CipherSuiteName(tc.suite), got, tc.want)
			}
			c.Close()
		}
	})
}

func TestAHostOfTheAuthoritysIsNotShownAnothersCertificate(t *testing.T) {
	ca, dir := certtest.NewCA(t), t.TempDir()
	s := startSite(t)
	c := cert.Config{
		Files: []cert.Files{ca.Write(dir, "shop", tomorrow(), "shop.example", "m.shop.example")},
		ACME:  cert.ACME{Hosts: []string{"new.example", "m.shop.example"}, Cache: t.TempDir(), Directory: "https://127.0.0.1:1/"},
	}
	if err := s.Set(c); err != nil {
		t.Fatal(err)
	}
	if got, err := s.shown("new.example"); err == nil {
		t.Errorf("a host whose certificate is not there yet is shown that of %v", got.DNSNames)
	}
	if got, err := s.shown("m.shop.example"); err != nil || got.DNSNames[0] != "shop.example" {
		t.Errorf("while there is none of the authority's, that of the file is not shown: %v", err)
	}
}

func TestAPairIsTakenWhenItIsGoodAndOtherwiseLeftAlone(t *testing.T) {
	write := func(t *testing.T, file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(t *testing.T, file string) string {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, tc := range map[string]struct {
		change func(t *testing.T, ca *certtest.CA, f cert.Files)
		says   string // "": it is shown now
	}{
		"new ones": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			ca.Write(filepath.Dir(f.Cert), "shop", tomorrow(), "shop.example")
		}, ""},
		"a link that moves": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			other := ca.Write(t.TempDir(), "other", tomorrow(), "shop.example")
			for from, to := range map[string]string{other.Cert: f.Cert, other.Key: f.Key} {
				if err := os.Remove(to); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(from, to); err != nil {
					t.Fatal(err)
				}
			}
		}, ""},
		"only the certificate": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			write(t, f.Cert, read(t, ca.Write(t.TempDir(), "other", tomorrow(), "shop.example").Cert))
		}, "is not that of the first certificate"},
		"expired": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			ca.Write(filepath.Dir(f.Cert), "shop", time.Now().Add(-time.Hour), "shop.example")
		}, "expired on"},
		"for nobody": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			ca.Write(filepath.Dir(f.Cert), "shop", tomorrow())
		}, "names no host"},
		"no certificate": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			write(t, f.Cert, read(t, f.Key))
		}, "does not begin with a certificate in PEM, but with a PRIVATE KEY"},
		"half a file": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			text := read(t, f.Cert)
			write(t, f.Cert, text[:len(text)/2])
		}, "does not begin with a certificate in PEM, but with something else"},
		"an empty key": {func(t *testing.T, ca *certtest.CA, f cert.Files) { write(t, f.Key, "") }, "has no key in PEM"},
		"an encrypted key": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			write(t, f.Key, strings.ReplaceAll(read(t, f.Key), "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"))
		}, "is encrypted"},
		"gone": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			if err := os.Remove(f.Key); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		"a folder": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			if err := os.Remove(f.Key); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(f.Key, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is no file"},
		"without end": {func(t *testing.T, ca *certtest.CA, f cert.Files) {
			write(t, f.Cert, read(t, f.Cert)+strings.Repeat("\n", 1<<20))
		}, "is larger than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			ca := certtest.NewCA(t)
			f := ca.Write(t.TempDir(), "shop", tomorrow(), "shop.example")
			s := startSite(t)
			set(t, s.Keeper, f)
			serial := func() string {
				t.Helper()
				got, err := s.shown("shop.example")
				if err != nil {
					t.Fatal(err)
				}
				return got.SerialNumber.String()
			}
			first := serial()
			tc.change(t, ca, f)
			s.Look(time.Now())
			if s.log.has("ERROR") {
				t.Errorf("what may be half a change is an error:\n%s", s.log)
			}
			s.Look(time.Now())
			s.Look(time.Now())
			if changed := serial() != first; changed != (tc.says == "") {
				t.Errorf("another is shown: %v", changed)
			}
			if n := strings.Count(s.log.String(), "level="); n != 1 {
				t.Errorf("it is said %d times:\n%s", n, s.log)
			}
			if !s.log.has("ERROR", tc.says, "expires=") && tc.says != "" {
				t.Errorf("the log does not say %q:\n%s", tc.says, s.log)
			}
			if tc.says == "" {
				return
			}

			// A reload says it too, and changes nothing; but the operator may insist on dates.
			if err := s.Set(cert.Config{Files: []cert.Files{f}}); err == nil != (tc.says == "expired on" || tc.says == "names no host") {
				t.Errorf("a reload gives %v", err)
			} else if err != nil && (!strings.Contains(err.Error(), tc.says) || serial() != first) {
				t.Errorf("a reload gives %v, want %q, and the first one shown", err, tc.says)
			}

			// What is put right is taken.
			_ = os.RemoveAll(f.Key)
			ca.Write(filepath.Dir(f.Cert), "shop", tomorrow(), "shop.example")
			before := serial()
			s.Look(time.Now())
			if serial() == before {
				t.Error("what was put right is not shown")
			}
		})
	}
}
