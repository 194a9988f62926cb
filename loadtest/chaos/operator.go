package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sluicegate/sluice/loadtest/stage"
)

// operator changes the room live, one change after the other, through the first gate
// that can. While the store is away none can: then it is tried until it is back, and
// the faults go on meanwhile. What a gate that hangs was asked must come to nothing when it
// goes on: every change names the version of the room that it is for.
type operator struct {
	gates []*gate
	ctx   context.Context
	stop  context.CancelFunc
	work  sync.WaitGroup
	turn  chan struct{} // closed when the last change so far is in force
	wrong error         // the last change did not come to be; for after wait

	version int64 // of the room; below 0: not known
}

func newOperator(gates []*gate) *operator {
	o := &operator{gates: gates, turn: make(chan struct{}), version: -1}
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
		if err = o.askAt(g, settings); err == nil {
			return nil
		}
	}
	return err
}

func (o *operator) askAt(g *gate, settings string) error {
	const path, patience = "/api/v1/rooms/" + stage.Room, 3 * time.Second
	say := func(method, body string) error {
		var answer bytes.Buffer
		if err := g.ask(method, path, body, patience, &answer); err != nil {
			o.version = -1 // somebody else may have been faster, or a loss
			return err
		}
		var room struct{ Version int64 }
		err := json.Unmarshal(answer.Bytes(), &room)
		o.version = room.Version
		return err
	}
	if o.version < 0 {
		if err := say("GET", ""); err != nil {
			return err
		}
	}
	return say("PATCH", fmt.Sprintf(`{"version": %d, %s`, o.version, strings.TrimPrefix(settings, "{")))
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
