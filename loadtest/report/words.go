package report

import (
	"math"
	"strconv"
	"strings"
)

// between a number and its unit no line is broken.
const thin = "\u00a0"

// count writes a whole number in groups of three: 80,000.
func count(n int64) string { return group(strconv.FormatInt(n, 10)) }

// number writes one with at most two decimals.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	s := strconv.FormatFloat(v, 'f', 2, 64)
	if v != 0 && math.Abs(v) < .005 {
		s = strconv.FormatFloat(v, 'g', 2, 64)
	}
	whole, part, _ := strings.Cut(s, ".")
	switch part = strings.TrimRight(part, "0"); {
	case strings.Contains(s, "e"):
		return s
	case part != "":
		return group(whole) + "." + part
	case whole == "-0":
		return "0"
	}
	return group(whole)
}

func group(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// plural is a number with its noun.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1" + thin + one
	}
	return count(n) + thin + many
}

// people is a number of them.
func people(n int64) string { return plural(n, "person", "people") }

// was is were for all but one.
func was(n int64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// span says how long so many milliseconds are: 0.4 ms, 340 ms, 1.2 s, 1 min 32 s,
// 1 h 2 min.
func span(ms float64) string {
	round := func(v float64, decimals int) string {
		s := strconv.FormatFloat(v, 'f', decimals, 64)
		if decimals > 0 {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
	switch {
	case ms < 0:
		return "-" + span(-ms)
	case ms == 0:
		return "0" + thin + "ms"
	case ms < .005:
		return "under 0.01" + thin + "ms"
	case ms < .95:
		return round(ms, 2) + thin + "ms"
	case ms < 9.95:
		return round(ms, 1) + thin + "ms"
	case ms < 999.5:
		return round(ms, 0) + thin + "ms"
	case ms < 59_950:
		return round(ms/1000, 1) + thin + "s"
	}
	s := int64(math.Round(ms / 1000))
	two := func(n int64, unit string, m int64, smaller string) string {
		out := count(n) + thin + unit
		if m > 0 {
			out += " " + count(m) + thin + smaller
		}
		return out
	}
	if s < 3600 {
		return two(s/60, "min", s%60, "s")
	}
	m := (s + 30) / 60
	return two(m/60, "h", m%60, "min")
}

// mark labels an axis of times.
func mark(ms float64) string {
	if ms == 0 {
		return "0"
	}
	return span(ms)
}

// percent is cut off and not rounded, so that only all is 100 %, and nothing but
// none is 0 %.
func percent(share float64) string {
	if share > 0 && share < .0001 {
		return "under 0.01" + thin + "%"
	}
	return number(math.Trunc(share*10000+1e-7)/100) + thin + "%"
}

// capital begins a sentence.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
