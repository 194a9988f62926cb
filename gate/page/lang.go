package page

// Lang picks the language of an Accept-Language header: the one we speak with
// the highest weight, of equals the first; English when there is none. It runs
// for every answer, so it reads the header once and allocates nothing, where a
// full matcher of language tags takes microseconds. What is lost is matching
// across languages (Norwegian and Danish), of which our three know none.
func (p *Page) Lang(acceptLanguage []byte) int { return matchLang(acceptLanguage) }

const maxLangRanges = 32 // a header with more was not written by a browser

func matchLang(s []byte) int {
	best, bestQ := 0, 0
	for range maxLangRanges {
		if len(s) == 0 {
			break
		}
		item := s
		for i, c := range s {
			if c == ',' {
				item = s[:i]
				break
			}
		}
		s = s[min(len(item)+1, len(s)):]
		for len(item) > 0 && (item[0] == ' ' || item[0] == '\t') {
			item = item[1:]
		}
		lang := primary(item)
		if lang < 0 {
			continue
		}
		if q := weight(item); q > bestQ {
			best, bestQ = lang, q
		}
	}
	return best
}

// primary returns the index of a range's first subtag, or -1.
func primary(item []byte) int {
	if len(item) < 2 || len(item) > 2 && item[2] != '-' && item[2] != ';' && item[2] != ' ' && item[2] != '_' && item[2] != '\t' {
		return -1
	}
	switch string([]byte{item[0] | 0x20, item[1] | 0x20}) {
	case "en":
		return 0
	case "ko":
		return 1
	case "ja":
		return 2
	}
	return -1
}

// weight returns a range's q in thousandths; without a readable one 1,000.
func weight(item []byte) int {
	for i := 1; i+1 < len(item); i++ {
		if item[i]|0x20 != 'q' || item[i+1] != '=' || !isBreak(item[i-1]) {
			continue
		}
		v := item[i+2:]
		if len(v) == 0 || v[0] != '0' {
			return 1000
		}
		q, unit := 0, 100
		for j := 2; j < len(v) && v[1] == '.' && v[j] >= '0' && v[j] <= '9'; j++ {
			q += int(v[j]-'0') * unit
			unit /= 10
		}
		return q
	}
	return 1000
}

func isBreak(c byte) bool { return c == ';' || c == ' ' || c == '\t' }
