// Package admin answers on the listener of operators: health, metrics, and the
// API that shows rooms and changes their settings while an event runs.
//
//	GET        /healthz               the process runs; no token needed
//	GET        /readyz                503 before the listeners are up and from the start of a stop; no token needed
//	GET        /metrics               for Prometheus; no token needed
//	GET        /api/v1/rooms          every room
//	GET, PATCH /api/v1/rooms/{room}   one room; a JSON merge patch (RFC 7396) of its live settings
//	POST       /api/v1/reload         read the configuration again, at this gate only
//
// On loopback whoever reaches the listener may do everything, so requests that
// a web page made the operator's browser send are refused. Anywhere else the API
// wants a bearer token: a viewer may look, an operator may change.
//
// Errors are problem details (RFC 9457).
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// Rooms is the gate's side of the API. Its methods may be called from any
// goroutine.
type Rooms interface {
	// Names lists the rooms in the order of the configuration.
	Names() []string
	// Room tells how a room stands, by what this gate heard last. It does not wait.
	Room(name string) (Room, bool)
	// Change applies a merge patch and returns the room as it is then. A version in it is
	// the one that the overrides must have, else it is queue.ErrConflict. A nil value
	// resets a key; the others are what queue.Settings.Set takes. It is all or
	// nothing. An error is made of queue.Problem values where the patch is to
	// blame, and wraps ErrUnknownRoom, queue.ErrConflict or queue.ErrUnavailable
	// otherwise; after the last the change may have been made all the same.
	Change(ctx context.Context, name, by string, patch map[string]any) (Room, error)
}

// ErrUnknownRoom is what Change returns for a room that is no longer there.
var ErrUnknownRoom = errors.New("admin: unknown room")

// Room is how a room stands.
type Room struct {
	Name      string
	Settings  queue.Settings  // in force
	File      queue.Settings  // without the overrides
	Overrides queue.Overrides // in force
	Snapshot  queue.Snapshot
	Age       time.Duration // of the snapshot; negative: never heard from the store
}

// Config is what a handler works with. Rooms, Metrics and Ready must be set.
type Config struct {
	Rooms    Rooms
	Metrics  http.Handler
	Ready    func() error                // nil: ready; else why not
	Reload   func(context.Context) error // nil: there is nothing to reload
	Tokens   []Token                     // none: off loopback the API is shut
	Loopback bool                        // the listener is on loopback, see IsLoopback
	Audit    *slog.Logger                // gets every change; nil: nobody does
	Log      *slog.Logger                // nil: nothing is logged
}

// Token lets its bearer in.
type Token struct {
	Name string   // stands in the audit log and beside every override
	Role string   // "operator" may change; anything else may look
	Hash [32]byte // SHA-256 of the token
}

// New returns the handler of the admin listener. It is cheap: make a new one
// when the tokens change.
func New(c Config) http.Handler {
	if c.Audit == nil {
		c.Audit = slog.New(slog.DiscardHandler)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{Config: c}
}

// Server returns a server for the admin listener whose limits suit it. Slow
// and idle clients are cut off; a scrape or a reload has half a minute.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      reloadTimeout + 10*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	if log != nil {
		s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	}
	return s
}

const (
	changeTimeout = 5 * time.Second
	reloadTimeout = 30 * time.Second
	maxBody       = 64 << 10
)

type handler struct {
	Config
	denied throttle
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")

	switch r.URL.Path {
	case "/healthz":
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			plain(w, http.StatusOK, "ok")
		}
		return
	case "/readyz":
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			h.ready(w)
		}
		return
	}
	if h.Loopback {
		if why := foreign(r); why != "" {
			h.deny(r, why)
			problem{Status: http.StatusForbidden, Detail: why}.write(w)
			return
		}
	}
	switch {
	case r.URL.Path == "/metrics":
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			h.Metrics.ServeHTTP(w, r)
		}
	case strings.HasPrefix(r.URL.Path, "/api/"):
		h.api(w, r)
	default:
		notFound(w)
	}
}

func (h *handler) ready(w http.ResponseWriter) {
	if err := h.Ready(); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	plain(w, http.StatusOK, "ok")
}

func (h *handler) api(w http.ResponseWriter, r *http.Request) {
	who, p := h.who(r)
	if p.Status != 0 {
		h.deny(r, p.Detail)
		if p.Status == http.StatusUnauthorized {
			challenge := `Bearer realm="sluice"`
			if r.Header.Get("Authorization") != "" {
				challenge += `, error="invalid_token"`
			}
			w.Header().Set("WWW-Authenticate", challenge)
		}
		p.write(w)
		return
	}
	operator := func() bool {
		if who.operator {
			return true
		}
		h.deny(r, "not an operator: "+who.name)
		w.Header().Set("WWW-Authenticate", `Bearer realm="sluice", error="insufficient_scope"`)
		problem{Status: http.StatusForbidden, Detail: "the token " + who.name + " may look, not change: its role is not operator"}.write(w)
		return false
	}
	path := strings.TrimPrefix(r.URL.Path, "/api/v1")
	name, isRoom := strings.CutPrefix(path, "/rooms/")
	switch {
	case path == "/rooms":
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			h.list(w)
		}
	case path == "/reload":
		if allowed(w, r, http.MethodPost) && operator() {
			h.reload(w, r, who)
		}
	case isRoom:
		room, ok := h.Rooms.Room(name)
		switch {
		case !ok:
			unknownRoom(w, name)
		case !allowed(w, r, http.MethodGet, http.MethodHead, http.MethodPatch):
		case r.Method != http.MethodPatch:
			writeJSON(w, http.StatusOK, "application/json", answer(room, time.Now()))
		case operator():
			h.patch(w, r, room, who)
		}
	default:
		notFound(w)
	}
}

func (h *handler) list(w http.ResponseWriter) {
	now := time.Now()
	list := struct {
		Rooms []roomAnswer `json:"rooms"`
	}{[]roomAnswer{}}
	for _, name := range h.Rooms.Names() {
		if room, ok := h.Rooms.Room(name); ok {
			list.Rooms = append(list.Rooms, answer(room, now))
		}
	}
	writeJSON(w, http.StatusOK, "application/json", list)
}

func (h *handler) reload(w http.ResponseWriter, r *http.Request, who actor) {
	if h.Reload == nil {
		problem{Status: http.StatusConflict, Detail: "this gate was started without a configuration file"}.write(w)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), reloadTimeout)
	defer cancel()
	audit := h.Audit.With("by", who.name, "remote", r.RemoteAddr)
	if err := h.Reload(ctx); err != nil {
		audit.Warn("reload refused", "err", err)
		p := problem{Status: http.StatusUnprocessableEntity, Detail: "the configuration was refused; the old one stays in force"}
		for _, err := range leaves(err) {
			p.Errors = append(p.Errors, keyError{Detail: err.Error()})
		}
		p.write(w)
		return
	}
	audit.Info("configuration reloaded")
	w.WriteHeader(http.StatusNoContent)
}

// deny logs a refused request, at most one a second.
func (h *handler) deny(r *http.Request, why string) {
	if dropped, ok := h.denied.allow(time.Now()); ok {
		h.Log.Warn("admin request refused", "why", why, "remote", r.RemoteAddr, "method", r.Method, "path", r.URL.Path, "not_logged", dropped)
	}
}

// throttle lets one thing a second through and counts the others.
type throttle struct {
	mu      sync.Mutex
	last    time.Time
	dropped int
}

func (t *throttle) allow(now time.Time) (dropped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.last) < time.Second {
		t.dropped++
		return 0, false
	}
	dropped, t.dropped, t.last = t.dropped, 0, now
	return dropped, true
}

// allowed answers 405 unless the method is one of those.
func allowed(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	list := strings.Join(methods, ", ")
	w.Header().Set("Allow", list)
	problem{Status: http.StatusMethodNotAllowed, Detail: r.Method + " is not one of " + list}.write(w)
	return false
}

func notFound(w http.ResponseWriter) {
	problem{Status: http.StatusNotFound, Detail: "there is nothing here; the rooms are at /api/v1/rooms"}.write(w)
}

func unknownRoom(w http.ResponseWriter, name string) {
	problem{Status: http.StatusNotFound, Detail: "there is no room " + quote(name)}.write(w)
}
