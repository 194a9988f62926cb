package cert

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatAnAuthorityRefusesIsLogged(t *testing.T) {
	authz := `{"identifier":{"type":"dns","value":"shop.example"},"status":"invalid","challenges":[` +
		`{"type":"dns-01","status":"pending"},{"type":"http-01","status":"invalid","error":{"detail":"no route"}}]}`
	for name, tc := range map[string]struct {
		status int
		answer string
		lines  int
		want   string
	}{
		"too many":          {429, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many for shop.example"}`, 2, `status=429 error="too many for shop.example"`},
		"a nonce is old":    {400, `{"type":"urn:ietf:params:acme:error:badNonce","detail":"again"}`, 0, ""},
		"a proof failed":    {200, authz, 1, `host=shop.example proof=http-01 error="no route"`},
		"a proof goes on":   {200, strings.ReplaceAll(authz, "invalid", "processing"), 0, ""},
		"it is no refusal":  {200, `{"newNonce":"https://ca.example/nonce"}`, 0, ""},
		"it is no JSON":     {200, "-----BEGIN CERTIFICATE-----", 0, ""},
		"it is a list":      {200, "[1]", 0, ""},
		"something else is": {502, "<html>", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.answer)
			}))
			defer server.Close()
			var text bytes.Buffer
			h := &hearer{RoundTripper: http.DefaultTransport, log: slog.New(slog.NewTextHandler(&text, nil))}
			for range 2 { // a proof is asked for again
				resp, err := (&http.Client{Transport: h}).Get(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				if err != nil || string(got) != tc.answer || resp.StatusCode != tc.status {
					t.Errorf("%d %s, %v come through", resp.StatusCode, got, err)
				}
				resp.Body.Close()
			}
			if n := strings.Count(text.String(), "\n"); n != tc.lines || !strings.Contains(text.String(), tc.want) {
				t.Errorf("the log has %d lines, want %d with %s:\n%s", n, tc.lines, tc.want, text.String())
			}
		})
	}
}

func TestAnAuthorityThatIsNamedNoMoreIsNotAsked(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	defer server.Close()
	k := New(nil, nil)
	if err := k.Set(Config{ACME: ACME{Hosts: []string{"shop.example"}, Cache: t.TempDir(), Directory: server.URL}}); err != nil {
		t.Fatal(err)
	}
	before := k.acme.Load()
	if err := k.Set(Config{}); err != nil {
		t.Fatal(err)
	}
	if _, err := before.get(t.Context(), "shop.example"); !errors.Is(err, errRetired) {
		t.Errorf("it says %v", err)
	}
}
