package page

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// hole is a place in a document that differs between visitors, or between
// rooms where one document serves them all.
type hole uint8

const (
	holeNone hole = iota
	holeCut       // nothing; ends a piece where the text after it is shared by many documents
	holeTitle
	holePosition
	holeDigits
	holeWaiting
	holeAmong
	holeEstimate
	holeUpdated
	holeRefresh
	holeData
	holeStatus
	holeNextHTML
	holeNextJS
	holeNextURL
	holeMessage
	holeKeep
	numHoles
)

const defaultPollAfter = 10 * time.Second

func (p *Page) appendHole(dst []byte, h hole, v *View) []byte {
	l := v.Lang
	if uint(l) >= numLangs {
		l = 0
	}
	w := &words[l]
	switch h {
	case holeTitle:
		a, b := w.titleAround[0], w.titleAround[1]
		dst = append(dst, a...)
		dst = appendNumber(dst, v.Position)
		return append(dst, b...)
	case holePosition:
		if v.Position <= 0 {
			return append(dst, "–"...)
		}
		return appendNumber(dst, v.Position)
	case holeDigits:
		n := byte('1')
		for p := v.Position; p > 9 && n < '8'; p /= 10 {
			n++
		}
		return append(dst, n)
	case holeWaiting:
		return appendNumber(dst, v.Waiting)
	case holeAmong:
		if v.Waiting <= 0 {
			return dst
		}
		dst = append(dst, w.amongAround[0]...)
		dst = appendNumber(dst, v.Waiting)
		return append(dst, w.amongAround[1]...)
	case holeEstimate:
		return w.appendEstimate(dst, v.Low, v.High)
	case holeUpdated:
		return w.appendAgo(dst, int64(max(v.Age, 0)/time.Second))
	case holeRefresh:
		return strconv.AppendInt(dst, int64((v.pollAfter()+time.Second-1)/time.Second), 10)
	case holeData:
		return p.appendData(dst, v)
	case holeStatus:
		if v.Status <= 0 {
			return dst
		}
		return strconv.AppendInt(dst, int64(v.Status), 10)
	case holeNextHTML:
		return appendHTML(dst, v.next())
	case holeNextJS:
		return appendJSONText(dst, v.next())
	case holeNextURL:
		return appendQuery(dst, v.next())
	case holeMessage:
		return append(dst, p.text...)
	case holeKeep:
		return append(dst, p.keep[l]...)
	}
	return dst
}

func (v *View) pollAfter() time.Duration {
	if v.PollAfter <= 0 {
		return defaultPollAfter
	}
	return v.PollAfter
}

// next is a local path whatever the gate made of a Referer: a page that sends
// people elsewhere would be a present to phishers.
func (v *View) next() string {
	s := v.Next
	if s == "" || s[0] != '/' {
		return "/"
	}
	if len(s) > 1 && (s[1] == '/' || s[1] == '\\') {
		return "/"
	}
	for i := 0; i < len(s); i++ {
		// Browsers drop tabs and line ends before they look for "//".
		if s[i] < ' ' || s[i] == 0x7f {
			return "/"
		}
	}
	return s
}

var stateNames = [...]string{Waiting: "waiting", Full: "full", Closed: "closed", NotSent: "waiting", Unavailable: "unavailable", BadRequest: "refused"}

// appendData appends what the script starts with: the visitor API's answer of
// this moment, and what only the page knows.
func (p *Page) appendData(dst []byte, v *View) []byte {
	state := "waiting"
	if int(v.State) < len(stateNames) {
		state = stateNames[v.State]
	}
	dst = append(dst, `{"room":"`...)
	dst = append(dst, p.room...)
	dst = append(dst, `","state":"`...)
	dst = append(dst, state...)
	dst = append(dst, `","position":`...)
	if v.Position > 0 {
		dst = strconv.AppendInt(dst, v.Position, 10)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"waiting":`...)
	dst = strconv.AppendInt(dst, max(v.Waiting, 0), 10)
	dst = append(dst, `,"estimate_seconds":`...)
	if v.High > 0 {
		dst = append(dst, `{"low":`...)
		dst = strconv.AppendInt(dst, max(v.Low, 0), 10)
		dst = append(dst, `,"high":`...)
		dst = strconv.AppendInt(dst, v.High, 10)
		dst = append(dst, '}')
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"poll_after_seconds":`...)
	dst = appendSeconds(dst, v.pollAfter())
	dst = append(dst, `,"age_seconds":`...)
	dst = appendSeconds(dst, v.Age)
	dst = append(dst, `,"place":`...)
	place := v.HasPlace || v.State == Waiting || v.State == NotSent
	dst = strconv.AppendBool(dst, place)
	dst = append(dst, `,"next":"`...)
	if v.Next != "" || v.State == NotSent {
		dst = appendJSONText(dst, v.next())
	}
	return append(dst, `"}`...)
}

// appendSeconds appends d in seconds with one decimal, never rounded to 0.
func appendSeconds(dst []byte, d time.Duration) []byte {
	tenths := (max(int64(d), 0) + int64(100*time.Millisecond) - 1) / int64(100*time.Millisecond)
	dst = strconv.AppendInt(dst, tenths/10, 10)
	dst = append(dst, '.')
	return append(dst, byte('0'+tenths%10))
}

// appendNumber groups thousands by commas, as English, Korean and Japanese do.
func appendNumber(dst []byte, n int64) []byte {
	n = max(n, 0)
	at := len(dst)
	dst = strconv.AppendInt(dst, n, 10)
	for i := len(dst) - 3; i > at; i -= 3 {
		dst = append(dst, 0)
		copy(dst[i+1:], dst[i:])
		dst[i] = ','
	}
	return dst
}

func appendHTML(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '&':
			dst = append(dst, "&amp;"...)
		case '<':
			dst = append(dst, "&lt;"...)
		case '>':
			dst = append(dst, "&gt;"...)
		case '"':
			dst = append(dst, "&#34;"...)
		case '\'':
			dst = append(dst, "&#39;"...)
		case 0:
			dst = append(dst, "\uFFFD"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

const hex = "0123456789abcdef"

// appendJSONText appends s for the inside of a JSON or JavaScript string in a
// script element: nothing in it can end the string, the element or, in older
// JavaScript, the line.
func appendJSONText(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == '\'' || c == '`' || c == 0x7f {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, `\ufffd`...)
		case r == '\u2028':
			dst = append(dst, `\u2028`...)
		case r == '\u2029':
			dst = append(dst, `\u2029`...)
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return dst
}

// appendQuery appends s as a part of a URL's query.
func appendQuery(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return dst
}
