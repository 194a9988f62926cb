package gate

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/proxy"
	"github.com/sluicegate/sluice/metrics"
)

// Certificates are what a gate asks about its certificates.
type Certificates interface {
	// Covers tells whether there is one for a host: a name in lower case or an
	// address, without a port.
	Covers(host string) bool
	// Challenge answers a certificate authority that asks for a proof by HTTP.
	Challenge(host, path string) (status int, body []byte, ok bool)
}

// toHTTPS is how visitors are brought to https, and kept there.
type toHTTPS struct {
	redirect int    // 301 or 308; 0: nobody is sent on
	port     string // behind the host; "": https's own
	strict   string // the whole line of Strict-Transport-Security; "": none
}

func newToHTTPS(c *config.TLS) toHTTPS {
	h := toHTTPS{redirect: c.Redirect}
	if c.HSTS != "" {
		h.strict = "Strict-Transport-Security: " + c.HSTS
	}
	if c.RedirectPort != 443 {
		h.port = ":" + strconv.Itoa(c.RedirectPort)
	}
	return h
}

var (
	challengePath = []byte(cert.ChallengePath)
	healthPath    = []byte("/.sluice/health")
)

// plainly answers a request that came without TLS, if it is one of an authority that
// asks whose the host is, or one that is to be made by https instead.
func (x *exchange) plainly() bool {
	if x.https || x.gate.certs == nil {
		return false
	}
	path, _, _ := bytes.Cut(x.target, []byte("?"))
	if bytes.HasPrefix(path, challengePath) {
		return x.answerAuthority(path)
	}
	if x.site.https.redirect == 0 || bytes.Equal(path, healthPath) || path[0] != '/' {
		return false
	}
	x.redirect()
	return true
}

// answerAuthority proves that a host is ours, where it is for us to do.
func (x *exchange) answerAuthority(path []byte) bool {
	host := bareHost(x.host)
	status, body, ok := x.gate.certs.Challenge(host, string(path))
	if !ok || !x.isGet() {
		return false
	}
	x.outcome = metrics.Ungated
	x.ownHeader()
	x.ctx.SetStatusCode(status)
	x.ctx.Response.Header.SetContentType("text/plain; charset=utf-8")
	x.ctx.SetBody(body)
	return true
}

// redirect sends a visitor to https: to the same host, path and query, and only to a
// host that there is a certificate for. So nobody is sent on to a host of somebody
// else's choice, nor to one where the browser would warn them.
func (x *exchange) redirect() {
	host := bareHost(x.host)
	if host == "" || !x.gate.certs.Covers(host) {
		x.outcome = metrics.Refuse
		x.ownHeader()
		x.problem(fasthttp.StatusMisdirectedRequest, "this site is at https, under another name")
		return
	}
	x.outcome = metrics.Ungated
	x.ownHeader()
	status := x.site.https.redirect
	if !x.isGet() {
		status = fasthttp.StatusPermanentRedirect // which keeps method and body
	}
	x.ctx.SetStatusCode(status)
	out := append(x.scratch[:0], "https://"...)
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		out = append(append(append(out, '['), host...), ']')
	} else {
		out = append(out, host...)
	}
	out = append(append(out, x.site.https.port...), x.target...)
	x.ctx.Response.Header.SetBytesV("Location", out)
	x.scratch = out
}

// bareHost is the name or address in a Host field that was found well-formed: in
// lower case, without port, brackets and a last dot.
func bareHost(b []byte) string {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return ""
		}
		a, err := netip.ParseAddr(string(b[1:end]))
		if err != nil {
			return ""
		}
		return a.String()
	}
	if colon := bytes.IndexByte(b, ':'); colon >= 0 {
		b = b[:colon]
	}
	return string(bytes.ToLower(bytes.TrimSuffix(b, []byte("."))))
}

// isStrict tells whether the answer says that the site is used by https only.
func (x *exchange) isStrict() bool { return x.site.https.strict != "" && x.https }

// beStrict tells the browser of a visitor who came by https to do so from now on. What
// the origin says about it makes way for what the operator says.
func (x *exchange) beStrict() {
	if x.isStrict() {
		x.scratch = proxy.ReplaceLine(x.ctx, x.site.https.strict, x.scratch)
	}
}
