package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
)

// Fields is what a template is executed with. Those marked * are filled in
// for each visitor later: they can be printed, and nothing else.
type Fields struct {
	Lang    string // en, ko or ja
	Room    string
	Message string // of the operator, "" for none
	Moment  string // waiting, next, unknown, full, closed, kept, unavailable, unsure, unsent, refused, missing, large, long or crammed
	InLine  bool   // has a place, so .Position and .Estimate say something
	NotSent bool   // the request was a form or the like: say that nothing was sent or ordered

	Title     string // *for the title element: the position, where known
	Heading   string // what is going on
	Lead      string // what to do
	Position  string // *with grouped thousands, or a dash
	Digits    string // *how many digits the position has, 1 to 8, to choose a size by in a style sheet
	Waiting   string // *how many wait in all, a number with grouped thousands
	Among     string // *the same as a phrase, empty when unknown
	Estimate  string // *a range in words, or that it is not known yet
	Updated   string // *how old the numbers are, in words
	Next      string // *where a request that must not be repeated goes on to, a local path
	Status    string // *status of a refusal or of an origin that does not answer
	KeepPlace string // *how to come back after closing the page, a sentence
	Words     Words  // our texts in the language

	Refresh template.HTML // meta refresh for visitors without JavaScript, for the head
	Script  template.HTML // our script and its data, for the end of the body
	Style   template.CSS  // our style sheet
}

// doc is a document as pieces: text, hole, text, hole, ..., text.
type doc struct {
	parts []part
}

type part struct {
	text string
	zip  string // the text as deflate blocks, up to the length of the stored block of the hole that follows
	crc  uint32 // of the text
	far  [32]uint32
	hole hole // what follows the text; holeNone after the last
}

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

var (
	style  = squeeze(pageCSS)
	script = squeeze(pageJS)

	// policy is the Content-Security-Policy of our own page. It allows what the page
	// itself is made of and nothing else, and says nothing about frames: shops do
	// frame themselves.
	policy = "default-src 'none'; script-src '" + hash(script) + "'; style-src '" + hash(style) +
		"'; worker-src blob:; child-src blob:; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
)

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// squeeze leaves out indentation, empty lines and lines that are comments.
func squeeze(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "//") || strings.HasPrefix(line, "/*") && strings.HasSuffix(line, "*/") {
			continue
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

// render executes a template for every language and moment.
func render(t *template.Template, c Config) (*docs, error) {
	var out docs
	pack := newPacker()
	for l := range words {
		for m := range numMoments {
			for flag := range 2 {
				if flag == 1 && !m.polls() && m != momentUnavailable {
					out[l][m][1] = out[l][m][0]
					continue
				}
				d, err := renderOne(t, c, l, m, flag == 1, pack)
				if err != nil {
					return nil, err
				}
				out[l][m][flag] = d
			}
		}
	}
	return &out, nil
}

func renderOne(t *template.Template, c Config, lang int, m moment, flag bool, pack *packer) (*doc, error) {
	w := &words[lang]
	name := momentNames[m]
	f := Fields{
		Lang:    w.Lang,
		Room:    c.Room,
		Message: c.Message,
		Moment:  name,
		InLine:  m.inLine(),
		NotSent: flag && m.polls(),

		Title:     w.Heading[name],
		Heading:   w.Heading[name],
		Lead:      w.Lead[name],
		Position:  marker(holePosition),
		Digits:    marker(holeDigits),
		Waiting:   marker(holeWaiting),
		Among:     marker(holeAmong),
		Estimate:  marker(holeEstimate),
		Updated:   marker(holeUpdated),
		Next:      markerNext,
		Status:    marker(holeStatus),
		KeepPlace: marker(holeKeep),
		Words:     *w,
		Style:     template.CSS(marker(holeCut) + style + marker(holeCut)),
	}
	if m == momentWaiting {
		f.Title = marker(holeTitle)
	}
	if m == momentUnavailable && flag {
		f.Lead = w.LeadWithPass
	}
	if m.goesOn() {
		url := ""
		if f.NotSent {
			url = ";url=" + marker(holeNextHTML)
		}
		f.Refresh = template.HTML(`<noscript><meta http-equiv="refresh" content="` + marker(holeRefresh) + url + `"></noscript>`)
		// The data block is not code, so the policy's hash is that of the
		// script alone and holds for every visitor.
		f.Script = template.HTML(`<script type="application/json" id="sluice-data">{"view":` + marker(holeData) +
			`,"words":` + w.json() + "}</script>\n<script>" + script + "</script>")
	}
	var b bytes.Buffer
	if err := t.Execute(&b, &f); err != nil {
		return nil, err
	}
	d, err := cut(b.String(), pack)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name(), err)
	}
	if m.polls() && !d.has(holeData) && !d.has(holeRefresh) {
		return nil, fmt.Errorf("%s: %w", t.Name(), errStranded)
	}
	return d, nil
}

// json is the texts that the script needs, safe inside a script element.
func (w *Words) json() string {
	b, err := json.Marshal(w) // escapes <, >, & and U+2028, U+2029
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(b)
}

// A marker stands for a hole while a template is executed. Letters and digits
// come through every escaper of html/template unchanged.
const (
	markerHead = "SluiceHole"
	markerTail = "Z"
)

func marker(h hole) string { return markerHead + string('a'+rune(h)) + markerTail }

// A path needs another escaping in each context. Its marker has an ampersand,
// which html/template turns into the spelling of the context it stands in.
var markerNext = markerHead + string('a'+rune(holeNextHTML)) + "&" + markerTail

var nextIn = []struct {
	spelling string
	hole     hole
}{
	{"&amp;" + markerTail, holeNextHTML},
	{`\u0026` + markerTail, holeNextJS},
	{"%26" + markerTail, holeNextURL},
	{markerTail, 0},
}

// cut turns a document with markers into pieces.
func cut(s string, pack *packer) (*doc, error) {
	d := &doc{}
	line := 1
	for {
		text, rest, found := strings.Cut(s, markerHead)
		line += strings.Count(text, "\n")
		if !found {
			d.parts = append(d.parts, pack.part(text, holeNone))
			return d, nil
		}
		h := holeNone
		if rest != "" && rest[0] > 'a' && rest[0] < 'a'+byte(numHoles) {
			for _, n := range nextIn {
				if after, ok := strings.CutPrefix(rest[1:], n.spelling); ok {
					h, s = hole(rest[0]-'a'), after
					if n.hole != 0 {
						h = n.hole
					}
					break
				}
			}
		}
		if h == holeNone {
			return nil, fmt.Errorf("line %d of the result: one of the visitor's values was cut, changed or used where it cannot stand; print it as it is, in text or in a quoted attribute", line)
		}
		d.parts = append(d.parts, pack.part(text, h))
	}
}

func (d *doc) has(h hole) bool {
	for i := range d.parts {
		if d.parts[i].hole == h {
			return true
		}
	}
	return false
}
