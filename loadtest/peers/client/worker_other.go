//go:build !linux

package client

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/HdrHistogram/hdrhistogram-go"
)

type worker struct {
	counting             atomic.Bool
	requests, reconnects int64
	latency              *hdrhistogram.Histogram
}

func (*worker) wait() {}

func (*Load) start(context.Context, context.CancelCauseFunc) ([]*worker, error) {
	return nil, errors.New("client: measuring needs Linux, its epoll and its /proc")
}
