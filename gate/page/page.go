// Package page makes the page that a waiting visitor looks at, and the plain
// pages that say why a request was not answered by the site.
//
// A page is one HTML document with nothing to fetch: it stands at the address
// that was asked for, tells the position and an honest range for the wait,
// asks the visitor API again by itself, and goes on when the turn comes.
// Without JavaScript a meta refresh does the same. New renders it once for
// every language and every moment a visitor can be in, and cuts it at the few
// places that differ between visitors. Append and AppendGzip only join the
// pieces: nothing is rendered, escaped or compressed per request but the
// visitor's own numbers.
//
// # An operator's own page
//
// Config.Template names an html/template file that replaces ours for every
// state and language. It is executed with [Fields] when New is called, so
// conditions on .Moment, .NotSent, .Lang and .Message work as usual, while the
// visitor's numbers (.Position, .Digits, .Waiting, .Estimate, .Updated, .Title,
// .Next, .Status) are places to be filled in later: print them, do not compare,
// cut or count them. A minimal template:
//
//	<!doctype html>
//	<html lang="{{.Lang}}">
//	<head><meta charset="utf-8"><title>{{.Title}}</title>{{.Refresh}}</head>
//	<body>
//	<h1 data-sluice="heading">{{.Heading}}</h1>
//	<p data-sluice="lead">{{.Lead}}</p>
//	{{if .NotSent}}<p>{{.Words.NotSent}} {{.Words.NotSentMore}}</p>{{end}}
//	{{if .InLine}}
//	<p>{{.Words.Position}} <b data-sluice="position">{{.Position}}</b></p>
//	<p>{{.Words.Estimate}} <b data-sluice="estimate">{{.Estimate}}</b></p>
//	{{end}}
//	<p data-sluice="alert"></p>
//	<p><a data-sluice="link"></a></p>
//	<p data-sluice="message">{{.Message}}</p>
//	{{.Script}}
//	</body>
//	</html>
//
// .Script is our script with its data. It writes into whatever elements carry
// one of these names in data-sluice, as text: heading, lead, position, among,
// estimate, updated, message, alert (trouble that came up), live (news for
// screen readers: give it role="status"), site, and link, an a element that is
// filled when there is something for the visitor to do. It sets the attribute
// data-moment of the html element to the current moment, and the class lost
// while there is no connection, for style sheets. .Refresh is the meta refresh for visitors
// without JavaScript. A template whose waiting page has neither of the two
// would leave everybody waiting for ever, and is refused.
package page

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"os"
	"sync"
	"time"
)

// State of the visitor the page is shown to.
type State uint8

const (
	Waiting     State = iota // has a place
	Full                     // max_waiting reached, no place given
	Closed                   // room is closed; a place is kept if View.HasPlace
	NotSent                  // has a place, and asked with another method than GET or HEAD: nothing was sent; goes on to View.Next
	Unavailable              // the origin does not answer; retries by itself
	BadRequest               // refused by the gate, in plain words
)

// View is what one answer shows.
type View struct {
	State State
	Lang  int // index from Page.Lang

	// HasPlace tells of a Closed room that the visitor's place is kept, and of
	// an Unavailable origin that the visitor holds a pass. Waiting and NotSent
	// always have a place.
	HasPlace bool

	Position  int64         // 0: unknown
	Waiting   int64         // 0: unknown
	Low, High int64         // estimate in seconds; High 0: unknown
	PollAfter time.Duration // when to ask again; 0: after ten seconds
	Age       time.Duration // how old the numbers are

	// Next is where to go on to instead of asking for the same address again:
	// a local path. It must be set whenever the request was not a GET or HEAD,
	// in every state, so that the page never repeats it. NotSent without a
	// Next goes on to "/".
	Next string

	// Unsent says of an Unavailable origin that the request did not reach it: where
	// there is a Next, nothing was sent or ordered.
	Unsent bool

	Status int // for Unavailable and BadRequest, shown in small print
}

// Config says whose page it is.
type Config struct {
	Room      string        // name of the room
	Message   string        // operator's message, plain text, may be empty
	Template  string        // path of the operator's own template, "" for ours
	KeepPlace time.Duration // how long an absent visitor's place is kept; 0: the page says "soon"
}

// Page is the compiled page of one room. It is immutable and may be used by
// many goroutines at once.
type Page struct {
	docs  *docs
	own   *template.Template // nil: ours
	room  string             // JSON string, without the quotes
	keep  [numLangs]string   // HTML
	text  string             // the operator's message, HTML
	plain Config

	header, gzipHeader [numLangs]string
}

//go:embed page.html
var pageHTML string

// New compiles the page of a room. The error of a bad template names the file,
// the line and the reason.
func New(c Config) (*Page, error) {
	if c.Template == "" {
		return fill(ours(), nil, c), nil
	}
	text, err := os.ReadFile(c.Template)
	if err != nil {
		return nil, fmt.Errorf("page template: %w", err)
	}
	t, err := template.New(c.Template).Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("page template: %w", err)
	}
	d, err := render(t, c)
	if err != nil {
		return nil, fmt.Errorf("page template: %w", err)
	}
	return fill(d, t, c), nil
}

// WithMessage returns the same page with another message of the operator. It
// reads no file: an operator's template is the one that New read. For our own
// page it costs next to nothing; for a template it costs as much as New.
func (p *Page) WithMessage(message string) (*Page, error) {
	c := p.plain
	c.Message = message
	if p.own == nil {
		return fill(p.docs, nil, c), nil
	}
	d, err := render(p.own, c)
	if err != nil {
		return nil, fmt.Errorf("page template: %w", err)
	}
	return fill(d, p.own, c), nil
}

// ours is our own page. It has holes for all that Config says, so one copy
// serves every room.
var ours = sync.OnceValue(func() *docs {
	d, err := render(template.Must(template.New("page.html").Parse(pageHTML)), Config{Message: marker(holeMessage)})
	if err != nil {
		panic("BUG: page.html: " + err.Error())
	}
	return d
})

func fill(d *docs, own *template.Template, c Config) *Page {
	p := &Page{docs: d, own: own, plain: c}
	p.room = string(appendJSONText(nil, c.Room))
	p.text = string(appendHTML(nil, c.Message))
	for i := range p.keep {
		p.keep[i] = string(appendHTML(nil, words[i].keepNote(c.KeepPlace)))
		p.header[i] = p.headerLines(words[i].Lang)
		p.gzipHeader[i] = "Content-Encoding: gzip\r\n" + p.header[i]
	}
	return p
}

// Append appends the whole HTML document for v to dst. It does not allocate
// when dst has room.
func (p *Page) Append(dst []byte, v *View) []byte {
	for i, parts := 0, p.doc(v).parts; i < len(parts); i++ {
		dst = append(dst, parts[i].text...)
		dst = p.appendHole(dst, parts[i].hole, v)
	}
	return dst
}

// Header is the lines, without an end to the last, of what is to be said beside the
// type of a page in a language, as it is or compressed.
func (p *Page) Header(lang int, gzip bool) string {
	if uint(lang) >= numLangs {
		lang = 0
	}
	if gzip {
		return p.gzipHeader[lang]
	}
	return p.header[lang]
}

func (p *Page) headerLines(lang string) string {
	lines := "Content-Language: " + lang + "\r\nX-Content-Type-Options: nosniff\r\nX-Robots-Tag: noindex\r\nReferrer-Policy: same-origin"
	if p.own == nil { // only the author of a template knows what it needs
		lines += "\r\nContent-Security-Policy: " + policy
	}
	return lines
}

var errStranded = errors.New("has neither {{.Script}} nor {{.Refresh}}, so nobody would ever leave the waiting page")
