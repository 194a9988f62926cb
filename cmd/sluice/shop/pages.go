package shop

import (
	"bytes"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

//go:embed pages
var pageFS embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"percent": func(n, of int) int { return 100 * n / max(of, 1) },
}).ParseFS(pageFS, "pages/*.html"))

// render writes a whole page. It is made before the first byte leaves, so it has a
// length and never breaks off.
func render(w http.ResponseWriter, r *http.Request, status int, page string, data any) {
	var buf bytes.Buffer
	if err := pages.ExecuteTemplate(&buf, page, data); err != nil {
		panic(fmt.Sprintf("BUG: page %s: %v", page, err))
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(buf.Len()))
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(r.URL.Path, "/drop/") || r.URL.Path == "/pay" {
		h.Set("Cache-Control", "private, no-cache") // order forms and orders are one buyer's own
	}
	h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(buf.Bytes()) //nolint:errcheck // the visitor has gone
	}
}

// notice is a page that says one thing.
type notice struct {
	Title, Text string
}

// shelf is a lamp with what is left of it.
type shelf struct {
	lamp
	Left, Edition int
}

func (s *Shop) shelves() []shelf {
	left, edition := s.books.stock()
	out := make([]shelf, len(lamps))
	for i, l := range lamps {
		out[i] = shelf{l, left[i], edition[i]}
	}
	return out
}

type list struct {
	Shelves       []shelf
	Left, Edition int
}

func (s *Shop) list() list {
	left, edition := s.books.stock()
	return list{Shelves: s.shelves(), Left: sum(left), Edition: sum(edition)}
}

func (s *Shop) front(w http.ResponseWriter, r *http.Request) {
	render(w, r, http.StatusOK, "front", s.list())
}

func (s *Shop) drop(w http.ResponseWriter, r *http.Request) {
	render(w, r, http.StatusOK, "drop", s.list())
}

func (s *Shop) missing(w http.ResponseWriter, r *http.Request) {
	render(w, r, http.StatusNotFound, "notice", notice{
		Title: "Washed away",
		Text:  "There is nothing at this address. Perhaps there was, before the last tide.",
	})
}

// form is what the visitor sees and sent of an order form.
type form struct {
	Shelf   shelf
	Token   string
	Name    string
	Pieces  string
	Colour  string
	Most    int               // pieces that may be ordered now
	Choices []int             // 1 to Most
	Errors  map[string]string // field to what is wrong with it
}

func (s *Shop) form(i int) form {
	f := form{Shelf: s.shelves()[i], Pieces: "1", Token: rand.Text()}
	f.Colour = f.Shelf.Colours[0].ID
	f.Most = min(maxPieces, f.Shelf.Left)
	for n := 1; n <= f.Most; n++ {
		f.Choices = append(f.Choices, n)
	}
	return f
}

func (s *Shop) item(w http.ResponseWriter, r *http.Request) {
	_, i, ok := lampByID(r.PathValue("id"))
	if !ok {
		s.missing(w, r)
		return
	}
	render(w, r, http.StatusOK, "item", s.form(i))
}

// parseForm reads a small form and answers by itself when it cannot.
func (s *Shop) parseForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	err := r.ParseForm()
	if err == nil {
		return true
	}
	status := http.StatusBadRequest
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	render(w, r, status, "notice", notice{
		Title: "That did not arrive whole",
		Text:  "We could not read the form, so nothing was ordered. Please go back and try once more.",
	})
	return false
}

func (s *Shop) order(w http.ResponseWriter, r *http.Request) {
	if !s.parseForm(w, r) {
		return
	}
	l, i, ok := lampByID(r.PostForm.Get("item"))
	if !ok {
		render(w, r, http.StatusUnprocessableEntity, "notice", notice{
			Title: "Which lamp?",
			Text:  "The order did not say which lamp it is for, so nothing was ordered.",
		})
		return
	}
	f := s.form(i)
	f.Name = strings.TrimSpace(r.PostForm.Get("name"))
	f.Pieces = r.PostForm.Get("quantity")
	f.Colour = r.PostForm.Get("colour")
	wanted, errs := check(l, f)
	f.Errors = errs
	token := r.PostForm.Get("token")
	if len(token) < 16 || len(token) > 64 {
		f.Errors["form"] = "This form had lost its number. It has a new one now: please press the button again."
	}
	if len(f.Errors) > 0 {
		f.Colour = known(l, f.Colour)
		render(w, r, http.StatusUnprocessableEntity, "item", f)
		return
	}
	f.Token = token
	wanted.At = s.conf.Now()
	placed, left, err := s.books.place(token, wanted)
	if err != nil {
		f = s.refresh(f, i)
		f.Errors["quantity"] = fmt.Sprintf("Only %d left. Would fewer do?", left)
		if left == 0 {
			f.Errors["quantity"] = "The last one went while you were writing. Nothing was ordered."
		}
		render(w, r, http.StatusConflict, "item", f)
		return
	}
	redirect(w, "/drop/thanks/"+placed.ID)
}

// refresh brings the numbers of a form up to date and keeps what was written in it.
func (s *Shop) refresh(f form, i int) form {
	g := s.form(i)
	g.Token, g.Name, g.Pieces, g.Colour, g.Errors = f.Token, f.Name, f.Pieces, f.Colour, f.Errors
	return g
}

// check turns a form into an order, or says what is wrong field by field.
func check(l lamp, f form) (order, map[string]string) {
	errs := make(map[string]string)
	o := order{Lamp: l, Name: f.Name}
	switch {
	case f.Name == "":
		errs["name"] = "Please tell us whom the parcel is for."
	case !utf8.ValidString(f.Name) || strings.ContainsFunc(f.Name, unicode.IsControl):
		errs["name"] = "We cannot write this name on a label. Letters, spaces and marks are fine."
	case utf8.RuneCountInString(f.Name) > 60:
		errs["name"] = "The label takes 60 letters. Could you shorten it?"
	}
	n, err := strconv.Atoi(f.Pieces)
	switch {
	case err != nil || n < 1:
		errs["quantity"] = "Please choose how many."
	case n > maxPieces:
		errs["quantity"] = fmt.Sprintf("%d to a household, so that more of them find a home.", maxPieces)
	}
	o.Pieces = n
	for _, c := range l.Colours {
		if c.ID == f.Colour {
			o.Colour = c
		}
	}
	if o.Colour.ID == "" {
		errs["colour"] = "Please choose a colour."
	}
	return o, errs
}

// known is the colour itself when the lamp is made in it, else the first it is made in.
func known(l lamp, id string) string {
	for _, c := range l.Colours {
		if c.ID == id {
			return id
		}
	}
	return l.Colours[0].ID
}

type receipt struct {
	order
	Pay string
}

func (s *Shop) thanks(w http.ResponseWriter, r *http.Request) {
	o, ok := s.books.find(r.PathValue("order"))
	if !ok {
		s.missing(w, r)
		return
	}
	render(w, r, http.StatusOK, "thanks", receipt{o, s.payURL(r, o.ID)})
}

// payURL leads to the payment provider, with the address to come back to.
func (s *Shop) payURL(r *http.Request, id string) string {
	q := url.Values{"order": {id}}
	if strings.Contains(s.conf.PayURL, "://") {
		scheme := "http"
		if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
			scheme = "https"
		}
		q.Set("return", scheme+"://"+r.Host+"/drop/paid")
	}
	return s.conf.PayURL + "?" + q.Encode()
}

type bill struct {
	Order  string
	Return string
	Host   string // of Return; empty for the shop itself
}

// pay is the payment provider. It only knows what stands in its address.
func (s *Shop) pay(w http.ResponseWriter, r *http.Request) {
	b := bill{Order: r.FormValue("order"), Return: r.FormValue("return")}
	if b.Return == "" {
		b.Return = "/drop/paid"
	}
	back, err := url.Parse(b.Return)
	relative := err == nil && back.Scheme == "" && back.Host == ""
	web := err == nil && (back.Scheme == "http" || back.Scheme == "https") && back.Host != ""
	if b.Order == "" || back == nil || back.Path != "/drop/paid" || !relative && !web {
		render(w, r, http.StatusBadRequest, "notice", notice{
			Title: "No bill here",
			Text:  "The payment page was opened without an order to pay, or with an address that it does not send people to.",
		})
		return
	}
	b.Host = back.Host
	render(w, r, http.StatusOK, "pay", b)
}

// paid is where the provider sends the buyer, by a form of another site.
func (s *Shop) paid(w http.ResponseWriter, r *http.Request) {
	if !s.parseForm(w, r) {
		return
	}
	id := r.PostForm.Get("order")
	if _, ok := s.books.find(id); !ok {
		render(w, r, http.StatusNotFound, "notice", notice{
			Title: "We do not know this order",
			Text:  "The payment came back for an order that is not in our books.",
		})
		return
	}
	if r.PostForm.Get("result") == "paid" {
		s.books.pay(id)
	}
	redirect(w, "/drop/thanks/"+id)
}

// redirect has the next page fetched by GET, so that a reload sends nothing twice.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusSeeOther)
}

// Live is what /drop/live and /office/live answer.
type Live struct {
	At       time.Time       `json:"at"`
	Visitors int             `json:"visitors"`            // served in the last full second
	Requests int             `json:"requests_per_second"` // in the last full second
	Slowest  float64         `json:"slowest_seconds"`     // of the last full second
	Busy     int             `json:"busy"`                // pages being made now
	Capacity int             `json:"capacity"`            // 0 means no limit
	Stock    int             `json:"stock"`
	Edition  int             `json:"edition"`
	Orders   int             `json:"orders"`
	Latest   []Sale          `json:"latest"`  // orders, the newest first
	Lamps    []Left          `json:"lamps"`   // stock, lamp by lamp
	History  [history]second `json:"history"` // the last minute, the latest second at its end
}

// SlowestMS is Slowest in milliseconds.
func (l Live) SlowestMS() float64 { return l.Slowest * 1000 }

// Sale is an order as the back office shows it.
type Sale struct {
	Number int       `json:"number"`
	Name   string    `json:"name"`
	Pieces int       `json:"pieces"`
	Lamp   string    `json:"lamp"`
	Colour string    `json:"colour"`
	Paid   bool      `json:"paid"`
	At     time.Time `json:"at"`
}

// Left is what is left of a lamp.
type Left struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Left    int    `json:"left"`
	Edition int    `json:"edition"`
}

// Live gives the shop's numbers.
func (s *Shop) Live() Live {
	now := s.conf.Now()
	past := s.meter.read(now)
	last := past[history-1]
	l := Live{
		At: now.UTC(), Visitors: last.Visitors, Requests: last.Requests, Slowest: last.Slowest,
		Busy: int(s.meter.busy.Load()), Capacity: s.conf.Capacity, History: past, Latest: []Sale{},
	}
	for _, sh := range s.shelves() {
		l.Stock += sh.Left
		l.Edition += sh.Edition
		l.Lamps = append(l.Lamps, Left{sh.ID, sh.Name, sh.Left, sh.Edition})
	}
	latest, n := s.books.latest(12)
	l.Orders = n
	for _, o := range latest {
		l.Latest = append(l.Latest, Sale{o.Number, o.Name, o.Pieces, o.Lamp.Name, o.Colour.Name, o.Paid, o.At.UTC()})
	}
	return l
}

func (s *Shop) live(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(s.Live())
	if err != nil {
		panic(fmt.Sprintf("BUG: live numbers: %v", err))
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	if r.Method != http.MethodHead {
		w.Write(body) //nolint:errcheck // the visitor has gone
	}
}

func (s *Shop) office(w http.ResponseWriter, r *http.Request) {
	l := s.Live()
	render(w, r, http.StatusOK, "office", struct {
		Live
		Chart chart
	}{l, plot(l.History)})
}

func (s *Shop) restock(w http.ResponseWriter, r *http.Request) {
	s.books.restock()
	redirect(w, "/office")
}

func (s *Shop) health(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", "3")
	h.Set("Cache-Control", "no-store")
	if r.Method != http.MethodHead {
		w.Write([]byte("ok\n")) //nolint:errcheck // the visitor has gone
	}
}

// chart is the back office's picture of a minute, 600 wide and 160 high. The
// page's script draws the same from the same numbers.
type chart struct {
	Area, Line string // values of d
	Top        int    // requests per second at the upper edge
}

func plot(past [history]second) chart {
	c := chart{Top: 10}
	for _, p := range past {
		for p.Requests > c.Top {
			c.Top *= 2
		}
	}
	var line strings.Builder
	for i, p := range past {
		verb := "L"
		if i == 0 {
			verb = "M"
		}
		fmt.Fprintf(&line, "%s%.1f %.1f", verb, float64(i)*600/(history-1), 160-150*float64(p.Requests)/float64(c.Top))
	}
	c.Line = line.String()
	c.Area = c.Line + "L600 160L0 160Z"
	return c
}
