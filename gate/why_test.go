package gate

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestWhoGets400ForAPathIsToldWhyAndSoIsTheLog(t *testing.T) {
	everywhere := strings.Replace(testConfig, "/drop}", "/}", 1) + "    except: [{path: /health}]\n"
	for _, c := range []struct{ config, target, want string }{
		{everywhere, "/api/a%2Fb", "an encoded slash (%2F) in the path"},
		{everywhere, "/.%73luice/x", "one of the gate's own"},
		{testConfig, "/drop;jsessionid=1", "parameters (;) in the path"},
		{testConfig, "/x/../drop", "a dot segment"},
	} {
		g := openTestGateOf(t, c.config, nil)
		var log bytes.Buffer
		g.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		r := g.do(t, "GET "+c.target+" HTTP/1.1\r\nHost: shop.example\r\n\r\n")
		if r.StatusCode() != 400 || !strings.Contains(string(r.Body()), "more than one way: ") || !strings.Contains(string(r.Body()), c.want) {
			t.Errorf("%s: %d %s, want a detail with %q", c.target, r.StatusCode(), r.Body(), c.want)
		}
		if !strings.Contains(log.String(), "level=DEBUG") || !strings.Contains(log.String(), c.want) {
			t.Errorf("%s: the log says %q, want %q", c.target, log.String(), c.want)
		}
	}
}
