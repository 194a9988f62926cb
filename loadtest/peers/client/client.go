// Package client sends as many requests as a server answers, over connections that
// are kept, at a small cost of its own: a few threads that wait for many
// connections at once, requests written beforehand, and no more read of an answer
// than it takes to know that it is the right one.
//
// It is a closed loop: each connection sends its next request once the answer to
// the last is read. So it tells what a request costs, not how long visitors would
// wait who come at their own pace.
package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load is what to send, where, and what must come back.
type Load struct {
	Addr        string
	Connections int
	// Requests are whole requests, as they are written. Each connection sends a
	// share of them in turn; where there are fewer than connections, several send
	// the same.
	Requests [][]byte
	Want     Want
}

// Want is what every answer must be like. Another answer ends the run: an error
// page is not measured as success.
type Want struct {
	Status           int
	MinBody, MaxBody int64  // bytes
	Prefix           string // how the body begins; "": in any way
	Header           string // a field that must be there; "": none
}

// Result is what was counted between the two marks of a run.
type Result struct {
	Requests   int64 // that were answered
	Elapsed    time.Duration
	Latency    *hdrhistogram.Histogram // nanoseconds from the request's sending to the answer's last byte
	Reconnects int64                   // connections opened anew because the server closed one
}

// patience is how long a single answer may take.
const patience = 10 * time.Second

// Run sends requests for a time to warm up and then for the time that counts, and
// calls mark when that begins and when it ends. It returns the first thing that
// was not as wanted.
func (l *Load) Run(ctx context.Context, warm, during time.Duration, mark func() error) (Result, error) {
	if l.Connections < 1 || len(l.Requests) == 0 {
		return Result{}, errors.New("client: no connection or no request to send")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers, err := l.start(ctx, cancel)
	if err != nil {
		return Result{}, err
	}
	end := func(err error) error {
		cancel(err)
		for _, w := range workers {
			w.wait()
		}
		return context.Cause(ctx) // of several, the first that went wrong
	}
	if err := sleep(ctx, warm); err != nil {
		return Result{}, end(err)
	}
	began := time.Now()
	for _, w := range workers {
		w.counting.Store(true)
	}
	if err := mark(); err != nil {
		return Result{}, end(err)
	}
	if err := sleep(ctx, during); err != nil {
		return Result{}, end(err)
	}
	if err := mark(); err != nil {
		return Result{}, end(err)
	}
	for _, w := range workers {
		w.counting.Store(false)
	}
	r := Result{Elapsed: time.Since(began), Latency: newHistogram()}
	if err := end(errDone); !errors.Is(err, errDone) {
		return Result{}, err
	}
	for _, w := range workers {
		r.Requests += w.requests
		r.Reconnects += w.reconnects
		r.Latency.Merge(w.latency)
	}
	if r.Requests == 0 {
		return Result{}, fmt.Errorf("client: %s answered nothing within %v", l.Addr, during)
	}
	return r, nil
}

var errDone = errors.New("client: the time is over")

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1000, int64(2*patience), 3)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// share is what connection i of n sends.
func share(requests [][]byte, i, n int) [][]byte {
	var own [][]byte
	for at := i; at < len(requests); at += n {
		own = append(own, requests[at])
	}
	if own == nil {
		own = append(own, requests[i%len(requests)])
	}
	return own
}
