package admin_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicegate/sluice/gate/admin"
	"github.com/sluicegate/sluice/gate/admin/admintest"
	"github.com/sluicegate/sluice/queue"
)

// site is an admin listener with two rooms behind it.
type site struct {
	t      *testing.T
	rooms  *admintest.Rooms
	config admin.Config
	audit  bytes.Buffer
	log    bytes.Buffer
}

const (
	viewer   = "the-viewers-token"
	operator = "the-operators-token"
)

func newSite(t *testing.T) *site {
	s := &site{t: t, rooms: new(admintest.Rooms)}
	file := queue.Defaults()
	file.Rate, file.MaxActive = queue.Rate{N: 600, Per: queue.PerMinute}, 300
	s.rooms.Add("drop", file, queue.Snapshot{Waiting: 80213, Away: 12, Called: 7, Active: 291})
	vip := queue.Defaults()
	vip.Rate, vip.MaxSession, vip.Message = queue.NoRate, time.Hour, "<b>soon</b> & safely"
	s.rooms.Add("vip", vip, queue.Snapshot{})
	s.rooms.Edit("vip", func(r *admin.Room) { r.Age = -1 })
	text := func(w io.Writer) *slog.Logger {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
	}
	s.config = admin.Config{
		Rooms:    s.rooms,
		Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "sluice_up 1\n") }),
		Ready:    func() error { return nil },
		Reload:   func(context.Context) error { return nil },
		Loopback: true,
		Audit:    text(&s.audit),
		Log:      text(&s.log),
	}
	return s
}

// public puts the listener off loopback, with tokens.
func (s *site) public() *site {
	s.config.Loopback = false
	s.config.Tokens = []admin.Token{
		{Name: "vera", Role: "viewer", Hash: sha256.Sum256([]byte(viewer))},
		{Name: "otto", Role: "operator", Hash: sha256.Sum256([]byte(operator))},
	}
	return s
}

// ask sends a request, given as its first line, header lines and body, and
// returns the answer written the same way, but for the headers that every
// answer carries.
func (s *site) ask(request string) string {
	s.t.Helper()
	head, body, _ := strings.Cut(request, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:9090"
	r.RemoteAddr = "127.0.0.1:50000"
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	admin.New(s.config).ServeHTTP(w, r)
	answer := w.Result()
	var out strings.Builder
	fmt.Fprintf(&out, "%d\n", answer.StatusCode)
	for name, want := range map[string]string{
		"Cache-Control":                "no-store",
		"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy":              "no-referrer",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
	} {
		if got := answer.Header.Get(name); got != want {
			s.t.Errorf("%s: %s is %q, want %q", lines[0], name, got, want)
		}
		answer.Header.Del(name)
	}
	if length := answer.Header.Get("Content-Length"); length != "" {
		if length != fmt.Sprint(w.Body.Len()) {
			s.t.Errorf("%s: Content-Length %s of %d bytes", lines[0], length, w.Body.Len())
		}
		answer.Header.Del("Content-Length")
	}
	for _, name := range slices.Sorted(maps.Keys(answer.Header)) {
		for _, value := range answer.Header[name] {
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
	}
	if w.Body.Len() > 0 {
		fmt.Fprintf(&out, "\n%s", w.Body)
	}
	return out.String()
}

func (s *site) want(request, answer string) {
	s.t.Helper()
	if got := s.ask(request); got != answer {
		s.t.Errorf("%.300s\n--- got\n%s\n--- want\n%s", request, got, answer)
	}
}

// wantStatus is for answers whose text another test compares.
func (s *site) wantStatus(request string, status int) {
	s.t.Helper()
	if got := s.ask(request); !strings.HasPrefix(got, fmt.Sprint(status)) {
		s.t.Errorf("%.300s\n--- got\n%s\n--- want %d", request, got, status)
	}
}

// run gives every test the same clock: it is the first second of 2000.
func run(t *testing.T, name string, test func(*testing.T, *site)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, newSite(t)) })
	})
}

const patchDrop = "PATCH /api/v1/rooms/drop\nContent-Type: application/merge-patch+json\n"

const drop = `{"name":"drop","settings":{"rate":"600/m","burst":10,"max_active":300,"max_waiting":"none","session":"10m",` +
	`"max_session":"none","claim_within":"30s","keep_place":"30m","mode":"auto","poll":{"min":"2s","max":"30s"},"message":""},` +
	`"overrides":{},"version":0,"counts":{"waiting":80213,"absent":12,"called":7,"active":291,"calls":0},"at":"1999-12-31T23:59:59.000Z"}`

const vip = `{"name":"vip","settings":{"rate":"none","burst":null,"max_active":"none","max_waiting":"none","session":"10m",` +
	`"max_session":"1h","claim_within":"30s","keep_place":"30m","mode":"auto","poll":{"min":"2s","max":"30s"},"message":"<b>soon</b> & safely"},` +
	`"overrides":{},"version":0,"counts":null,"at":null}`

func TestHealth(t *testing.T) {
	run(t, "the process is healthy even while it is not ready", func(t *testing.T, s *site) {
		s.config.Ready = func() error { return errors.New("stopping") }
		s.want("GET /healthz", "200\nContent-Type: text/plain; charset=utf-8\n\nok\n")
		s.want("GET /readyz", "503\nContent-Type: text/plain; charset=utf-8\n\nstopping\n")
	})
	run(t, "it is ready when the gate says so", func(t *testing.T, s *site) {
		s.want("GET /readyz", "200\nContent-Type: text/plain; charset=utf-8\n\nok\n")
	})
	run(t, "probes and scrapes need no token", func(t *testing.T, s *site) {
		s.public()
		s.wantStatus("GET /healthz", 200)
		s.wantStatus("GET /readyz", 200)
		s.want("GET /metrics", "200\nContent-Type: text/plain; charset=utf-8\n\nsluice_up 1\n")
	})
	run(t, "probes may call the machine what they like", func(t *testing.T, s *site) {
		s.wantStatus("GET /healthz\nHost: gate-3.internal", 200)
		s.wantStatus("GET /readyz\nHost: gate-3.internal", 200)
	})
	run(t, "nothing of it can be written to", func(t *testing.T, s *site) {
		s.want("POST /healthz", "405\nAllow: GET, HEAD\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"POST is not one of GET, HEAD"}`+"\n")
		s.wantStatus("POST /readyz", 405)
		s.wantStatus("DELETE /metrics", 405)
	})
}

func TestRooms(t *testing.T) {
	run(t, "all rooms are listed in the order of the file", func(t *testing.T, s *site) {
		s.want("GET /api/v1/rooms", "200\nContent-Type: application/json\n\n"+`{"rooms":[`+drop+`,`+vip+"]}\n")
	})
	run(t, "a gate without rooms lists none", func(t *testing.T, s *site) {
		s.config.Rooms = new(admintest.Rooms)
		s.want("GET /api/v1/rooms", "200\nContent-Type: application/json\n\n{\"rooms\":[]}\n")
	})
	run(t, "a room is shown as the file spells it", func(t *testing.T, s *site) {
		s.want("GET /api/v1/rooms/drop", "200\nContent-Type: application/json\n\n"+drop+"\n")
	})
	run(t, "a room whose store was never heard has no numbers", func(t *testing.T, s *site) {
		s.want("GET /api/v1/rooms/vip", "200\nContent-Type: application/json\n\n"+vip+"\n")
	})
	run(t, "an override is shown beside what the file says", func(t *testing.T, s *site) {
		s.rooms.Edit("drop", func(r *admin.Room) {
			r.Overrides = queue.Overrides{Version: 9, Keys: map[string]queue.Override{
				"colour": {Value: json.RawMessage(`"red"`), By: "a newer gate", At: time.Unix(0, 0)},
				"rate":   {Value: json.RawMessage(`"5/s"`), By: "otto", At: time.Unix(0, 0)},
			}}
		})
		s.want("GET /api/v1/rooms/drop", "200\nContent-Type: application/json\n\n"+strings.Replace(drop, `"overrides":{},"version":0`,
			`"overrides":{"rate":{"value":"5/s","file":"600/m","by":"otto","at":"1970-01-01T00:00:00.000Z"},`+
				`"colour":{"value":"red","file":null,"by":"a newer gate","at":"1970-01-01T00:00:00.000Z"}},"version":9`, 1)+"\n")
	})
	run(t, "there is no other room", func(t *testing.T, s *site) {
		answer := "404\nContent-Type: application/problem+json\n\n" +
			`{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no room \"sale\""}` + "\n"
		s.want("GET /api/v1/rooms/sale", answer)
		s.want("PATCH /api/v1/rooms/sale", answer)
		s.wantStatus("GET /api/v1/rooms/", 404)
		s.wantStatus("GET /api/v1/rooms/drop/", 404)
	})
	run(t, "there is nothing else", func(t *testing.T, s *site) {
		answer := "404\nContent-Type: application/problem+json\n\n" +
			`{"type":"about:blank","title":"Not Found","status":404,"detail":"there is nothing here; the rooms are at /api/v1/rooms"}` + "\n"
		for _, path := range []string{"/", "/api", "/api/", "/api/v1", "/api/v2/rooms", "/api/v1/rooms2", "/debug/pprof/", "/healthz/"} {
			s.want("GET "+path, answer)
		}
	})
	run(t, "other methods are told which there are", func(t *testing.T, s *site) {
		s.want("DELETE /api/v1/rooms/drop", "405\nAllow: GET, HEAD, PATCH\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"DELETE is not one of GET, HEAD, PATCH"}`+"\n")
		s.want("GET /api/v1/reload", "405\nAllow: POST\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"GET is not one of POST"}`+"\n")
		s.wantStatus("POST /api/v1/rooms", 405)
		s.wantStatus("PUT /api/v1/rooms/drop", 405)
		s.wantStatus("OPTIONS /api/v1/rooms/drop", 405)
	})
}

func TestPatch(t *testing.T) {
	run(t, "settings change at once and say who changed them", func(t *testing.T, s *site) {
		s.want(patchDrop+"\n"+`{"rate": "300/m", "max_active": "none", "message": "<b>"}`, "200\nContent-Type: application/json\n\n"+
			`{"name":"drop","settings":{"rate":"300/m","burst":5,"max_active":"none","max_waiting":"none","session":"10m",`+
			`"max_session":"none","claim_within":"30s","keep_place":"30m","mode":"auto","poll":{"min":"2s","max":"30s"},"message":"<b>"},`+
			`"overrides":{"rate":{"value":"300/m","file":"600/m","by":"loopback","at":"2000-01-01T00:00:00.000Z"},`+
			`"max_active":{"value":"none","file":300,"by":"loopback","at":"2000-01-01T00:00:00.000Z"},`+
			`"message":{"value":"<b>","file":"","by":"loopback","at":"2000-01-01T00:00:00.000Z"}},`+
			`"version":1,"counts":{"waiting":80213,"absent":12,"called":7,"active":291,"calls":0},"at":"1999-12-31T23:59:59.000Z"}`+"\n")
		s.wantAudit(`level=INFO msg="room changed" by=loopback remote=127.0.0.1:50000 room=drop version=1 ` +
			`changes.rate.before=600/m changes.rate.after=300/m changes.max_active.before=300 changes.max_active.after=none ` +
			`changes.message.before="" changes.message.after=<b>`)
	})
	run(t, "null goes back to the file", func(t *testing.T, s *site) {
		s.wantStatus(patchDrop+"\n"+`{"mode":"hold"}`, 200)
		s.audit.Reset()
		s.want(patchDrop+"\n"+`{"mode":null}`, "200\nContent-Type: application/json\n\n"+strings.Replace(drop, `"version":0`, `"version":2`, 1)+"\n")
		s.wantAudit(`level=INFO msg="room changed" by=loopback remote=127.0.0.1:50000 room=drop version=2 ` +
			`changes.mode.before=hold changes.mode.after=auto changes.mode.reset=true`)
	})
	run(t, "what changes nothing is not written down", func(t *testing.T, s *site) {
		for _, body := range []string{`{}`, ` {"rate":null} `} {
			s.want(patchDrop+"\n"+body, "200\nContent-Type: application/json\n\n"+drop+"\n")
		}
		s.wantAudit()
	})
	run(t, "every bad key is named and nothing changes", func(t *testing.T, s *site) {
		s.want(patchDrop+"\n"+`{"rate":"fast","mode":"hold","max_waiting":-1,"Burst":4,"poll":{"min":"1s"},"session":"500ms"}`,
			"422\nContent-Type: application/problem+json\n\n"+
				`{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"nothing was changed","errors":[`+
				`{"key":"rate","detail":"rate \"fast\": want N/s, N/m, N/h or none, such as 600/m"},`+
				`{"key":"max_waiting","detail":"-1 is negative"},`+
				`{"key":"Burst","detail":"cannot be changed while the room runs; what can: rate, burst, max_active, max_waiting, session, mode, message"},`+
				`{"key":"poll","detail":"cannot be changed while the room runs; what can: rate, burst, max_active, max_waiting, session, mode, message"},`+
				`{"key":"session","detail":"500ms is not between 1s and 24h"}]}`+"\n")
		s.want("GET /api/v1/rooms/drop", "200\nContent-Type: application/json\n\n"+drop+"\n")
		s.wantAudit()
	})
	run(t, "a key twice is refused, whichever was meant", func(t *testing.T, s *site) {
		s.want(patchDrop+"\n"+`{"mode":"hold","mode":"open"}`, "400\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"the body is not a JSON merge patch: a key is there twice",`+
			`"errors":[{"key":"mode","detail":"is there twice"}]}`+"\n")
		s.want("GET /api/v1/rooms/drop", "200\nContent-Type: application/json\n\n"+drop+"\n")
	})
	for name, body := range map[string]string{
		"nothing":                "",
		"a list":                 `[]`,
		"a string":               `"hold"`,
		"null":                   `null`,
		"half an object":         `{"mode":"hold"`,
		"half a key":             `{"mo`,
		"half a value":           `{"mode":"ho`,
		"no value":               `{"mode":}`,
		"a comma too many":       `{"mode":"hold",}`,
		"a key without quotes":   `{mode:"hold"}`,
		"a comment":              `{"mode":"hold"} // for lunch`,
		"two objects":            `{"mode":"hold"}{"mode":"open"}`,
		"YAML":                   "mode: hold",
		"something that follows": `{"mode":"hold"}x`,
		"bytes that are no text": "{\"message\":\"\xff\"}",
		"a mark of byte order":   "\ufeff{\"mode\":\"hold\"}",
		"endless nesting":        `{"mode":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	} {
		run(t, name+" is no patch", func(t *testing.T, s *site) {
			s.wantStatus(patchDrop+"\n"+body, 400)
			s.want("GET /api/v1/rooms/drop", "200\nContent-Type: application/json\n\n"+drop+"\n")
		})
	}
	run(t, "half a patch is told to end too early", func(t *testing.T, s *site) {
		s.want(patchDrop+"\n"+`{"mode":"hold"`, "400\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"the body is not a JSON merge patch: it ends too early"}`+"\n")
	})
	run(t, "a patch has 64 KiB and not a byte more", func(t *testing.T, s *site) {
		fits := `{}` + strings.Repeat(" ", 64<<10-2)
		s.wantStatus(patchDrop+"\n"+fits, 200)
		s.want(patchDrop+"\n"+fits+" ", "413\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Request Entity Too Large","status":413,"detail":"the body is larger than 65536 bytes"}`+"\n")
	})
	run(t, "other types of body are told which are taken", func(t *testing.T, s *site) {
		s.want("PATCH /api/v1/rooms/drop\nContent-Type: text/plain\n\n{}", "415\nAccept-Patch: application/merge-patch+json, application/json\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Unsupported Media Type","status":415,"detail":"Content-Type \"text/plain\": want application/merge-patch+json"}`+"\n")
		s.wantStatus("PATCH /api/v1/rooms/drop\n\n{}", 415)
		s.wantStatus("PATCH /api/v1/rooms/drop\nContent-Type: application/json-patch+json\n\n{}", 415)
		s.wantStatus("PATCH /api/v1/rooms/drop\nContent-Type: application/json; charset=utf-16\n\n{}", 415)
		s.wantStatus(patchDrop+"Content-Encoding: gzip\n\n{}", 415)
		s.wantStatus("PATCH /api/v1/rooms/drop\nContent-Type: application/json\n\n{}", 200)
		s.wantStatus("PATCH /api/v1/rooms/drop\nContent-Type: Application/JSON; charset=UTF-8\n\n{}", 200)
	})
	run(t, "a store that is away says that the change may have been made", func(t *testing.T, s *site) {
		s.rooms.Fail(fmt.Errorf("override room %q: %w: dial tcp 10.0.0.7:6379: connection refused", "drop", queue.ErrUnavailable))
		s.want(patchDrop+"\n"+`{"mode":"hold"}`, "503\nContent-Type: application/problem+json\nRetry-After: 1\n\n"+
			`{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the store did not confirm the change, look at the room before you repeat it: `+
			`override room \"drop\": queue: store unavailable: dial tcp 10.0.0.7:6379: connection refused"}`+"\n")
		s.wantAudit(`level=WARN msg="room change not confirmed" by=loopback remote=127.0.0.1:50000 room=drop asked="{\"mode\":\"hold\"}" ` +
			`err="override room \"drop\": queue: store unavailable: dial tcp 10.0.0.7:6379: connection refused"`)
	})
	run(t, "of two who change at the same time one is told", func(t *testing.T, s *site) {
		s.rooms.Fail(fmt.Errorf("override: %w", queue.ErrConflict))
		s.want(patchDrop+"\n"+`{"mode":"hold"}`, "409\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Conflict","status":409,"detail":"others change this room at the same time; nothing was changed, look again"}`+"\n")
	})
	run(t, "a change that hung on its way comes to nothing once others changed the room", func(t *testing.T, s *site) {
		s.wantStatus(patchDrop+"\n"+`{"version":0,"mode":"hold"}`, 200)
		s.wantStatus(patchDrop+"\n"+`{"version":1,"mode":null}`, 200)
		s.wantStatus(patchDrop+"\n"+`{"version":0,"mode":"hold"}`, 409)
		if room, _ := s.rooms.Room("drop"); room.Settings.Mode != queue.ModeAuto {
			t.Errorf("the room is in mode %v", room.Settings.Mode)
		}
	})
	run(t, "a room that a reload took away meanwhile is unknown", func(t *testing.T, s *site) {
		s.rooms.Fail(admin.ErrUnknownRoom)
		s.wantStatus(patchDrop+"\n"+`{"mode":"hold"}`, 404)
	})
	run(t, "an error that nobody foresaw is logged", func(t *testing.T, s *site) {
		s.rooms.Fail(errors.New("out of order"))
		s.want(patchDrop+"\n"+`{"mode":"hold"}`, "500\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"out of order"}`+"\n")
		if want := `level=ERROR msg="room change failed" room=drop by=loopback err="out of order"` + "\n"; s.log.String() != want {
			t.Errorf("log %s, want %s", s.log.String(), want)
		}
	})
	t.Run("a client that hangs up does not undo a change", func(t *testing.T) {
		s := newSite(t)
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		watch := &watching{Rooms: s.rooms}
		s.config.Rooms = watch
		r := httptest.NewRequestWithContext(gone, "PATCH", "http://localhost/api/v1/rooms/drop", strings.NewReader(`{"mode":"hold"}`))
		r.Header.Set("Content-Type", "application/json")
		admin.New(s.config).ServeHTTP(httptest.NewRecorder(), r)
		if watch.err != nil || !watch.limited {
			t.Errorf("the change ran with the context's error %v, limited in time %v", watch.err, watch.limited)
		}
	})
}

// watching looks at the context of a change.
type watching struct {
	*admintest.Rooms
	err     error
	limited bool
}

func (w *watching) Change(ctx context.Context, name, by string, patch map[string]any) (admin.Room, error) {
	w.err = ctx.Err()
	_, w.limited = ctx.Deadline()
	return w.Rooms.Change(ctx, name, by, patch)
}

func TestReload(t *testing.T) {
	run(t, "a good file is applied", func(t *testing.T, s *site) {
		s.want("POST /api/v1/reload", "204\n")
		s.wantAudit(`level=INFO msg="configuration reloaded" by=loopback remote=127.0.0.1:50000`)
	})
	run(t, "a bad file is refused with everything that is wrong", func(t *testing.T, s *site) {
		s.config.Reload = func(context.Context) error {
			return errors.Join(errors.New("sluice.yaml:3:1: unknown key"), errors.New("sluice.yaml:9:1: bad unit"))
		}
		s.want("POST /api/v1/reload", "422\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"the configuration was refused; the old one stays in force",`+
			`"errors":[{"detail":"sluice.yaml:3:1: unknown key"},{"detail":"sluice.yaml:9:1: bad unit"}]}`+"\n")
		s.wantAudit(`level=WARN msg="reload refused" by=loopback remote=127.0.0.1:50000 err="sluice.yaml:3:1: unknown key\nsluice.yaml:9:1: bad unit"`)
	})
	run(t, "without a file there is nothing to reload", func(t *testing.T, s *site) {
		s.config.Reload = nil
		s.want("POST /api/v1/reload", "409\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Conflict","status":409,"detail":"this gate was started without a configuration file"}`+"\n")
	})
}

func TestTokens(t *testing.T) {
	bearer := func(token string) string { return "\nAuthorization: Bearer " + token }
	run(t, "the API is shut off loopback as long as there are no tokens", func(t *testing.T, s *site) {
		s.public().config.Tokens = nil
		answer := "403\nContent-Type: application/problem+json\n\n" +
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"the API is shut: the listener is not on loopback and there are no tokens; set admin.tokens_file, or listen on 127.0.0.1"}` + "\n"
		s.want("GET /api/v1/rooms", answer)
		s.want("GET /api/v1/rooms"+bearer(operator), answer)
		s.want("POST /api/v1/reload", answer)
		s.wantStatus("GET /healthz", 200)
	})
	run(t, "nobody looks without a token", func(t *testing.T, s *site) {
		s.public().want("GET /api/v1/rooms", "401\nContent-Type: application/problem+json\nWww-Authenticate: Bearer realm=\"sluice\"\n\n"+
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"a token is needed: Authorization: Bearer TOKEN"}`+"\n")
		for _, request := range []string{"GET /api/v1/rooms/drop", "GET /api/v1/rooms/none", "GET /api/nothing", "POST /api/v1/reload", patchDrop + "\n{}"} {
			s.wantStatus(request, 401)
		}
	})
	run(t, "a wrong token is refused and told so", func(t *testing.T, s *site) {
		s.public().want("GET /api/v1/rooms"+bearer("guessed"), "401\nContent-Type: application/problem+json\nWww-Authenticate: Bearer realm=\"sluice\", error=\"invalid_token\"\n\n"+
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"the token is not one of this gate's"}`+"\n")
		for _, header := range []string{
			bearer(""), bearer(viewer + "x"), bearer(strings.ToUpper(viewer)), "\nAuthorization: Basic " + viewer, "\nAuthorization: " + viewer,
			bearer(viewer) + bearer(operator), // two of them: which was meant?
		} {
			s.wantStatus("GET /api/v1/rooms"+header, 401)
		}
		s.wantStatus("GET /api/v1/rooms?token="+viewer+"&access_token="+viewer, 401)
	})
	run(t, "a viewer looks and changes nothing", func(t *testing.T, s *site) {
		s.public().want("GET /api/v1/rooms/drop"+bearer(viewer), "200\nContent-Type: application/json\n\n"+drop+"\n")
		s.wantStatus("GET /api/v1/rooms\nAuthorization: bearer "+viewer, 200)
		s.want("PATCH /api/v1/rooms/drop\nContent-Type: application/json"+bearer(viewer)+"\n\n"+`{"mode":"open"}`,
			"403\nContent-Type: application/problem+json\nWww-Authenticate: Bearer realm=\"sluice\", error=\"insufficient_scope\"\n\n"+
				`{"type":"about:blank","title":"Forbidden","status":403,"detail":"the token vera may look, not change: its role is not operator"}`+"\n")
		s.wantStatus("POST /api/v1/reload"+bearer(viewer), 403)
		s.want("GET /api/v1/rooms/drop"+bearer(operator), "200\nContent-Type: application/json\n\n"+drop+"\n")
		s.wantAudit()
	})
	run(t, "an operator changes, by name", func(t *testing.T, s *site) {
		s.public().wantStatus("PATCH /api/v1/rooms/drop\nContent-Type: application/json"+bearer(operator)+"\n\n"+`{"mode":"hold"}`, 200)
		s.wantStatus("POST /api/v1/reload"+bearer(operator), 204)
		s.wantAudit(
			`level=INFO msg="room changed" by=otto remote=127.0.0.1:50000 room=drop version=1 changes.mode.before=auto changes.mode.after=hold`,
			`level=INFO msg="configuration reloaded" by=otto remote=127.0.0.1:50000`,
		)
	})
	run(t, "a role that nobody knows may only look", func(t *testing.T, s *site) {
		s.public().config.Tokens[1].Role = "Operator"
		s.wantStatus("GET /api/v1/rooms"+bearer(operator), 200)
		s.wantStatus("POST /api/v1/reload"+bearer(operator), 403)
	})
	run(t, "off loopback the host may be called anything", func(t *testing.T, s *site) {
		s.public().wantStatus("GET /api/v1/rooms\nHost: admin.shop.example\nOrigin: https://admin.shop.example"+bearer(viewer), 200)
	})
	run(t, "on loopback a token is not needed but counts when it is sent", func(t *testing.T, s *site) {
		s.public().config.Loopback = true
		s.wantStatus("GET /api/v1/rooms", 200)
		s.wantStatus(patchDrop+"\n"+`{"mode":"hold"}`, 200)
		s.wantStatus("POST /api/v1/reload"+bearer(viewer), 403)
		s.wantStatus("POST /api/v1/reload"+bearer("guessed"), 401)
		s.audit.Reset()
		s.wantStatus("POST /api/v1/reload"+bearer(operator), 204)
		s.wantAudit(`level=INFO msg="configuration reloaded" by=otto remote=127.0.0.1:50000`)
	})
	run(t, "on loopback without tokens one that is sent does no harm", func(t *testing.T, s *site) {
		s.wantStatus("GET /api/v1/rooms"+bearer("from the environment"), 200)
	})
	run(t, "who guesses fills neither the log nor shows what was guessed", func(t *testing.T, s *site) {
		s.public()
		h := admin.New(s.config)
		guess := func() {
			r := httptest.NewRequest("GET", "/api/v1/rooms", nil)
			r.RemoteAddr = "192.0.2.1:7"
			r.Header.Set("Authorization", "Bearer guess")
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		for range 100 {
			guess()
		}
		time.Sleep(time.Second)
		guess()
		line := `level=WARN msg="admin request refused" why="the token is not one of this gate's" remote=192.0.2.1:7 method=GET path=/api/v1/rooms not_logged=`
		if want := line + "0\n" + line + "99\n"; s.log.String() != want {
			t.Errorf("log\n%s\nwant\n%s", s.log.String(), want)
		}
	})
}

func TestPagesOfOthersGetNothingOnLoopback(t *testing.T) {
	run(t, "a name that was pointed at loopback is refused", func(t *testing.T, s *site) {
		s.want("GET /api/v1/rooms\nHost: evil.example:9090", "403\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"the listener is on loopback and answers to localhost only, not to the host \"evil.example:9090\""}`+"\n")
		for _, host := range []string{"evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9090", "0.0.0.0:9090", "10.0.0.1:9090", "[::]:9090", "", "localhost.", "127.0.0.1@evil.example"} {
			s.wantStatus("GET /api/v1/rooms\nHost: "+host, 403)
			s.wantStatus("GET /metrics\nHost: "+host, 403)
			s.wantStatus("GET /\nHost: "+host, 403)
		}
	})
	run(t, "the names of this machine are fine", func(t *testing.T, s *site) {
		for _, host := range []string{"localhost", "LOCALHOST:9090", "127.0.0.1", "127.0.0.1:1", "127.9.9.9:9090", "[::1]:9090", "[::1]", "[::ffff:127.0.0.1]:9090"} {
			s.wantStatus("GET /api/v1/rooms\nHost: "+host, 200)
		}
	})
	run(t, "a page of another origin is refused", func(t *testing.T, s *site) {
		s.want("POST /api/v1/reload\nOrigin: https://evil.example", "403\nContent-Type: application/problem+json\n\n"+
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"the listener is on loopback and refuses pages of another origin: \"https://evil.example\""}`+"\n")
		for _, origin := range []string{"null", "http://localhost:3000", "http://127.0.0.1", "https://127.0.0.1:9090", "http://127.0.0.1:9090.evil.example", ""} {
			s.wantStatus("POST /api/v1/reload\nOrigin: "+origin, 403)
			s.wantStatus("GET /api/v1/rooms\nOrigin: "+origin, 403)
			s.wantStatus(patchDrop+"Origin: "+origin+"\n\n{}", 403)
		}
		s.wantStatus("POST /api/v1/reload\nOrigin: http://127.0.0.1:9090\nOrigin: https://evil.example", 403)
		s.wantStatus("POST /api/v1/reload\nSec-Fetch-Site: cross-site", 403)
		s.wantStatus("POST /api/v1/reload\nSec-Fetch-Site: same-site", 403)
		s.wantAudit()
	})
	run(t, "our own page is fine", func(t *testing.T, s *site) {
		s.wantStatus("POST /api/v1/reload\nOrigin: http://127.0.0.1:9090\nSec-Fetch-Site: same-origin", 204)
		s.wantStatus("POST /api/v1/reload\nHost: localhost:9090\nOrigin: http://LOCALHOST:9090", 204)
		s.wantStatus("GET /api/v1/rooms\nSec-Fetch-Site: cross-site", 200) // a link in a runbook
	})
}

func TestIsLoopback(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:9090": true, "127.0.0.2:0": true, "localhost:9090": true, "[::1]:9090": true, "[::ffff:127.0.0.1]:9090": true,
		":9090": false, "0.0.0.0:9090": false, "[::]:9090": false, "10.0.0.1:9090": false, "gate:9090": false, "": false, "127.0.0.1": false,
		"localhost.example:9090": false,
	} {
		if got := admin.IsLoopback(listen); got != want {
			t.Errorf("%q: %v, want %v", listen, got, want)
		}
	}
}

func TestARoomIsChangedAndReadByManyAtOnce(t *testing.T) {
	s := newSite(t)
	server := admin.Server(admin.New(s.config), s.config.Log)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	base := "http://" + listener.Addr().String()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 20 {
				body := fmt.Sprintf(`{"max_waiting":%d}`, i*100+n+1)
				r, err := http.NewRequest("PATCH", base+"/api/v1/rooms/drop", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/merge-patch+json")
				for _, ask := range []func() (*http.Response, error){
					func() (*http.Response, error) { return http.DefaultClient.Do(r) },
					func() (*http.Response, error) { return http.Get(base + "/api/v1/rooms") },
				} {
					answer, err := ask()
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, answer.Body)
					_ = answer.Body.Close()
					if answer.StatusCode != 200 {
						t.Errorf("status %d", answer.StatusCode)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	room, _ := s.rooms.Room("drop")
	if room.Overrides.Version != 80 {
		t.Errorf("version %d after 80 changes", room.Overrides.Version)
	}
}

func FuzzPatch(f *testing.F) {
	for _, body := range []string{
		`{"rate":"600/m","burst":10,"max_active":"none","max_waiting":5,"session":"5m","mode":"hold","message":"soon"}`,
		`{"rate":null,"burst":null}`, `{"rate":"1000000/s"}`, `{"burst":1e3}`, `{"mode":{"a":[1,{"b":null}]}}`, `{"mode":"hold","mode":null}`,
		`{"":""}`, `[]`, `{`, "{\"message\":\"\\ud800\"}", "{\"message\":\"\x00\"}", `{"max_active":99999999999999999999}`, `{"session":"-1h"}`, `{} {}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := newSite(t)
		r := httptest.NewRequest("PATCH", "http://localhost/api/v1/rooms/drop", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/merge-patch+json")
		w := httptest.NewRecorder()
		admin.New(s.config).ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("the answer is not JSON: %q", w.Body)
		}
		room, _ := s.rooms.Room("drop")
		switch w.Code {
		case 200:
			if bad := room.Settings.Check(); bad != nil {
				t.Errorf("the settings in force are bad: %v", bad)
			}
			applied, err := room.Overrides.Apply(room.File)
			if err != nil {
				t.Errorf("another gate cannot read what was stored: %v", err)
			}
			applied.Burst, room.Settings.Burst = applied.EffectiveBurst(), room.Settings.EffectiveBurst()
			if applied != room.Settings {
				t.Errorf("another gate makes of it\n%+v, this one\n%+v", applied, room.Settings)
			}
		case 400, 413, 422:
			if room.Overrides.Version != 0 || room.Settings != room.File || s.audit.Len() > 0 {
				t.Errorf("a refused patch changed the room: %+v", room)
			}
		default:
			t.Errorf("status %d", w.Code)
		}
	})
}

func (s *site) wantAudit(lines ...string) {
	s.t.Helper()
	want := ""
	for _, line := range lines {
		want += line + "\n"
	}
	if got := s.audit.String(); got != want {
		s.t.Errorf("audit log\n%s\nwant\n%s", got, want)
	}
}
