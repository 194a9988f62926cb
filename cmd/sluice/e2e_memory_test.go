//go:build !race

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A crowd that needs three times the memory that a gate has: everybody who waits is
// answered and keeps the place, who is inside shops on, and the gate stays small.
func TestACrowdThatMemoryIsTooLittleFor(t *testing.T) {
	t.Parallel()
	const (
		memory  = 72 << 20
		bears   = 469 // three quarters of it less 32 MiB, 48 KiB each
		persons = 1500
	)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer shop.Close()
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	conf := fmt.Sprintf(`
secret: %q
shutdown: {delay: 0s, timeout: 1s}
origin: {url: %q, max_conns: 64}
rooms: [{name: drop, match: [{path: /drop}], rate: 1/h, burst: 1, session: 1h}]
`, secret, shop.URL)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGate(t, under(t, fmt.Sprintf("export GOMEMLIMIT=%d", memory)), file)
	if n := gauge(t, g, "sluice_connections_limit"); n != bears {
		t.Errorf("%v connections are let in, memory bears %d", n, bears)
	}
	if said := fmt.Sprintf(`"msg":"memory","limit":%d,"enough_for":%d,"hint":`, memory, bears); !strings.Contains(g.printed(), said) {
		t.Errorf("the gate does not tell that its memory is little:\n%s", g.printed())
	}
	ann := &browser{http: &http.Client{Transport: newTransport(t), Timeout: time.Minute}, gates: []string{g.visitors}, room: "drop"}
	if page, err := ann.open(t.Context(), "/drop"); err != nil || page.status != http.StatusOK {
		t.Fatalf("nobody is let in: %+v, %v", page, err)
	}
	var crowd sync.WaitGroup
	for i := range persons {
		// Each keeps a connection, as a browser would.
		b := &browser{http: &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}, gates: []string{g.visitors}, room: "drop"}
		crowd.Go(func() {
			defer b.http.CloseIdleConnections()
			time.Sleep(time.Duration(i) * time.Millisecond)
			if err := waits(t.Context(), b, 5); err != nil {
				t.Errorf("visitor %d: %v", i, err)
			}
		})
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		crowd.Wait()
	}()
	for shopping := true; shopping; {
		select {
		case <-over:
			shopping = false
		case <-time.After(50 * time.Millisecond): // she is a person
		}
		if page, err := ann.open(t.Context(), "/drop"); err != nil || page.status != http.StatusOK {
			t.Errorf("who is inside is told %+v, %v", page, err)
		}
	}
	peak := peakMemory(t, g)
	t.Logf("the gate grew to %d MiB", peak>>20)
	if peak > 2*memory {
		t.Error("that is too much")
	}
}

// waits joins, and polls so many times. A connection that made room for another is opened
// again, and who finds no room comes later.
func waits(ctx context.Context, b *browser, polls int) error {
	place := int64(0)
	for deadline := time.Now().Add(4 * time.Minute); polls > 0; {
		r, err := b.open(ctx, "/drop")
		switch {
		case time.Now().After(deadline):
			return fmt.Errorf("%+v, %v", r, err)
		case err != nil, r.status == http.StatusServiceUnavailable:
			time.Sleep(500 * time.Millisecond)
			continue
		case r.status != http.StatusTooManyRequests:
			return fmt.Errorf("%d: %s", r.status, r.body)
		}
		if now := int64(b.token().Place); place == 0 {
			place = now
		} else if now != place {
			return fmt.Errorf("the place was %d and is %d", place, now)
		}
		polls--
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}
