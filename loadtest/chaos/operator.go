package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sluicegate/sluice/loadtest/stage"
)

// operator changes the room live, one change after the other, through the first gate
// that can. While the store is away none can: then it is tried until it is back, and
// the faults go on meanwhile.
type operator struct {
	gates []*gate
	ctx   context.Context
	stop  context.CancelFunc
	work  sync.WaitGroup
	turn  chan struct{} // closed when the last change so far is in force
	wrong error         // the last change did not come to be; for after wait
}

func newOperator(gates []*gate) *operator {
	o := &operator{gates: gates, turn: make(chan struct{})}
	o.ctx, o.stop = context.WithCancel(context.Background())
	close(o.turn)
	return o
}

// change asks for settings, and has then called once they are in force.
func (o *operator) change(settings string, then func()) {
	before, done := o.turn, make(chan struct{})
	o.turn = done
	o.work.Go(func() {
		defer close(done)
		<-before
		for {
			err := o.ask(settings)
			if err == nil {
				then()
				return
			}
			select {
			case <-o.ctx.Done():
				o.wrong = fmt.Errorf("change the room live to %s: %w", settings, err)
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

func (o *operator) ask(settings string) (err error) {
	for _, g := range o.gates {
		if err = g.ask("PATCH", "/api/v1/rooms/"+stage.Room, settings, 3*time.Second, io.Discard); err == nil {
			return nil
		}
	}
	return err
}

// wait returns when all changes are in force, or why they are not after a while.
func (o *operator) wait() error {
	over := time.AfterFunc(20*time.Second, o.stop)
	defer over.Stop()
	o.work.Wait()
	return o.wrong
}

// close gives up.
func (o *operator) close() {
	o.stop()
	o.work.Wait()
}
