package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// load reads a configuration in a folder of the test's own.
func load(t *testing.T, dir, text string) *Config {
	t.Helper()
	c, err := Load(Source{File: filepath.Join(dir, "sluice.yaml"), Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantWarnings compares the warnings, of which each wanted one is a part.
func wantWarnings(t *testing.T, c *Config, want ...string) {
	t.Helper()
	if len(c.Warnings) != len(want) {
		t.Errorf("%d warnings, want %d: %v", len(c.Warnings), len(want), c.Warnings)
		return
	}
	for i, w := range want {
		if got := c.Warnings[i].Error(); !strings.Contains(got, w) {
			t.Errorf("warned %q, want %q in it", got, w)
		}
	}
}

func TestAnOriginThatIsNotVerifiedIsWarnedOf(t *testing.T) {
	c := load(t, t.TempDir(), "origin:\n  url: https://127.0.0.1:3000\n  tls: {insecure: true}\n")
	wantWarnings(t, c, "sluice.yaml:3:19: origin.tls.insecure: is on: whoever can get between the gate and the origin")
	client, err := c.Origin.TLS.Client()
	if err != nil || !client.InsecureSkipVerify {
		t.Errorf("%+v, %v", client, err)
	}
}

func TestAnOriginIsVerifiedUnlessSaidOtherwise(t *testing.T) {
	for _, text := range []string{
		"origin: {url: https://127.0.0.1:3000}",
		"origin: {url: https://127.0.0.1:3000, tls: {server_name: shop.internal}}",
		"origin: {url: https://127.0.0.1:3000, tls: {insecure: false}}",
	} {
		c := load(t, t.TempDir(), text)
		wantWarnings(t, c)
		client, err := c.Origin.TLS.Client()
		if err != nil || client != nil && client.InsecureSkipVerify {
			t.Errorf("%s: %+v, %v", text, client, err)
		}
	}
}

// certificate writes a certificate of a time, with its key.
func certificate(t *testing.T, dir string, from, to time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gate"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"gate.pem": {Type: "CERTIFICATE", Bytes: der}, "gate.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAClientCertificateThatOriginsWillRefuseIsWarnedOf(t *testing.T) {
	const text = "origin:\n  url: https://127.0.0.1:3000\n  tls: {cert_file: gate.pem, key_file: gate.key}\n"
	now, day := time.Now(), 24*time.Hour
	for _, tc := range []struct {
		from, to time.Duration
		warned   []string
	}{
		{-day, day, nil},
		{-2 * day, -day, []string{"3:20: origin.tls.cert_file: expired at " + now.Add(-day).UTC().Format(time.RFC3339)}},
		{day, 2 * day, []string{"3:20: origin.tls.cert_file: is valid only from " + now.Add(day).UTC().Format(time.RFC3339)}},
	} {
		dir := t.TempDir()
		certificate(t, dir, now.Add(tc.from), now.Add(tc.to))
		wantWarnings(t, load(t, dir, text), tc.warned...)
	}
}

func TestAReloadNoticesANewCertificate(t *testing.T) {
	const text = "origin: {url: https://127.0.0.1:3000, tls: {cert_file: gate.pem, key_file: gate.key}}"
	dir, now := t.TempDir(), time.Now()
	certificate(t, dir, now, now.Add(time.Hour))
	before := load(t, dir, text)
	if same := load(t, dir, text); same.Origin.TLS != before.Origin.TLS {
		t.Error("the same files are taken for others")
	}
	certificate(t, dir, now, now.Add(time.Hour))
	if after := load(t, dir, text); after.Origin.TLS == before.Origin.TLS {
		t.Error("other contents of the same files are taken for the same")
	}
}

func TestTheKeyOfTheClientCertificateIsNotShown(t *testing.T) {
	c := good(t, "full")
	line := strings.Split(c.Origin.TLS.Key, "\n")[1]
	for _, shown := range []string{c.String(), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", c)} {
		if strings.Contains(shown, line) {
			t.Errorf("the key is in %s", shown)
		}
	}
}

func TestWaysToNameAnOrigin(t *testing.T) {
	for text, want := range map[string]string{
		"unix:/run/shop.sock":              "unix:/run/shop.sock",
		"unix:///run/shop.sock":            "unix:/run/shop.sock",
		"http://[2001:db8::1]:3000/":       "http://[2001:db8::1]:3000",
		"HTTPS://Shop.Internal:8443":       "https://Shop.Internal:8443",
		"http://shop.internal":             "http://shop.internal",
		"unix:/run/a b.sock":               "unix:/run/a b.sock",
		"unix:" + strings.Repeat("/x", 60): "",
		"http://2001:db8::1:3000":          "",
		"shop.sock":                        "",
	} {
		got, err := originURL(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
}
