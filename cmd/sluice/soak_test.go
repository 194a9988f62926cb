//go:build soak

package main

import (
	"bufio"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// What takes long: `make soak`.

func TestSoakTwoGigabytes(t *testing.T) { judgeBigBodies(t, 2<<30) }

// TestSoakIdle holds an event stream and a WebSocket for an hour, or SOAK_FOR, with a
// sign of life every 15 seconds, and one of each that is silent for four minutes.
func TestSoakIdle(t *testing.T) {
	length := time.Hour
	if s := os.Getenv("SOAK_FOR"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	g := openStreamsGate(t, openStreamsShop(t).url, "")
	end := time.Now().Add(length)
	var wg sync.WaitGroup
	for _, every := range []time.Duration{15 * time.Second, 4 * time.Minute} {
		wg.Go(func() {
			resp, err := http.Get(g.visitors + "/drop/events?every=" + every.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			lines := bufio.NewScanner(resp.Body)
			for n := 0; time.Now().Before(end); n++ {
				if !lines.Scan() || lines.Text() != "data: "+strconv.Itoa(n) || !lines.Scan() {
					t.Errorf("event %d after a beat of %v: %q, %v", n, every, lines.Text(), lines.Err())
					return
				}
			}
		})
		wg.Go(func() {
			c, _, err := dialTunnel(g, "/drop/ws")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for n := 0; time.Now().Before(end); n++ {
				want := strings.Repeat("beat ", n+1)
				if err := c.WriteMessage(websocket.TextMessage, []byte(want)); err != nil {
					t.Errorf("beat %d of %v: %v", n, every, err)
					return
				}
				if _, got, err := c.ReadMessage(); err != nil || string(got) != want {
					t.Errorf("beat %d of %v: %.40q, %v", n, every, got, err)
					return
				}
				time.Sleep(min(every, time.Until(end)))
			}
		})
	}
	wg.Wait()
}
