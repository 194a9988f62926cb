package cert

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// hearer asks an authority and logs what it says no to. autocert keeps to itself why
// a proof was not taken, and renews without telling anybody how that went.
type hearer struct {
	http.RoundTripper
	log     *slog.Logger
	retired atomic.Bool // its manager has no work left, and does not know it

	mu   sync.Mutex
	seen map[string]bool // proofs that were told, by address: they are asked for again
}

// maxAnswer bounds what is read of an answer, in bytes; theirs have a few thousand.
const maxAnswer = 1 << 20

var errRetired = errors.New("the authority is not used any more")

// RoundTrip sends a request.
func (h *hearer) RoundTrip(req *http.Request) (*http.Response, error) {
	if h.retired.Load() {
		return nil, errRetired
	}
	resp, err := h.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	h.hear(req.URL.String(), resp.StatusCode, text)
	return resp, nil
}

// said is what stands in an answer of what may be a refusal: an authorization with
// its proofs (RFC 8555 7.1.4), or a problem (RFC 9457).
type said struct {
	Identifier struct{ Value string }
	Challenges []struct {
		Type, Status string
		Error        struct{ Detail string }
	}
	Type, Detail string
}

func (h *hearer) hear(address string, status int, text []byte) {
	var s said
	if json.Unmarshal(text, &s) != nil {
		return
	}
	if status >= 400 && !strings.HasSuffix(s.Type, ":badNonce") { // which is asked again at once
		h.log.Warn("the certificate authority refuses", "status", status, "error", s.Detail)
		return
	}
	for _, c := range s.Challenges {
		if c.Status == "invalid" && h.isNew(address) {
			h.log.Warn("the certificate authority was not given the proof it asked for",
				"host", s.Identifier.Value, "proof", c.Type, "error", c.Error.Detail)
		}
	}
}

func (h *hearer) isNew(address string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen[address] {
		return false
	}
	if len(h.seen) >= 1000 || h.seen == nil {
		h.seen = make(map[string]bool)
	}
	h.seen[address] = true
	return true
}
