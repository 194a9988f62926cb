package run

import (
	"context"
	"fmt"
	"net"

	"github.com/sluicegate/sluice/loadtest/origin"
)

// serveShop serves a recording origin, and ends the run should that fail. What it
// returns closes the origin.
func serveShop(l net.Listener, gated string, stop context.CancelCauseFunc) func() (*origin.Stats, error) {
	if l == nil {
		return func() (*origin.Stats, error) { return nil, nil }
	}
	shop := origin.New(origin.Config{Gated: gated})
	failed := make(chan error, 1)
	go func() {
		err := shop.Serve(l)
		if err != nil {
			err = fmt.Errorf("serve the origin: %w", err)
			stop(err)
		}
		failed <- err
	}()
	return func() (*origin.Stats, error) {
		closed := shop.Close()
		if err := <-failed; err != nil {
			return nil, err
		}
		if closed != nil {
			return nil, fmt.Errorf("close the origin: %w", closed)
		}
		stats := shop.Stats()
		return &stats, nil
	}
}
