//go:build !race

package route

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFindAllocatesNothing(t *testing.T) {
	targets := [][]byte{
		[]byte("/drop-7/products/limited-edition-shoe?size=42"), []byte("/elsewhere"), []byte("/DROP-7"),
		[]byte("/drop-7/assets/js/app-3.js?v=1"), []byte("/%ED%95%9C%EC%A0%95/x"), []byte("/x/..%252f../drop-7;x"), []byte("http://shop.example/drop-7"), []byte("http://x/\x00"),
		[]byte("*"), []byte("/" + strings.Repeat("%ED%95%9C", 1500)), []byte("/" + strings.Repeat("a/../", 3000)),
	}
	hosts := [][]byte{[]byte("Shop.Example:443"), []byte("a.b.shop.example"), []byte("[::1]"), []byte("u@x"), nil}
	for _, n := range []int{1, 10, 100} {
		tab := mustNew(t, manyRooms(n))
		for _, h := range hosts {
			for _, g := range targets {
				if got := testing.AllocsPerRun(10, func() { tab.Find([]byte("POST"), h, g, visitor) }); got != 0 {
					t.Errorf("%d rooms: %.40q on %q allocates %v times, want 0", n, g, h, got)
				}
			}
		}
	}
}

var rounds = flag.Int("rounds", 5000, "random paths that TestNoReadingOfARandomPathIsMissed makes")

// Mutation finds few of the longer tricks; this puts them together.
func TestNoReadingOfARandomPathIsMissed(t *testing.T) {
	pieces := strings.Fields(`/ / / / /drop /drop /drop/vip /drop/pay /a/sale drop vip pay sale SALE Drop d rop %64 %2564 ｄ %ef%bd%84 %c1%a4 dr op
		/.. .. . %2e %252e %c0%ae ． %ef%bc%8e ‥ … /../ /./ // /%2e%2e/ /..; \ %5c %255c ／ %ef%bc%8f %e2%88%95 %c0%af %2f %252f
		; ;x=y %3b # %23 ? %3f %253f %00 %0a %09 %01 %20 + %2520 . .. %25 % %u0064 %u002f %u002e ％ %ef%bc%85 2f 2e 64 %ff %cc%82 %e2%80%8b %c2%ad
		::$DATA ::$ $ : x y z /한정 %ed%95%9c%ec%a0%95 %e1%84%92%e1%85%a1%e1%86%ab /b%20c /b+c %b %c %2 %u00 ſ K %c2%a0 %e3%80%80`)
	pieces = append(pieces, " ", "\t", "\x00", "\x85")
	tab, rest := fuzzTables(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	verdicts := map[Verdict]int{}
	for range *rounds {
		var b strings.Builder
		b.WriteString([]string{"/", "/drop", "/drop/", "/drop/pay/", "/A/Sale/", "/x/.."}[rnd.IntN(6)])
		for range 1 + rnd.IntN(8) {
			b.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		target := b.String()
		judge(t, tab, rest, target)
		_, v := tab.Find([]byte("POST"), nil, []byte(target), visitor)
		verdicts[v]++
	}
	t.Log(verdicts)
	if !utf8.ValidString("한정") || len(verdicts) < 3 {
		t.Errorf("one-sided paths: %v", verdicts)
	}
}
