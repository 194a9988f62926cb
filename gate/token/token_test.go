package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicegate/sluice/queue"
)

const (
	secretA = "the first secret, long enough to sign"
	secretB = "the second one, as long and not alike"
)

var ann = Token{
	Kind: Ticket, Room: RoomID("drop"), Generation: 3, ID: 0xfedcba9876543210,
	Place: 1_800_000_000_123_456, Issued: 1_800_000_060_000_000, Low: 110, High: 160,
}

var bob = Token{
	Kind: Pass, Provisional: true, Room: RoomID("drop"), Generation: 1 << 31, ID: 1,
	Place: 1, Issued: maxTime, Until: maxTime - 1, Called: 1 << 52, Low: math.MaxUint16, High: math.MaxUint16,
}

func ring(t testing.TB, secrets ...string) *Ring {
	t.Helper()
	r, err := NewRing(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The format once more, from doc.go's table with the library's HMAC.

func sum(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func derive(secret, info string) []byte {
	prk := sum(make([]byte, sha256.Size), []byte(secret)) // RFC 5869: extract without salt
	return sum(prk, []byte(info), []byte{1})              // and expand, one block
}

func front(secret string, t Token) []byte {
	b := []byte{1, byte(t.Kind)}
	if t.Provisional {
		b[1] += 0x80
	}
	b = append(b, derive(secret, "sluice token 1 key id")[:3]...)
	b = binary.BigEndian.AppendUint32(b, t.Room)
	b = binary.BigEndian.AppendUint32(b, t.Generation)
	time := func(v queue.Time) { b = append(b, binary.BigEndian.AppendUint64(nil, uint64(v))[1:]...) }
	time(t.Place)
	b = binary.BigEndian.AppendUint64(b, uint64(t.ID))
	time(t.Issued)
	time(t.Until)
	time(t.Called)
	b = binary.BigEndian.AppendUint16(b, t.Low)
	return binary.BigEndian.AppendUint16(b, t.High)
}

// sign turns a token's first bytes, whatever they say, into one with a right MAC.
func sign(secret string, front []byte) []byte {
	mac := sum(derive(secret, "sluice token 1 mac"), front)[:16]
	return []byte(base64.RawURLEncoding.EncodeToString(append(front[:len(front):len(front)], mac...)))
}

func TestFormatIsTheOneOfEveryRelease(t *testing.T) {
	for _, c := range []struct {
		name   string
		token  Token
		golden string
	}{
		{"ticket", ann, "AQFl_k7ZDunMAAAAAwZlFyiaYkD-3LqYdlQyEAZlFywsBwAAAAAAAAAAAAAAAAAAAABuAKDFBWTUFdkp6HkdiuW-iDye"},
		{"provisional pass", bob, "AYJl_k7ZDunMgAAAAAAAAAAAAAEAAAAAAAAAAR________8f_______-EAAAAAAAAP____9gLZOwHzkrF2ZxdJ60gVWk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ring(t, secretA)
			got := string(r.Append(nil, &c.token))
			if got != c.golden {
				t.Errorf("token is\n%s, want\n%s", got, c.golden)
			}
			if want := string(sign(secretA, front(secretA, c.token))); got != want {
				t.Errorf("token is\n%s, by the table\n%s", got, want)
			}
			if len(got) != EncodedSize || len(got) >= 120 {
				t.Errorf("token has %d characters, want EncodedSize %d, under 120", len(got), EncodedSize)
			}
			var back Token
			if !r.Verify([]byte(c.golden), &back) || back != c.token {
				t.Errorf("golden token reads as %+v, want %+v", back, c.token)
			}
		})
	}
	if Size%3 != 0 {
		t.Errorf("Size %d is no multiple of 3: the last character would have bits to spare, and the token two spellings", Size)
	}
	if got, want := RoomID("drop"), uint32(0xd90ee9cc); got != want {
		t.Errorf("RoomID(drop) = %#x, want %#x", got, want)
	}
}

func TestEveryTokenComesBackAsItWent(t *testing.T) {
	r := ring(t, secretA)
	rapid.Check(t, func(t *rapid.T) {
		time := rapid.Map(rapid.Int64Range(0, maxTime), func(v int64) queue.Time { return queue.Time(v) })
		in := Token{
			Kind:       rapid.SampledFrom([]Kind{Ticket, Pass}).Draw(t, "kind"),
			Room:       rapid.Uint32().Draw(t, "room"),
			Generation: rapid.Uint32().Draw(t, "generation"),
			ID:         queue.ID(rapid.Uint64().Draw(t, "id")),
			Place:      time.Draw(t, "place"),
			Issued:     time.Draw(t, "issued"),
			Until:      time.Draw(t, "until"),
			Called:     time.Draw(t, "called"),
			Low:        rapid.Uint16().Draw(t, "low"),
			High:       rapid.Uint16().Draw(t, "high"),
		}
		in.Provisional = in.Kind == Pass && rapid.Bool().Draw(t, "provisional")
		sent := r.Append([]byte("sluice-drop="), &in)
		if want := string(sign(secretA, front(secretA, in))); string(sent) != "sluice-drop="+want {
			t.Fatalf("sent %s, want ...%s", sent, want)
		}
		var out Token
		if !r.Verify(sent[len("sluice-drop="):], &out) || out != in {
			t.Fatalf("%+v came back as %+v", in, out)
		}
	})
}

// refuse fails the test unless src is refused and nothing of it is left behind.
func refuse(t *testing.T, r *Ring, src []byte, what string) {
	t.Helper()
	out := bob
	if r.Verify(src, &out) {
		t.Errorf("%s: verified as %+v", what, out)
	}
	if out != (Token{}) {
		t.Errorf("%s: refused, but left %+v", what, out)
	}
}

func TestNobodyChangesAToken(t *testing.T) {
	r := ring(t, secretA, secretB)
	good := r.Append(nil, &ann)
	raw, err := base64.RawURLEncoding.DecodeString(string(good))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a bit of it", func(t *testing.T) {
		for i := range Size * 8 {
			flipped := bytes.Clone(raw)
			flipped[i/8] ^= 1 << (i % 8)
			refuse(t, r, []byte(base64.RawURLEncoding.EncodeToString(flipped)), fmt.Sprintf("bit %d of byte %d flipped", i%8, i/8))
		}
	})
	t.Run("a character of it", func(t *testing.T) {
		for i := range good {
			for c := range 256 {
				if byte(c) == good[i] {
					continue
				}
				changed := bytes.Clone(good)
				changed[i] = byte(c)
				refuse(t, r, changed, fmt.Sprintf("character %d is %q", i, byte(c)))
			}
		}
	})
	t.Run("its length", func(t *testing.T) {
		for n := range good {
			refuse(t, r, good[:n], fmt.Sprintf("cut to %d characters", n))
			refuse(t, r, good[len(good)-n:], fmt.Sprintf("its last %d characters", n))
		}
		for _, more := range []string{"=", "A", "AAAA", "\n", "\r\n\r\n", " "} {
			refuse(t, r, append(bytes.Clone(good), more...), fmt.Sprintf("%q added", more))
			refuse(t, r, append([]byte(more), good...), fmt.Sprintf("%q before", more))
			refuse(t, r, append([]byte(more), good[:EncodedSize-len(more)]...), fmt.Sprintf("%q before, cut to length", more))
			refuse(t, r, append(good[:EncodedSize-len(more):EncodedSize-len(more)], more...), fmt.Sprintf("%q instead of its end", more))
		}
	})
}

func TestOneKeyIsNotEnoughForNonsense(t *testing.T) {
	r := ring(t, secretA)
	change := func(at int, to ...byte) []byte {
		b := front(secretA, ann)
		copy(b[at:], to)
		return sign(secretA, b)
	}
	var out Token
	if !r.Verify(change(0), &out) || out != ann {
		t.Fatalf("unchanged token reads as %+v", out)
	}
	for _, c := range []struct {
		name string
		src  []byte
	}{
		{"version 0", change(0, 0)},
		{"version 2", change(0, 2)},
		{"no kind", change(1, 0)},
		{"kind 3", change(1, 3)},
		{"provisional ticket", change(1, 0x81)},
		{"an unknown flag", change(1, 0x42)},
		{"key id of nobody", change(2, 0, 0, 0)},
		{"place 2^53", change(13, 0x20)},
		{"negative place", change(13, 0xff)},
		{"issued 2^53", change(28, 0x20)},
		{"until 2^53", change(35, 0x20)},
		{"called 2^53", change(42, 0x20)},
	} {
		refuse(t, r, c.src, c.name)
	}
}

func TestAppendRefusesWhatVerifyWould(t *testing.T) {
	r := ring(t, secretA)
	for name, change := range map[string]func(*Token){
		"no kind":            func(t *Token) { t.Kind = 0 },
		"kind 3":             func(t *Token) { t.Kind = 3 },
		"a flag as kind":     func(t *Token) { t.Kind = 0x82 },
		"provisional ticket": func(t *Token) { t.Provisional = true },
		"negative place":     func(t *Token) { t.Place = -1 },
		"place 2^53":         func(t *Token) { t.Place = maxTime + 1 },
		"negative issued":    func(t *Token) { t.Issued = -1 },
		"until 2^53":         func(t *Token) { t.Until = maxTime + 1 },
		"called 2^53":        func(t *Token) { t.Called = maxTime + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p := recover(); p == nil || !strings.HasPrefix(fmt.Sprint(p), "BUG: ") {
					t.Errorf("panicked with %v, want BUG:", p)
				}
			}()
			bad := ann
			change(&bad)
			r.Append(nil, &bad)
		})
	}
}

func TestATokenOfAnotherRoomShowsIt(t *testing.T) {
	r := ring(t, secretA)
	var out Token
	if !r.Verify(r.Append(nil, &ann), &out) {
		t.Fatal("refused")
	}
	if out.Room != RoomID("drop") || out.Room == RoomID("drop2") || out.Room == RoomID("") {
		t.Errorf("room is %#x", out.Room)
	}
}

func TestRotationLosesNobody(t *testing.T) {
	gates := func(secrets ...string) func(old, late bool, which string) {
		return func(old, late bool, which string) {
			t.Helper()
			r := ring(t, secrets...)
			var out Token
			if got := r.Verify(sign(secretA, front(secretA, ann)), &out); got != old {
				t.Errorf("%s: a ticket signed by the old secret: %v, want %v", which, got, old)
			}
			if got := r.Verify(sign(secretB, front(secretB, ann)), &out); got != late {
				t.Errorf("%s: a ticket signed by the new secret: %v, want %v", which, got, late)
			}
			if got, want := r.Append(nil, &ann), sign(secrets[0], front(secrets[0], ann)); !bytes.Equal(got, want) {
				t.Errorf("%s: signs %s, want by the first secret %s", which, got, want)
			}
		}
	}
	gates(secretA)(true, false, "before")
	gates(secretA, secretB)(true, true, "1, the new one added last")
	gates(secretB, secretA)(true, true, "2, the new one moved first")
	gates(secretB)(false, true, "3, the old one dropped")
}

func TestKeysOfOneIDAreBothTried(t *testing.T) {
	seen := map[uint32]string{}
	for i := 0; ; i++ { // ids have 24 bits: two of some 5,000 are alike
		s := fmt.Sprintf("secret number %020d", i)
		id := uint24(derive(s, "sluice token 1 key id"))
		other, ok := seen[id]
		if !ok {
			seen[id] = s
			continue
		}
		both := ring(t, other, s)
		var out Token
		for _, by := range []string{s, other} {
			if !both.Verify(ring(t, by).Append(nil, &ann), &out) || out != ann {
				t.Errorf("token signed by %q refused", by)
			}
		}
		refuse(t, ring(t, s), ring(t, other).Append(nil, &ann), "the other key of one id")
		return
	}
}

func TestBadSecretsAreAllNamedAndNeverShown(t *testing.T) {
	short := strings.Repeat("ü", 31)
	_, err := NewRing([]string{secretA, short, secretA})
	want := "token: secret 2 has 31 characters, fewer than 32\n" +
		"token: secret 3 is the same as secret 1"
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
	if _, err := NewRing(nil); err == nil || err.Error() != "token: no secret" {
		t.Errorf("error without secrets is %v", err)
	}
	if _, err := NewRing([]string{short + "ü"}); err != nil {
		t.Errorf("32 characters are refused: %v", err)
	}

	r := ring(t, secretA)
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("ring", "ring", r, "value", *r)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("ring", "ring", r)
	fmt.Fprintf(&logged, "%v %+v %#v %s %d %x", r, r, r, r, r, r)
	for _, line := range []string{secretA[:16], fmt.Sprintf("%x", r.keys[0].inner), fmt.Sprint(r.keys[0].inner)} {
		if strings.Contains(logged.String(), line) {
			t.Errorf("a key is shown: %s", logged.String())
		}
	}
}

func TestRingIsSharedByGoroutines(t *testing.T) {
	r := ring(t, secretA, secretB)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			in, buf := ann, []byte(nil)
			for n := range 2000 {
				in.ID = queue.ID(i)<<32 | queue.ID(n)
				buf = r.Append(buf[:0], &in)
				var out Token
				if !r.Verify(buf, &out) || out != in {
					t.Errorf("%+v came back as %+v", in, out)
					return
				}
				buf[n%EncodedSize] ^= 1
				if r.Verify(buf, &out) {
					t.Errorf("changed token verified")
					return
				}
			}
		})
	}
	wg.Wait()
}

// FuzzVerify holds that whatever verifies is spelled exactly as we would spell it.
func FuzzVerify(f *testing.F) {
	r := ring(f, secretA, secretB)
	f.Add(r.Append(nil, &ann))
	f.Add(r.Append(nil, &bob))
	f.Add(sign(secretB, front(secretB, bob)))
	f.Add(sign(secretA, make([]byte, signedSize)))
	f.Add(bytes.Repeat([]byte("A"), EncodedSize))
	f.Add([]byte("\n"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, src []byte) {
		var out Token
		if !r.Verify(src, &out) {
			if out != (Token{}) {
				t.Fatalf("refused, but left %+v", out)
			}
		} else if !bytes.Equal(src, sign(secretA, front(secretA, out))) && !bytes.Equal(src, sign(secretB, front(secretB, out))) {
			t.Fatalf("%s verifies as %+v, which is spelled otherwise", src, out)
		}

		// The same bytes under a right MAC, so that the fuzzer gets past it.
		if len(src) < signedSize {
			return
		}
		b := bytes.Clone(src[:signedSize])
		copy(b[2:], derive(secretA, "sluice token 1 key id")[:3])
		signed := sign(secretA, b)
		if r.Verify(signed, &out) && !bytes.Equal(r.Append(nil, &out), signed) {
			t.Fatalf("%s verifies as %+v, which is issued otherwise", signed, out)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	r := ring(b, secretA, secretB)
	for _, c := range []struct {
		name string
		src  []byte
	}{
		{"ours", r.Append(nil, &ann)},
		{"before the rotation", sign(secretB, front(secretB, ann))},
		{"forged", append(r.Append(nil, &ann)[:EncodedSize-1], 'A')},
		{"of nobody", sign("somebody", front("somebody", ann))},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var out Token
			for b.Loop() {
				r.Verify(c.src, &out)
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	b.ReportAllocs()
	r := ring(b, secretA)
	buf := make([]byte, 0, EncodedSize)
	for b.Loop() {
		buf = r.Append(buf[:0], &ann)
	}
}
