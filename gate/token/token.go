package token

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/sluicegate/sluice/queue"
)

const (
	// Size is the length of a token in bytes.
	Size = signedSize + macSize
	// EncodedSize is the length of a token as it is sent, in characters.
	EncodedSize = Size / 3 * 4

	// MinSecret is the least number of characters of a secret.
	MinSecret = 32

	version    = 1
	signedSize = 53
	macSize    = 16

	provisional = 0x80 // flag in the kind's byte

	maxTime = 1<<53 - 1
)

// Kind tells a ticket from a pass.
type Kind uint8

const (
	// Ticket holds the place of a waiting visitor.
	Ticket Kind = 1
	// Pass lets an admitted visitor through.
	Pass Kind = 2
)

// Token is what a visitor carries. All times but Place are room time.
type Token struct {
	Kind Kind
	// Provisional: a pass given on the spot that no request has shown yet. It has
	// ID and Place, and is as good as a ticket once Until is over.
	Provisional bool
	Room        uint32 // RoomID of the room's name
	Generation  uint32 // of the store when issued
	ID          queue.ID
	Place       queue.Time
	Issued      queue.Time // last-seen stamp
	Until       queue.Time // pass: valid to; ticket: 0
	Called      queue.Time // pass: when called; ticket: 0
	Low, High   uint16     // the first estimate told, seconds after Place; High 0: none told yet
}

// RoomID returns the fingerprint of a room's name that stands in its tokens. It
// never changes between releases.
func RoomID(name string) uint32 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint32(sum[:])
}

// Ring holds the keys that sign and verify tokens. It does not change after
// NewRing and is safe for concurrent use. It prints as a word, never as its keys.
type Ring struct {
	keys []key // the first signs
}

// key is a secret made ready: the states of SHA-256 after the block that HMAC
// puts before the message and before the inner sum (FIPS 198-1, section 6).
type key struct {
	id           uint32 // 24 bits
	inner, outer []byte
}

// NewRing makes a ring of secrets: the first signs, all verify. Every problem is
// reported at once, by the secret's number in the list from 1, never by its text.
func NewRing(secrets []string) (*Ring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("token: no secret")
	}
	r := &Ring{keys: make([]key, len(secrets))}
	var errs []error
	for i, s := range secrets {
		if n := utf8.RuneCountInString(s); n < MinSecret {
			errs = append(errs, fmt.Errorf("token: secret %d has %d characters, fewer than %d", i+1, n, MinSecret))
		}
		if j := slices.Index(secrets, s); j < i {
			errs = append(errs, fmt.Errorf("token: secret %d is the same as secret %d", i+1, j+1))
		}
		k, err := newKey(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("token: secret %d: %w", i+1, err))
		}
		r.keys[i] = k
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

func newKey(secret string) (key, error) {
	mac, err := hkdf.Key(sha256.New, []byte(secret), nil, "sluice token 1 mac", sha256.Size)
	if err != nil {
		return key{}, err
	}
	id, err := hkdf.Key(sha256.New, []byte(secret), nil, "sluice token 1 key id", 3)
	if err != nil {
		return key{}, err
	}
	k := key{id: uint24(id)}
	for _, half := range []struct {
		pad   byte
		state *[]byte
	}{{0x36, &k.inner}, {0x5c, &k.outer}} {
		var block [sha256.BlockSize]byte
		copy(block[:], mac)
		for i := range block {
			block[i] ^= half.pad
		}
		h := sha256.New()
		h.Write(block[:])
		*half.state, err = h.(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil {
			return key{}, err
		}
	}
	return k, nil
}

// Format keeps keys out of logs and messages, whatever the verb.
func (r *Ring) Format(f fmt.State, _ rune) { io.WriteString(f, "token.Ring") }

// scratch is what one Append or Verify works in. It is pooled because what goes
// through hash.Hash would be allocated anew every time.
type scratch struct {
	hash  hash.Hash
	state encoding.BinaryUnmarshaler // hash again
	sum   [sha256.Size]byte
	raw   [Size]byte
}

var pool = sync.Pool{New: func() any {
	h := sha256.New()
	return &scratch{hash: h, state: h.(encoding.BinaryUnmarshaler)}
}}

// mac returns the MAC of the signed part of s.raw, in s.sum.
func (s *scratch) mac(k *key) []byte {
	s.restore(k.inner)
	s.hash.Write(s.raw[:signedSize])
	s.hash.Sum(s.sum[:0])
	s.restore(k.outer)
	s.hash.Write(s.sum[:])
	return s.hash.Sum(s.sum[:0])[:macSize]
}

func (s *scratch) restore(state []byte) {
	if err := s.state.UnmarshalBinary(state); err != nil {
		panic("BUG: token: sha256 refuses its own state: " + err.Error())
	}
}

// Append appends t, signed and encoded, to dst: EncodedSize characters, all of
// them fit for a cookie and a header. It panics on a token that Verify would
// refuse: an unknown kind, a provisional ticket, a time below 0 or from 2^53 on.
func (r *Ring) Append(dst []byte, t *Token) []byte {
	kind := byte(t.Kind)
	if t.Provisional {
		kind |= provisional
	}
	if t.Kind&provisional != 0 || !knownKind(kind) || !inRange(t) {
		panic(fmt.Sprintf("BUG: token: cannot issue %+v", *t))
	}
	k := &r.keys[0]
	s := pool.Get().(*scratch)
	b := &s.raw
	b[0] = version
	b[1] = kind
	putUint24(b[2:5], k.id)
	binary.BigEndian.PutUint32(b[5:9], t.Room)
	binary.BigEndian.PutUint32(b[9:13], t.Generation)
	putTime(b[13:20], t.Place)
	binary.BigEndian.PutUint64(b[20:28], uint64(t.ID))
	putTime(b[28:35], t.Issued)
	putTime(b[35:42], t.Until)
	putTime(b[42:49], t.Called)
	binary.BigEndian.PutUint16(b[49:51], t.Low)
	binary.BigEndian.PutUint16(b[51:53], t.High)
	copy(b[signedSize:], s.mac(k))
	dst = base64.RawURLEncoding.AppendEncode(dst, b[:])
	pool.Put(s)
	return dst
}

// Verify reports whether src is a token that this ring's keys signed, and fills
// t with it; otherwise t is zeroed. It says nothing of the room, of time, or of
// whether the token was used: see the package's text.
func (r *Ring) Verify(src []byte, t *Token) bool {
	*t = Token{}
	if len(src) != EncodedSize {
		return false
	}
	s := pool.Get().(*scratch)
	// The decoder passes over line breaks and leaves the end of raw as it was.
	n, err := base64.RawURLEncoding.Decode(s.raw[:], src)
	ok := err == nil && n == Size && r.signed(s) && parse(&s.raw, t)
	pool.Put(s)
	return ok
}

func (r *Ring) signed(s *scratch) bool {
	if s.raw[0] != version || !knownKind(s.raw[1]) {
		return false
	}
	id := uint24(s.raw[2:5])
	for i := range r.keys {
		k := &r.keys[i]
		if k.id == id && subtle.ConstantTimeCompare(s.mac(k), s.raw[signedSize:]) == 1 {
			return true
		}
	}
	return false
}

// parse fills t from b, and leaves it zeroed when a time is out of range.
func parse(b *[Size]byte, t *Token) bool {
	*t = Token{
		Kind:        Kind(b[1] &^ provisional),
		Provisional: b[1]&provisional != 0,
		Room:        binary.BigEndian.Uint32(b[5:9]),
		Generation:  binary.BigEndian.Uint32(b[9:13]),
		Place:       getTime(b[13:20]),
		ID:          queue.ID(binary.BigEndian.Uint64(b[20:28])),
		Issued:      getTime(b[28:35]),
		Until:       getTime(b[35:42]),
		Called:      getTime(b[42:49]),
		Low:         binary.BigEndian.Uint16(b[49:51]),
		High:        binary.BigEndian.Uint16(b[51:53]),
	}
	if !inRange(t) {
		*t = Token{}
		return false
	}
	return true
}

func knownKind(b byte) bool {
	return b == byte(Ticket) || b == byte(Pass) || b == byte(Pass)|provisional
}

// inRange holds when no time is negative and none reaches 2^53.
func inRange(t *Token) bool {
	return uint64(t.Place)|uint64(t.Issued)|uint64(t.Until)|uint64(t.Called) <= maxTime
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

func putUint24(b []byte, v uint32) { b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v) }

// getTime reads 56 bits.
func getTime(b []byte) queue.Time {
	return queue.Time(uint24(b))<<32 | queue.Time(binary.BigEndian.Uint32(b[3:7]))
}

func putTime(b []byte, t queue.Time) {
	putUint24(b, uint32(t>>32))
	binary.BigEndian.PutUint32(b[3:7], uint32(t))
}
