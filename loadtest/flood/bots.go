package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/loadtest/stage"
)

// bots are the programs: each asks for the page once, as a browser would, over a
// connection of its own, and throws away what it gets.
type bots struct {
	gates []string // HOST:PORT

	sent, waiting, full, other, failed atomic.Int64

	mu   sync.Mutex
	took []time.Duration
}

const (
	botsAtOnce  = 2000
	botPatience = 20 * time.Second
)

var botRequest = []byte("GET " + stage.Path + " HTTP/1.1\r\nHost: shop.example\r\nAccept: text/html\r\n" +
	"User-Agent: flood\r\nConnection: close\r\n\r\n")

// come sends so many a minute, whatever becomes of those before.
func (b *bots) come(ctx context.Context, perMinute int, length time.Duration) {
	slots := make(chan struct{}, botsAtOnce)
	var all sync.WaitGroup
	defer all.Wait()
	began := time.Now()
	for i := 0; ; i++ {
		due := time.Duration(i) * time.Minute / time.Duration(perMinute)
		if due >= length {
			return
		}
		if wait := time.Until(began.Add(due)); wait > time.Millisecond {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		all.Go(func() {
			b.ask(ctx, i)
			<-slots
		})
	}
}

// ask is one of them, from an address that few others have.
func (b *bots) ask(ctx context.Context, i int) {
	ctx, cancel := context.WithTimeout(ctx, botPatience)
	defer cancel()
	b.sent.Add(1)
	from := &net.TCPAddr{IP: net.IPv4(127, 1+byte(i%100), byte(i/100%200), 1+byte(i/20_000%200))}
	d := net.Dialer{LocalAddr: from}
	began := time.Now()
	state, err := b.page(ctx, &d, b.gates[i%len(b.gates)])
	took := time.Since(began)
	switch {
	case err != nil:
		b.failed.Add(1)
		return
	case state == "waiting":
		b.waiting.Add(1)
	case state == "full":
		b.full.Add(1)
	default:
		b.other.Add(1)
	}
	b.mu.Lock()
	b.took = append(b.took, took)
	b.mu.Unlock()
}

func (b *bots) page(ctx context.Context, d *net.Dialer, gate string) (state string, err error) {
	c, err := d.DialContext(ctx, "tcp", gate)
	if err != nil {
		return "", err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	if _, err := c.Write(botRequest); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.Header.Get("Sluice-State"), err
}

// slowest is the time that one in a hundred took longer than.
func (b *bots) slowest() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.took) == 0 {
		return 0
	}
	slices.Sort(b.took)
	return b.took[len(b.took)*99/100]
}

func hosts(gates []*stage.Gate) (list []string) {
	for _, g := range gates {
		u, err := url.Parse(g.URL)
		if err != nil {
			panic("BUG: a gate without an address: " + err.Error())
		}
		list = append(list, u.Host)
	}
	return list
}
