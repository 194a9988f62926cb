//go:build !race

package token

import "testing"

func TestVerifyAndAppendDoNotAllocate(t *testing.T) {
	r := ring(t, secretA, secretB)
	ours, other := r.Append(nil, &ann), ring(t, secretB).Append(nil, &bob)
	forged := append(ours[:EncodedSize-1:EncodedSize-1], 'A')
	buf := make([]byte, 0, EncodedSize)
	for name, f := range map[string]func(){
		"Verify": func() {
			var out Token
			if !r.Verify(ours, &out) || !r.Verify(other, &out) {
				t.Fatal("valid token refused")
			}
		},
		"Verify of a forgery": func() {
			var out Token
			if r.Verify(forged, &out) {
				t.Fatal("forged token verified")
			}
		},
		"Append": func() { buf = r.Append(buf[:0], &ann) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times, want 0", name, n)
		}
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	r := ring(t, secretA)
	header := append([]byte("lang=ko; sluice-drop=x; theme=dark; sluice-drop="), r.Append(nil, &ann)...)
	name := []byte("sluice-drop")
	if n := testing.AllocsPerRun(1000, func() {
		var best Token
		Find(header, name, func(value []byte) bool {
			var one Token
			if r.Verify(value, &one) {
				best = one
			}
			return true
		})
		if best != ann {
			t.Fatal("valid ticket not found")
		}
	}); n != 0 {
		t.Errorf("Find allocates %v times, want 0", n)
	}
}
