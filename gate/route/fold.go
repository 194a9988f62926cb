package route

import (
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const (
	hangul    = 0xac00
	hangulEnd = 0xd7a4
)

// fold gives what a rune beyond ASCII becomes in a skeleton: decomposed by
// compatibility, lower case, without accents, slashes as backslashes. It is
// empty for a rune that stays. New calls loadFolds first.
func fold(r rune) string {
	if page := int(r >> 8); page < len(folds) && folds[page] != nil {
		return folds[page][r&0xff]
	}
	return ""
}

var folds [0x300]*[256]string

var loadFolds = sync.OnceFunc(func() {
	set := func(r rune, s string) {
		page := &folds[r>>8]
		if *page == nil {
			*page = new([256]string)
		}
		(*page)[r&0xff] = s
	}
	var one [4]byte
	for r := rune(0x80); r < 0x30000; r++ {
		switch r { // blocks where nothing folds
		case 0x3400:
			r = 0x4dc0
		case 0x4e00:
			r = 0xa000
		case hangul:
			r = 0xf900
		case 0x12000:
			r = 0x16e40
		case 0x17000:
			r = 0x1cc00
		case 0x20000:
			r = 0x2f800
		}
		b := append(one[:0], string(r)...)
		if norm.NFKD.IsNormal(b) && !unicode.IsUpper(r) && !unicode.IsMark(r) {
			continue
		}
		if s := foldDecomposed(norm.NFKD.String(string(r))); s != string(r) {
			set(r, s)
		}
	}
	for s, runes := range lookAlikes {
		for _, r := range runes {
			set(r, s)
		}
	}
	for _, t := range skipped {
		for r := t.from; r <= t.to; r++ {
			set(r, t.as)
		}
	}
})

func foldDecomposed(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '/' || strings.ContainsRune(lookAlikes[`\`], r):
			return '\\'
		case strings.ContainsRune(lookAlikes["."], r):
			return '.'
		case r >= 0x300 && r < 0x370:
			return gone
		}
		return unicode.ToLower(r)
	}, s)
}

// lookAlikes lists what best-fit mappings and IDNA make of runes that do not
// decompose to it.
var lookAlikes = map[string]string{
	`\`:  "\u2044\u2215\u2216\u2571\u29f5\u29f8\u29f9",
	".":  "\u3002",
	"i":  "\u0131",
	"d":  "\u0111\u0110",
	"o":  "\u00f8\u00d8",
	"l":  "\u0142\u0141",
	"ss": "\u00df\u1e9e",
	"ae": "\u00e6\u00c6",
}

// skipped lists what nobody sees, what ends a line and what is only space.
var skipped = []struct {
	from, to rune
	as       string
}{
	{0x80, 0x9f, string(rune(stop))}, {0x2028, 0x2029, string(rune(stop))}, {0x1680, 0x1680, " "},
	{0xad, 0xad, string(rune(gone))}, {0x300, 0x36f, string(rune(gone))}, {0x61c, 0x61c, string(rune(gone))},
	{0x180e, 0x180e, string(rune(gone))}, {0x200b, 0x200f, string(rune(gone))}, {0x202a, 0x202e, string(rune(gone))},
	{0x2060, 0x2064, string(rune(gone))}, {0xfe00, 0xfe0f, string(rune(gone))}, {0xfeff, 0xfeff, string(rune(gone))},
}
