// Package shop is the shop of `sluice demo`: Tidewater, who make lamps and
// sell a numbered edition of six. It is a plain net/http handler with
// everything embedded, and knows nothing of the gate in front of it.
//
//	/                       the shop's front, for everybody
//	/drop                   the edition: what a gate protects
//	/drop/item/{id}         one lamp and its order form
//	/drop/order             POST: item, name, quantity, colour, token; 303 to
//	/drop/thanks/{order}    the order
//	/drop/paid              POST: order, result; where a payment provider sends the buyer back
//	/drop/live              the shop's numbers as JSON
//	/drop/assets/{file}     pictures, as the pages of the drop ask for them
//	/pay?order=ID           the payment provider, which may stand on another host
//	/assets/{file}          pictures and styles for everybody
//	/office, /office/live   the back office: does the shop stay calm?
//	/office/restock         POST: the edition is full again
//	/healthz                200 while the process lives
//
// Pages need no script. Answers carry a length, pages are revalidated, pictures
// have an entity tag, GET and HEAD agree.
package shop

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// DefaultStock is the size of the edition when Config names none.
const DefaultStock = 600

// Config says how big the shop is and how much it bears.
type Config struct {
	Stock    int              // pieces in the edition, shared evenly by the six lamps; 0 means DefaultStock
	Now      func() time.Time // the shop's clock; nil means time.Now
	Think    time.Duration    // how long a page takes to make; 0 means no time
	Capacity int              // pages made at once before each takes longer; 0 means no limit
	PayURL   string           // the payment provider's page; empty means /pay of this shop
}

// Shop is an http.Handler. Its methods may be called from any goroutine.
type Shop struct {
	conf  Config
	mux   *http.ServeMux
	files map[string]asset
	books books
	meter meter
}

// New opens a shop with a full edition and no orders.
func New(c Config) *Shop {
	if c.Stock <= 0 {
		c.Stock = DefaultStock
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.PayURL == "" {
		c.PayURL = "/pay"
	}
	s := &Shop{conf: c, mux: http.NewServeMux(), files: assets()}
	s.books.open(c.Stock)
	s.routes()
	return s
}

func (s *Shop) routes() {
	get := func(pattern string, h http.HandlerFunc) {
		s.mux.Handle(pattern, methods(h, http.MethodGet, http.MethodHead))
	}
	post := func(pattern string, h http.HandlerFunc) { s.mux.Handle(pattern, methods(h, http.MethodPost)) }

	get("/{$}", s.made(s.front))
	get("/drop", s.made(s.drop))
	get("/drop/item/{id}", s.made(s.item))
	post("/drop/order", s.made(s.order))
	get("/drop/thanks/{order}", s.made(s.thanks))
	post("/drop/paid", s.made(s.paid))
	get("/pay", s.pay)

	get("/assets/{file}", s.counted(s.asset))
	get("/drop/assets/{file}", s.counted(s.asset))

	get("/office", s.office)
	get("/office/live", s.live)
	get("/drop/live", s.live)
	post("/office/restock", s.restock)
	get("/healthz", s.health)

	s.mux.HandleFunc("/", s.made(s.missing))
}

// ServeHTTP answers one request.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// methods answers everything but the methods allowed with 405, and OPTIONS
// with what is allowed. A method in the mux's own patterns would fall through to
// the page for unknown addresses instead.
func methods(h http.HandlerFunc, allowed ...string) http.Handler {
	allow := strings.Join(allowed, ", ") + ", OPTIONS"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, m := range allowed {
			if r.Method == m {
				h(w, r)
				return
			}
		}
		w.Header().Set("Allow", allow)
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		render(w, r, http.StatusMethodNotAllowed, "notice", notice{
			Title: "Not that way",
			Text:  "This address takes orders from a form and has nothing to show by itself. Nothing was ordered.",
		})
	})
}

// counted lets the back office see the request.
func (s *Shop) counted(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := s.conf.Now()
		h(w, r)
		now := s.conf.Now()
		s.meter.served(now, now.Sub(began), visitor(r))
	}
}

// made is counted for what takes the shop time to make. Beyond its capacity a
// page takes longer by as much as too many are being made, as in a shop whose
// processors are shared by all of them.
func (s *Shop) made(h http.HandlerFunc) http.HandlerFunc {
	return s.counted(func(w http.ResponseWriter, r *http.Request) {
		busy := s.meter.busy.Add(1)
		defer s.meter.busy.Add(-1)
		if !pause(r.Context(), pace(s.conf.Think, int(busy), s.conf.Capacity)) {
			return // the visitor has gone
		}
		h(w, r)
	})
}

// pace is how long a page takes that is made as one of busy.
func pace(think time.Duration, busy, capacity int) time.Duration {
	if capacity <= 0 || busy <= capacity {
		return think
	}
	return think * time.Duration(busy) / time.Duration(capacity)
}

// pause waits for d and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// visitor tells visitors apart for counting only: by the name the gate gives an
// admission, else by address.
func visitor(r *http.Request) string {
	if v := r.Header.Get("Sluice-Visitor"); v != "" {
		return v
	}
	if v := r.Header.Get("X-Forwarded-For"); v != "" {
		return v
	}
	host := r.RemoteAddr
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return host
}
