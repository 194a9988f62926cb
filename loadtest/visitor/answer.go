package visitor

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// States that the gate tells, and what answers without one are tagged.
const (
	waiting  = "waiting"
	admitted = "admitted"
	full     = "full"
	closed   = "closed"
	none     = "none"
	fromShop = "shop"
)

// stateName returns a state without allocating for those that there are.
func stateName(b []byte) string {
	switch string(b) {
	case waiting:
		return waiting
	case admitted:
		return admitted
	case full:
		return full
	case closed:
		return closed
	case none:
		return none
	case "":
		return ""
	}
	return waiting // as clients are to treat a state that they do not know
}

// stand is what the visitor API says, as far as visitors care.
type stand struct {
	State    string   `json:"state"`
	Position *float64 `json:"position"`
	Estimate *struct {
		Low  float64 `json:"low"`
		High float64 `json:"high"`
	} `json:"estimate_seconds"`
	PollAfter float64 `json:"poll_after_seconds"`
	Age       float64 `json:"age_seconds"`
	Called    int64   `json:"called"`
}

var errNoState = errors.New("visitor: an answer of the visitor API without a state")

func readStand(body []byte) (s stand, err error) {
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("visitor: an answer of the visitor API: %w", err)
	}
	if s.State == "" {
		return s, errNoState
	}
	s.State = stateName([]byte(s.State))
	return s, nil
}

func (s *stand) position() int64 {
	if s.Position == nil || !(*s.Position > 0) || *s.Position > 1<<53 {
		return 0
	}
	return int64(*s.Position)
}

// age is how old an answer's numbers are, by what it says.
func age(seconds float64) time.Duration {
	if !(seconds > 0) {
		return 0
	}
	return time.Duration(min(seconds, 1e6) * float64(time.Second))
}

func (s *stand) estimate() (low, high int64) {
	if s.Estimate == nil || !(s.Estimate.High > 0) || s.Estimate.High > 1<<32 {
		return 0, 0
	}
	return int64(s.Estimate.Low), int64(math.Ceil(s.Estimate.High))
}

// pause is how long the page's script waits: as told, within half a second and two
// minutes, five seconds when told nothing.
func pause(seconds float64) time.Duration {
	if !(seconds > 0) {
		seconds = 5
	}
	return time.Duration(min(max(seconds, .5), 120) * float64(time.Second))
}

// pagePause is what a waiting page tells its script: the exact figure of its data
// if that can be seen, which stands uncompressed in the page, else Retry-After.
func pagePause(a *answer) time.Duration {
	if x, ok := number(a.body, `"poll_after_seconds":`); ok {
		return pause(x)
	}
	return pause(a.retryAfter.Seconds())
}

// number finds a number after a key.
func number(body []byte, key string) (float64, bool) {
	i := bytes.Index(body, []byte(key))
	if i < 0 {
		return 0, false
	}
	rest := body[i+len(key):]
	n := 0
	for n < len(rest) && n < 24 && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.') {
		n++
	}
	x, err := strconv.ParseFloat(string(rest[:n]), 64)
	return x, err == nil
}

// tokenOf are the parts of a token that tell one from another. Tokens are signed,
// not encrypted; their layout stands in the gate's documentation.
type tokenOf struct {
	id     uint64
	place  int64 // room time, microseconds
	called int64 // of a pass: room time, milliseconds
}

const (
	tokenSize    = 69
	tokenVersion = 1
)

// readToken reads what is in a token, unverified; zero if it is another version's
// or something else.
func readToken(text string) (t tokenOf) {
	var raw [tokenSize]byte
	if base64.RawURLEncoding.DecodedLen(len(text)) != tokenSize {
		return t
	}
	if n, err := base64.RawURLEncoding.Decode(raw[:], []byte(text)); err != nil || n != tokenSize || raw[0] != tokenVersion {
		return t
	}
	t.place = instant(raw[13:20])
	t.id = binary.BigEndian.Uint64(raw[20:28])
	t.called = instant(raw[42:49]) / 1000
	return t
}

// instant reads 56 bits.
func instant(b []byte) int64 {
	var wide [8]byte
	copy(wide[1:], b)
	return int64(binary.BigEndian.Uint64(wide[:]))
}

// cookie is one Set-Cookie, as far as visitors care.
type cookie struct {
	name, value string
	gone        bool // taken back
}

// readCookie reads a Set-Cookie (RFC 6265, section 5.2). Path and Domain do not
// matter: a visitor visits one site.
func readCookie(header []byte) (c cookie, ok bool) {
	pair, attributes, _ := bytes.Cut(header, []byte{';'})
	name, value, found := bytes.Cut(pair, []byte{'='})
	name, value = bytes.Trim(name, " \t"), bytes.Trim(value, " \t")
	if !found || len(name) == 0 {
		return c, false
	}
	c.name, c.value = string(name), string(value)
	for a := range bytes.SplitSeq(attributes, []byte{';'}) {
		key, value, _ := bytes.Cut(bytes.Trim(a, " \t"), []byte{'='})
		if is(key, "max-age") {
			n, err := strconv.ParseInt(string(value), 10, 64)
			c.gone = err == nil && n <= 0
		}
	}
	return c, true
}
