package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// openGates is openSite with gates that are processes of their own, on one Redis.
func openGates(t *testing.T, n int, room, top string) (*site, []*gateProcess) {
	t.Helper()
	s := &site{t: t, shop: openRecorder(t), file: t.TempDir() + "/sluice.yaml", transport: newTransport(t)}
	if !strings.Contains(top, "store:") {
		top += "\nstore: redis://" + proc.Redis(t) + "/0"
	}
	s.write(room, top)
	gates := make([]*gateProcess, n)
	for i := range gates {
		gates[i] = startGate(t, sluice(t), s.file)
		await(t, "the gate knows its room", func() error {
			_, err := roomCounts(gates[i].operators, "drop")
			return err
		})
	}
	s.visitors, s.operators = gates[0].visitors, gates[0].operators
	return s, gates
}

// at is a visitor who asks at one gate only.
func (s *site) at(g *gateProcess) *guest {
	v := s.visitor()
	v.gates = []string{g.visitors}
	return v
}

// Gates as processes: several at one store, stopped, killed and reloaded.
func TestGates(t *testing.T) {
	t.Parallel()
	t.Run("a live change reaches the other gate within a second, and stays until it is reset", func(t *testing.T) {
		t.Parallel()
		s, gates := openGates(t, 2, "rate: 1/h\nmode: auto\n", "")
		first, ann := s.at(gates[0]), s.at(gates[1])
		if r := first.opens("/drop/"); r.status != http.StatusOK {
			t.Fatalf("status %d", r.status)
		}
		ann.joins()
		rate := func(g *gateProcess) string {
			return settingsOf(t, g.operators)["rate"].(string)
		}
		patch(t, gates[0].operators, "drop", `{"rate": "100/s", "message": "faster"}`)
		began := time.Now()
		await(t, "the other gate has the rate", func() error {
			if got := rate(gates[1]); got != "100/s" {
				return errors.New(got)
			}
			return nil
		})
		if took := time.Since(began); took > time.Second {
			t.Errorf("that took %v", took)
		}
		ann.enters()
		if got := ann.polls(); *got.Message != "faster" {
			t.Errorf("the message is %q", *got.Message)
		}
		// A gate that starts later has it, too.
		gates[1].stop()
		gates[1] = startGate(t, sluice(t), s.file)
		await(t, "a gate that starts has the rate", func() error {
			if got := rate(gates[1]); got != "100/s" {
				return errors.New(got)
			}
			return nil
		})
		patch(t, gates[1].operators, "drop", `{"rate": null}`)
		await(t, "both gates have the file's rate", func() error {
			if a, b := rate(gates[0]), rate(gates[1]); a != "1/h" || b != "1/h" {
				return fmt.Errorf("%s and %s", a, b)
			}
			return nil
		})
	})

	t.Run("places outlive every gate", func(t *testing.T) {
		t.Parallel()
		s, gates := openGates(t, 2, "", "")
		visitors := make([]*guest, 20)
		places := make([]token.Token, len(visitors))
		for i := range visitors {
			visitors[i] = s.at(gates[i%2])
			places[i] = visitors[i].joins()
		}
		gates[0].stop()
		if err := gates[1].cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-gates[1].done
		gates[1].stopped = true
		again := startGate(t, sluice(t), s.file)
		for i, v := range visitors {
			v.gates = []string{again.visitors}
			if got := v.polls(); got.State != "waiting" || v.ticket().ID != places[i].ID || v.ticket().Place != places[i].Place {
				t.Errorf("visitor %d is told %+v and holds %+v, had %+v", i, got, v.ticket(), places[i])
			}
		}
		await(t, "positions are those of the line", func() error {
			for i, v := range visitors {
				if got := v.polls(); got.Position == nil || *got.Position != int64(i+1) {
					return fmt.Errorf("visitor %d stands at %+v", i, got)
				}
			}
			return nil
		})
		patch(t, again.operators, "drop", `{"mode": "auto", "max_active": 1}`)
		visitors[0].enters()
		if got := visitors[1].polls(); got.State != "waiting" {
			t.Errorf("the second is told %q", got.State)
		}
	})

	t.Run("a pass is good at every gate, also where its store is gone", func(t *testing.T) {
		t.Parallel()
		port := proc.FreePort(t)
		store := proc.RedisAt(t, port)
		s, gates := openGates(t, 2, "mode: auto\nmax_active: 1\n", "store: redis://127.0.0.1:"+strconv.Itoa(port)+"/0")
		ann, bob := s.at(gates[0]), s.at(gates[1])
		ann.opens("/drop/")
		place := bob.joins()
		store.Kill()
		ann.gates = []string{gates[0].visitors, gates[1].visitors}
		for range 10 {
			if r := ann.opens("/drop/"); r.status != http.StatusOK {
				t.Errorf("status %d with a pass", r.status)
			}
		}
		late := s.at(gates[1])
		late.joins() // a place is an instant
		if got := bob.polls(); got.State != "waiting" || bob.ticket() != place {
			t.Errorf("bob is told %+v and holds %+v, had %+v", got, bob.ticket(), place)
		}
		if late.ticket().Place <= place.Place {
			t.Errorf("who came later stands at %+v, before %+v", late.ticket(), place)
		}
		if err := ready(gates[1].operators); err != nil {
			t.Errorf("without its store the gate is not ready: %v", err)
		}
	})

	t.Run("once its store answers a gate says what its settings risk", func(t *testing.T) {
		t.Parallel()
		port := proc.FreePort(t)
		s := &site{t: t, shop: openRecorder(t), file: t.TempDir() + "/sluice.yaml", transport: newTransport(t)}
		s.write("mode: auto\n", "store: redis://127.0.0.1:"+strconv.Itoa(port)+"/0")
		gate := startGate(t, sluice(t), s.file)
		proc.RedisAt(t, port, "--maxmemory-policy", "allkeys-lru")
		for _, hint := range []string{"appendonly yes", "maxmemory-policy noeviction"} {
			await(t, "the gate warns: "+hint, func() error {
				if !strings.Contains(gate.printed(), hint) {
					return errors.New("not yet")
				}
				return nil
			})
		}
	})

	t.Run("a gate that stops says so first and finishes what is under way", func(t *testing.T) {
		t.Parallel()
		s, gates := openGates(t, 1, "mode: auto\n", "store: memory\nshutdown: {delay: 1s, timeout: 20s}")
		ann := s.visitor()
		ann.opens("/drop/")
		silent, err := net.Dial("tcp", strings.TrimPrefix(s.visitors, "http://")) // as browsers do ahead of need
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		type result struct {
			r   *reply
			err error
		}
		slow := make(chan result, 1)
		s.shop.asked()
		go func() {
			r, err := ann.open(context.Background(), "/drop/slow")
			slow <- result{r, err}
		}()
		await(t, "the slow request has reached the shop", func() error {
			s.shop.mu.Lock()
			defer s.shop.mu.Unlock()
			if len(s.shop.seen) == 0 {
				return errors.New("not yet")
			}
			return nil
		})
		gates[0].signal(syscall.SIGTERM)
		await(t, "the gate is not ready", func() error {
			resp, err := http.Get(s.operators + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable {
				return fmt.Errorf("status %d", resp.StatusCode)
			}
			return nil
		})
		health, err := http.Get(s.visitors + "/.sluice/health") // still taken, since the balancer may not know yet
		if err != nil {
			t.Fatal(err)
		}
		health.Body.Close()
		if health.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("/.sluice/health has status %d", health.StatusCode)
		}
		if r := s.visitor().opens("/drop/"); r.status != http.StatusOK {
			t.Errorf("before the delay is over a visitor gets status %d", r.status)
		}
		await(t, "no new visitors are taken", func() error {
			c, err := net.Dial("tcp", strings.TrimPrefix(s.visitors, "http://"))
			if err == nil {
				c.Close()
				return errors.New("connected")
			}
			return nil
		})
		select {
		case got := <-slow:
			t.Fatalf("the slow request has an answer already: %+v", got)
		case <-gates[0].done:
			t.Fatal("the gate ended before the slow request")
		default:
		}
		s.shop.release()
		if got := <-slow; got.err != nil || got.r.status != http.StatusOK || string(got.r.body) != "shop: GET /drop/slow" {
			t.Errorf("the slow request got %+v", got)
		}
		asked := time.Now()
		gates[0].ended()
		if took := time.Since(asked); took > 10*time.Second {
			t.Errorf("then it took %v to end", took)
		}
	})

	t.Run("a held poll is answered by a gate that stops", func(t *testing.T) {
		t.Parallel()
		s, gates := openGates(t, 1, "mode: auto\nmax_active: 1\n", "store: memory")
		s.visitor().opens("/drop/")
		ann := s.visitor()
		ann.joins()
		answered := make(chan error, 1)
		go func() {
			_, a, err := ann.ask(context.Background(), "GET")
			if err == nil && a.State != "waiting" {
				err = fmt.Errorf("state %q", a.State)
			}
			answered <- err
		}()
		time.Sleep(300 * time.Millisecond) // until it is held: nothing tells
		gates[0].stop()
		if err := <-answered; err != nil {
			t.Errorf("the poll that was held got %v", err)
		}
	})

	t.Run("SIGHUP applies a changed file, and a bad one changes nothing", func(t *testing.T) {
		t.Parallel()
		s, gates := openGates(t, 1, "max_active: 1\n", "store: memory")
		ann := s.visitor()
		place := ann.joins()
		reloads := func(result string) int {
			return strings.Count(gates[0].printed(), result)
		}
		hup := func(result string) {
			t.Helper()
			before := reloads(result)
			gates[0].signal(syscall.SIGHUP)
			await(t, "the gate says: "+result, func() error {
				if reloads(result) == before {
					return errors.New("not yet")
				}
				return nil
			})
		}
		s.write("max_active: 7\nmessage: hello\n", "store: memory")
		hup("the configuration was reloaded")
		if got := settingsOf(t, s.operators); got["max_active"] != 7.0 || got["message"] != "hello" {
			t.Errorf("the settings are %v", got)
		}
		if got := ann.polls(); *got.Message != "hello" || ann.ticket() != place {
			t.Errorf("ann is told %+v and holds %+v, had %+v", got, ann.ticket(), place)
		}
		for _, bad := range []string{
			"max_active: 0\n", "no_such_key: 1\n", "rate: fast\n",
		} {
			s.write("message: bad\n"+bad, "store: memory")
			hup("the configuration was not reloaded")
			if got := settingsOf(t, s.operators); got["max_active"] != 7.0 || got["message"] != "hello" {
				t.Errorf("after %q the settings are %v", bad, got)
			}
		}
		if err := os.Remove(s.file); err != nil {
			t.Fatal(err)
		}
		hup("the configuration was not reloaded")
		s.write("max_active: 7\n", "store: memory\nlog: {level: debug}")
		hup("the configuration was not reloaded") // what a running gate cannot change
		if got := ann.polls(); got.State != "waiting" || ann.ticket() != place {
			t.Errorf("ann is told %+v and holds %+v, had %+v", got, ann.ticket(), place)
		}
		metrics := scrape(t, s.operators)
		if !strings.Contains(metrics, "\nsluice_config_last_reload_successful 0\n") {
			t.Error("the metrics do not tell of the bad reload")
		}
		s.write("max_active: 8\nmode: auto\n", "store: memory")
		hup("the configuration was reloaded")
		ann.enters()
		if !strings.Contains(scrape(t, s.operators), "\nsluice_config_last_reload_successful 1\n") {
			t.Error("the metrics do not tell of the good reload")
		}
	})

	t.Run("a reload cuts nothing off that is under way", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "mode: auto\n", "")
		ann := s.visitor()
		ann.opens("/drop/")
		s.shop.asked()
		slow := make(chan string, 1)
		go func() {
			r, err := ann.open(context.Background(), "/drop/slow")
			slow <- fmt.Sprint(r != nil && r.status == http.StatusOK, err)
		}()
		await(t, "the slow request has reached the shop", func() error {
			s.shop.mu.Lock()
			defer s.shop.mu.Unlock()
			if len(s.shop.seen) == 0 {
				return errors.New("not yet")
			}
			return nil
		})
		s.write("mode: auto\nmessage: new\n", "")
		if status := s.reload(); status/100 != 2 {
			t.Fatalf("reload: status %d", status)
		}
		if r := ann.copy().opens("/drop/"); r.status != http.StatusOK {
			t.Errorf("after the reload: status %d", r.status)
		}
		s.shop.release()
		if got := <-slow; got != "true <nil>" {
			t.Errorf("the request under way: %s", got)
		}
	})

	t.Run("a shop that does not answer costs nobody their pass", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "mode: auto\nmax_active: 1\n", "")
		l, err := net.Listen("tcp", "127.0.0.1:0") // a shop that hangs up
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = http.ReadRequest(bufio.NewReader(c))
				c.Close()
			}
		}()
		working := s.shop.url
		s.shop.url = "http://" + l.Addr().String()
		s.write("mode: auto\nmax_active: 1\n", "")
		s.reload()
		ann := s.visitor()
		r := ann.opens("/drop/")
		if r.status != http.StatusBadGateway || ann.token().Kind != token.Pass || r.header.Get("Retry-After") == "" {
			t.Errorf("status %d with %v, holds %+v", r.status, r.header, ann.token())
		}
		if r := ann.send("GET", "/drop/stock.json", script, ""); r.status != http.StatusBadGateway || r.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("JSON: status %d of type %q", r.status, r.header.Get("Content-Type"))
		}
		s.shop.url = working
		s.write("mode: auto\nmax_active: 1\n", "")
		s.reload()
		if r := ann.opens("/drop/"); r.status != http.StatusOK {
			t.Errorf("when the shop is back: status %d", r.status)
		}
	})
}

// settingsOf is what is in force, by a gate's operators' API.
func settingsOf(t *testing.T, operators string) map[string]any {
	t.Helper()
	var a struct{ Settings map[string]any }
	if err := getJSON(operators+"/api/v1/rooms/drop", &a); err != nil {
		t.Fatal(err)
	}
	return a.Settings
}
