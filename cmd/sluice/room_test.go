package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicegate/sluice/gate/admin"
	"github.com/sluicegate/sluice/gate/admin/admintest"
	"github.com/sluicegate/sluice/queue"
)

// aGate is the admin listener of a gate with two rooms.
type aGate struct {
	url    string
	rooms  *admintest.Rooms
	config admin.Config
	ready  error
}

// openGate starts a gate that edit may change first.
func openGate(t *testing.T, edit func(*aGate)) *aGate {
	t.Helper()
	t.Setenv("SLUICE_ADMIN", "")
	t.Setenv("SLUICE_TOKEN", "")
	g := &aGate{rooms: new(admintest.Rooms)}
	file := queue.Defaults()
	file.Rate, file.MaxActive = queue.Rate{N: 600, Per: queue.PerMinute}, 300
	g.rooms.Add("drop", file, queue.Snapshot{Waiting: 80213, Away: 12, Called: 7, Active: 291})
	vip := queue.Defaults()
	vip.Rate = queue.NoRate
	g.rooms.Add("vip", vip, queue.Snapshot{})
	g.rooms.Edit("vip", func(r *admin.Room) { r.Age = -1 })
	g.config = admin.Config{Rooms: g.rooms, Metrics: http.NotFoundHandler(), Ready: func() error { return g.ready }, Loopback: true}
	if edit != nil {
		edit(g)
	}
	server := httptest.NewServer(admin.New(g.config))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// runCommand runs a command line and returns what it prints, with times made alike.
func runCommand(t *testing.T, cmd *cobra.Command, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	err := cmd.ExecuteContext(t.Context())
	return regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`).ReplaceAllString(out.String(), "THEN"), err
}

// room runs a command line that succeeds.
func (g *aGate) room(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runCommand(t, newRoomCommand(), append(args, "--admin", g.url)...)
	if err != nil {
		t.Errorf("sluice room %q: %v", args, err)
	}
	return out
}

// fails runs a command line that fails.
func (g *aGate) fails(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	out, err := runCommand(t, newRoomCommand(), append(args, "--admin", g.url)...)
	if err == nil {
		t.Fatalf("sluice room %q succeeds and prints %s", args, out)
	}
	same(t, strings.ReplaceAll(err.Error(), g.url, "GATE"), want)
	if exitCode(err) != code || out != "" {
		t.Errorf("sluice room %q: exit %d, want %d; it prints %q", args, exitCode(err), code, out)
	}
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRoomList(t *testing.T) {
	g := openGate(t, nil)
	same(t, g.room(t, "list"), `
ROOM  MODE  RATE   MAX ACTIVE  WAITING  ABSENT  CALLED  ACTIVE  CHANGED
drop  auto  600/m  300         80213    12      7       291     -
vip   auto  none   none        -        -       -       -       -
vip: This gate has not heard its store yet: there are no numbers.
`)
	g.room(t, "set", "drop", "rate=5/s", "mode=hold")
	g.rooms.Edit("drop", func(r *admin.Room) { r.Age = time.Minute })
	g.rooms.Edit("vip", func(r *admin.Room) { r.Age = 0 })
	out := g.room(t, "list")
	out = regexp.MustCompile(`are (59s|1m0s|1m1s) old`).ReplaceAllString(out, "are 1m0s old")
	same(t, out, `
ROOM  MODE  RATE  MAX ACTIVE  WAITING  ABSENT  CALLED  ACTIVE  CHANGED
drop  hold  5/s   300         80213    12      7       291     mode rate
vip   auto  none  none        0        0       0       0       -
drop: The numbers are 1m0s old: this gate does not hear its store.
`)
}

// behind is a gate that shows a room as it was a moment before, so often.
type behind struct {
	*admintest.Rooms
	times int
	asked int
}

func (b *behind) Room(name string) (admin.Room, bool) {
	r, ok := b.Rooms.Room(name)
	if b.asked++; b.asked <= b.times {
		r.Overrides.Version--
	}
	return r, ok
}

func TestAGateThatIsAMomentBehindIsAskedAgain(t *testing.T) {
	for _, row := range []struct {
		times int
		want  queue.Mode
	}{{2, queue.ModeHold}, {1000, queue.ModeAuto}} {
		var late *behind
		g := openGate(t, func(g *aGate) {
			late = &behind{Rooms: g.rooms, times: row.times}
			g.config.Rooms = late
		})
		g.rooms.Edit("drop", func(r *admin.Room) { r.Overrides.Version = 7 })
		_, err := runCommand(t, newRoomCommand(), "set", "drop", "mode=hold", "--admin", g.url)
		if (err == nil) != (row.want == queue.ModeHold) || err != nil && !strings.Contains(err.Error(), "409") {
			t.Errorf("%d times behind: %v", row.times, err)
		}
		if room, _ := g.rooms.Room("drop"); room.Settings.Mode != row.want {
			t.Errorf("%d times behind: the room is in mode %v", row.times, room.Settings.Mode)
		}
	}
}

func TestRoomListOfAGateWithoutRooms(t *testing.T) {
	g := openGate(t, func(g *aGate) { g.config.Rooms = new(admintest.Rooms) })
	same(t, g.room(t, "list"), "There are no rooms.\n")
	same(t, g.room(t, "list", "--json"), `{"rooms":[]}`+"\n")
}

func TestRoomShow(t *testing.T) {
	g := openGate(t, nil)
	g.room(t, "set", "drop", "rate=300/m", "message=back at \x1b[31mnoon")
	same(t, g.room(t, "show", "drop"), `
drop: 80213 waiting, 12 absent, 7 called, 291 active

SETTING       NOW                FILE   CHANGED
mode          auto
rate          300/m              600/m  THEN by loopback
burst         5
max_active    300
max_waiting   none
session       10m
max_session   none
claim_within  30s
keep_place    30m
poll.min      2s
poll.max      30s
message       back at  [31mnoon  -      THEN by loopback

What was changed wins over the file until: sluice room reset drop [KEY...]
`)
	g.fails(t, 1, `there is no room "dorp" at GATE; its rooms: drop, vip`, "show", "dorp")
	g.fails(t, 1, `there is no room "../rooms" at GATE; its rooms: drop, vip`, "show", "../rooms")
}

func TestRoomSet(t *testing.T) {
	g := openGate(t, nil)
	same(t, g.room(t, "set", "drop", "rate=300/m", "max_active=none", "max_waiting=007"), `
drop  rate         600/m -> 300/m
drop  burst        10 -> 5  follows
drop  max_active   300 -> none
drop  max_waiting  none -> 7
It wins over the file until: sluice room reset drop rate max_active max_waiting
`)
	same(t, g.room(t, "set", "drop", "rate=300/m"), "drop: nothing to change\n")
	same(t, g.room(t, "set", "drop", "session=600s", "message=a=b"), `
drop  session  10m -> 10m  whatever the file says
drop  message  - -> a=b
It wins over the file until: sluice room reset drop session message
`)
	g.fails(t, 2, `nothing was changed:
  rate: rate "fast": want N/s, N/m, N/h or none, such as 600/m
  burst: "+3": want a whole number
  max_active: -1 is negative
  colour: cannot be changed while the room runs; what can: rate, burst, max_active, max_waiting, session, mode, message`,
		"set", "drop", "rate=fast", "mode=hold", "max_active=-1", "burst=+3", "colour=red")
	if room, _ := g.rooms.Room("drop"); room.Settings.Mode != queue.ModeAuto || room.Settings.MaxWaiting != 7 {
		t.Errorf("a refused change was made: %+v", room.Settings)
	}
	g.fails(t, 1, `there is no room "dorp" at GATE; its rooms: drop, vip`, "set", "dorp", "mode=hold")
	if out := g.room(t, "set", "drop", "mode=hold", "--json"); !strings.HasPrefix(out, `{"name":"drop","settings":{"rate":"300/m"`) || !strings.Contains(out, `"mode":"hold"`) {
		t.Errorf("JSON: %s", out)
	}
}

func TestRoomReset(t *testing.T) {
	g := openGate(t, nil)
	same(t, g.room(t, "reset", "drop"), "drop: nothing to change\n")
	g.room(t, "set", "drop", "rate=300/m", "mode=hold", "session=5m")
	same(t, g.room(t, "reset", "drop", "mode", "max_active"), "drop  mode  hold -> auto  as the file says\n")
	same(t, g.room(t, "reset", "drop"), `
drop  rate     300/m -> 600/m  as the file says
drop  burst    5 -> 10         follows
drop  session  5m -> 10m       as the file says
`)
	g.fails(t, 2, `nothing was changed:
  mood: cannot be changed while the room runs; what can: rate, burst, max_active, max_waiting, session, mode, message`,
		"reset", "drop", "mood")
}

func TestRoomUsage(t *testing.T) {
	g := openGate(t, nil)
	g.fails(t, 2, `sluice room has no command "lst": want list, show, set or reset`, "lst")
	g.fails(t, 2, `"rate": want KEY=VALUE, such as rate=600/m`, "set", "drop", "rate")
	g.fails(t, 2, `"=5": want KEY=VALUE, such as rate=600/m`, "set", "drop", "=5")
	g.fails(t, 2, `mode is given twice`, "set", "drop", "mode=hold", "mode=open")
	g.fails(t, 2, "name a room first: sluice room list tells which there are\nUsage: room show NAME [flags]", "show")
	g.fails(t, 2, "say what to change of the room \"drop\", such as rate=600/m\nUsage: room set NAME KEY=VALUE... [flags]", "set", "drop")
	g.fails(t, 2, "unknown flag: --jsn\nSee room list --help", "list", "--jsn")
	out, err := runCommand(t, newRoomCommand())
	if err != nil || !strings.Contains(out, "sluice room set drop mode=hold") {
		t.Errorf("the help says %s, %v", out, err)
	}
}

func TestRoomTokens(t *testing.T) {
	g := openGate(t, func(g *aGate) {
		g.config.Loopback = false
		g.config.Tokens = []admin.Token{
			{Name: "vera", Role: "viewer", Hash: sha256.Sum256([]byte("looks"))},
			{Name: "otto", Role: "operator", Hash: sha256.Sum256([]byte("changes"))},
		}
	})
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	g.fails(t, 1, `
the gate at GATE answers 401: a token is needed: Authorization: Bearer TOKEN
Give one with --token-file FILE or in SLUICE_TOKEN; the gate's are listed in its admin.tokens_file.`, "list")

	t.Setenv("SLUICE_TOKEN", "looks")
	g.room(t, "list")
	g.fails(t, 1, `the gate at GATE answers 403: the token vera may look, not change: its role is not operator`, "set", "drop", "mode=hold")
	g.room(t, "set", "drop", "mode=hold", "--token-file", file("changes\n")) // the flag wins
	if out := g.room(t, "show", "drop"); !strings.Contains(out, "THEN by otto") {
		t.Errorf("the name behind the token is missing: %s", out)
	}
	t.Setenv("SLUICE_TOKEN", "guessed")
	g.fails(t, 1, `
the gate at GATE answers 401: the token is not one of this gate's
Give one with --token-file FILE or in SLUICE_TOKEN; the gate's are listed in its admin.tokens_file.`, "list")

	for _, text := range []string{"", "\n", "two\nlines", "two words", "schlüssel"} {
		if _, err := runCommand(t, newRoomCommand(), "list", "--admin", g.url, "--token-file", file(text)); exitCode(err) != 2 || strings.Contains(err.Error(), "lines") && text == "two\nlines" && strings.Contains(err.Error(), text) {
			t.Errorf("token file %q: %v", text, err)
		}
	}
	if _, err := runCommand(t, newRoomCommand(), "list", "--admin", g.url, "--token-file", "/nonexistent/token"); exitCode(err) != 2 {
		t.Errorf("no token file: %v", err)
	}
}

func TestRoomOfAGateThatIsNotThere(t *testing.T) {
	g := openGate(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + listener.Addr().String()
	_ = listener.Close()
	g.fails(t, 1, `
cannot reach the gate's admin listener at GATE: connection refused
Is the gate running there (sluice serve)? Name another address with --admin ADDR or SLUICE_ADMIN.`, "list")
	_, err = runCommand(t, newRoomCommand(), "list", "--admin", g.url)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestRoomAsksAStranger(t *testing.T) {
	g := openGate(t, nil)
	for name, answer := range map[string]http.HandlerFunc{
		"a shop": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.invalid/", http.StatusFound)
		},
		"half a story": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			_, err := runCommand(t, newRoomCommand(), "list", "--admin", server.URL)
			if exitCode(err) != 1 || !strings.Contains(err.Error(), "but not as a gate's admin listener does\nIs it the visitors' address?") {
				t.Errorf("%v", err)
			}
		})
	}
	g.rooms.Fail(queue.ErrUnavailable)
	g.fails(t, 1, `the gate at GATE answers 503: the store did not confirm the change, look at the room before you repeat it: queue: store unavailable`,
		"set", "drop", "mode=hold")
}

func TestRoomGivesUpOnAGateThatDoesNotAnswer(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	c, err := (&adminFlags{admin: server.URL}).client(20 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Patch(t.Context(), "drop", map[string]any{"mode": "hold"})
	if err == nil {
		t.Fatal("no error")
	}
	same(t, strings.ReplaceAll(err.Error(), server.URL, "GATE"), `
cannot reach the gate's admin listener at GATE: no answer within 20ms
The change may have been made all the same: look with sluice room show before you repeat it.`)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, _, err := c.Rooms(stopped); err != context.Canceled {
		t.Errorf("a command that was stopped says %v", err)
	}
}

func TestAdminURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9090":             "http://127.0.0.1:9090",
		":9090":                      "http://127.0.0.1:9090",
		"0.0.0.0:9090":               "http://127.0.0.1:9090",
		"[::]:9090":                  "http://[::1]:9090",
		"[::1]:9090":                 "http://[::1]:9090",
		"gate:9090":                  "http://gate:9090",
		"http://gate:9090":           "http://gate:9090",
		"http://gate:9090/":          "http://gate:9090",
		"https://gate.example":       "https://gate.example",
		"http://0.0.0.0:9090":        "http://127.0.0.1:9090",
		"9090":                       "",
		"gate":                       "",
		"gate:":                      "",
		"":                           "",
		"ftp://gate:9090":            "",
		"http://":                    "",
		"http://gate:9090/api":       "",
		"http://gate:9090?x":         "",
		"http://otto:secret@gate:90": "",
		"gate/x:9090":                "",
	} {
		got, err := adminURL(address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", address, got, err, want)
		}
	}
	t.Setenv("SLUICE_ADMIN", "nonsense")
	if _, err := (&adminFlags{}).client(time.Second); exitCode(err) != 2 || !strings.HasPrefix(err.Error(), `SLUICE_ADMIN "nonsense": want HOST:PORT`) {
		t.Errorf("%v", err)
	}
	if c, err := (&adminFlags{admin: ":1"}).client(time.Second); err != nil || c.base != "http://127.0.0.1:1" {
		t.Errorf("the flag does not win: %v", err)
	}
	t.Setenv("SLUICE_ADMIN", "")
	if c, err := (&adminFlags{}).client(time.Second); err != nil || c.base != "http://"+defaultAdmin {
		t.Errorf("the default is lost: %v", err)
	}
}

func TestHealthcheck(t *testing.T) {
	g := openGate(t, nil)
	t.Setenv("SLUICE_ADMIN", g.url)
	out, err := runCommand(t, newHealthcheckCommand())
	same(t, out, "ready\n")
	if err != nil {
		t.Error(err)
	}
	g.ready = errors.New("stopping")
	out, err = runCommand(t, newHealthcheckCommand())
	if exitCode(err) != 1 || out != "" {
		t.Errorf("exit %d, out %q", exitCode(err), out)
	}
	same(t, strings.ReplaceAll(err.Error(), g.url, "GATE"), "the gate at GATE is not ready: stopping")

	shop := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer shop.Close()
	if _, err := runCommand(t, newHealthcheckCommand(), "--admin", shop.URL); exitCode(err) != 1 {
		t.Errorf("anything that answers 200 is taken for a gate: %v", err)
	}
	if _, err := runCommand(t, newHealthcheckCommand(), "now"); exitCode(err) != 2 {
		t.Errorf("bad usage: %v", err)
	}
}
