package config

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/queue"
)

// TLS is how visitors reach the gate by https.
type TLS struct {
	Certificates []cert.Files
	ACME         cert.ACME // no hosts: none
	MinVersion   uint16
	Redirect     int    // 301 or 308; 0: visitors may use plain http
	RedirectPort int    // of https, as visitors see it
	HSTS         string // Strict-Transport-Security; "": none
}

// soonExpired is when a certificate's end is worth a warning.
const soonExpired = 14 * 24 * time.Hour

func (l *loader) tls(n *yaml.Node, key string) {
	c := &l.c.TLS
	version, redirect := "1.2", "none"
	if !l.object(n, key, "tls", []field{
		{"certificates", func(n *yaml.Node, key string) {
			l.list(n, key, "a list such as [{cert_file: shop.pem, key_file: shop.key}]", l.certificate)
		}},
		{"acme", l.acme},
		{"min_version", l.word(&version, "1.2", "1.3")},
		{"redirect", l.word(&redirect, "none", "301", "308")},
		{"redirect_port", l.number(&c.RedirectPort, 1, 65535, "")},
		{"hsts", l.hsts},
	}) {
		return
	}
	if version == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	switch redirect {
	case "301":
		c.Redirect = 301
	case "308":
		c.Redirect = 308
	}
}

// certificate reads a pair of files, and whether it can be used.
func (l *loader) certificate(n *yaml.Node, key string) {
	var f cert.Files
	if !l.object(n, key, "tls.certificates[]", []field{
		{"cert_file", l.path(&f.Cert)},
		{"key_file", l.path(&f.Key)},
	}) || l.isBad(key) {
		return
	}
	for name, value := range map[string]string{"cert_file": f.Cert, "key_file": f.Key} {
		if value == "" {
			l.problem(key+"."+name, "is missing: a file in PEM")
			return
		}
	}
	l.c.TLS.Certificates = append(l.c.TLS.Certificates, f)
	c, err := cert.Load(f)
	if err != nil {
		l.problem(key, "%s", err)
		return
	}
	now := time.Now()
	if err := cert.Valid(c, now); err != nil {
		// Of several hosts only one may be the worse for it.
		l.warn(key, "the certificate in %s %s: browsers will refuse it", f.Cert, err)
	} else if end := c.Leaf.NotAfter; end.Sub(now) < soonExpired && c.Leaf.NotAfter.Sub(c.Leaf.NotBefore) > 2*soonExpired {
		l.warn(key, "the certificate in %s expires on %s", f.Cert, end.UTC().Format(time.RFC1123))
	}
}

// path reads the path of a file.
func (l *loader) path(to *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		if s, ok := l.scalar(n, key, "the path of a file"); ok && s == "" {
			l.problem(key, "is empty")
		} else if ok {
			*to = l.local(s)
		}
	}
}

func (l *loader) acme(n *yaml.Node, key string) {
	a := &l.c.TLS.ACME
	if !l.object(n, key, "tls.acme", []field{
		{"hosts", func(n *yaml.Node, key string) {
			l.some(n, key, "a list of host names", func(n *yaml.Node, key string) {
				s, ok := l.scalar(n, key, "a host name")
				if !ok {
					return
				}
				host := strings.ToLower(strings.TrimSuffix(s, "."))
				_, ip := netip.ParseAddr(host)
				switch {
				case strings.HasPrefix(host, "*."):
					l.problem(key, "%q: a name with a star takes a proof by DNS, which the gate does not give; name each host", s)
				case ip == nil || !validHost(host) || !strings.Contains(host, "."):
					l.problem(key, "%q is no name that an authority gives certificates for, such as www.shop.example", s)
				case slices.Contains(a.Hosts, host):
					l.problem(key, "%q is named twice", s)
				default:
					a.Hosts = append(a.Hosts, host)
				}
			})
		}},
		{"email", func(n *yaml.Node, key string) {
			if s, ok := l.scalar(n, key, "an address"); ok {
				if s != "" && (strings.Count(s, "@") != 1 || strings.ContainsAny(s, " \t<>:")) {
					l.problem(key, "%q is no address such as me@shop.example", s)
				}
				a.Email = s
			}
		}},
		{"cache", l.path(&a.Cache)},
		{"directory", func(n *yaml.Node, key string) {
			if s, ok := l.scalar(n, key, "a URL"); ok && s != "" {
				if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
					l.problem(key, "want the https:// address of an authority's directory")
				}
				a.Directory = s
			}
		}},
		{"ca_file", l.path(&a.CAFile)},
	}) || l.isBad(key) {
		return
	}
	if len(a.Hosts) == 0 {
		l.problem(key+".hosts", "is missing: nobody else's name is ever asked for")
	}
	if a.Cache == "" {
		l.problem(key+".cache", "is missing: a folder of the gate's own, or every restart asks for new certificates until there are no more")
	}
}

// hsts makes the field's value of what is said about it (RFC 6797).
func (l *loader) hsts(n *yaml.Node, key string) {
	age := time.Duration(-1)
	var subdomains, preload bool
	if !l.object(n, key, "tls.hsts", []field{
		{"max_age", l.span(&age, 0, 10*365*24*time.Hour)},
		{"include_subdomains", l.flag(&subdomains)},
		{"preload", l.flag(&preload)},
	}) || l.isBad(key) {
		return
	}
	if age < 0 {
		l.problem(key+".max_age", "is missing: how long browsers remember it, such as 8760h; 0s has them forget it")
		return
	}
	if preload && (!subdomains || age < 365*24*time.Hour) {
		l.problem(key+".preload", "takes include_subdomains: true and a max_age of %s or more, or no browser puts the host on its list", queue.Span(365*24*time.Hour))
		return
	}
	v := fmt.Sprintf("max-age=%d", int64(age.Seconds()))
	if subdomains {
		v += "; includeSubDomains"
	}
	if preload {
		v += "; preload"
	}
	l.c.TLS.HSTS = v
}

// checkTLS wants all that is said about TLS to have a use.
func (l *loader) checkTLS() {
	c := &l.c.TLS
	if l.isBad("listen") || l.isBad("tls") {
		return
	}
	secure := slices.IndexFunc(l.c.Listen, func(v Listener) bool { return v.TLS })
	plain := slices.IndexFunc(l.c.Listen, func(v Listener) bool { return !v.TLS })
	if _, given := l.at["tls"]; given && secure < 0 && (len(c.Certificates) > 0 || len(c.ACME.Hosts) > 0 || c.Redirect != 0) {
		what := "no place of listen has tls: true"
		if label := l.label["listen"]; label != "" {
			what = label + " names places without TLS only"
		}
		l.problem("tls", "has no use: %s", what)
		return
	}
	if secure >= 0 && len(c.Certificates) == 0 && len(c.ACME.Hosts) == 0 {
		l.problem("tls.certificates", "%q listens with TLS, and there is no certificate: name files, or acme.hosts", l.c.Listen[secure].Address)
	}
	if c.Redirect != 0 && (plain < 0 || l.c.HTTPS == "always") {
		l.problem("tls.redirect", "has no use: nobody comes by plain http")
	}
}
