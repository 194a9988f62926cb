package run

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/summary"
)

// headStart is between the moment when all workers are ready and the run's start,
// so that each has heard of it.
const headStart = 100 * time.Millisecond

// patience is how long workers may take to stop, once told to, before they are killed.
const patience = 30 * time.Second

// workers is a crew of processes.
type workers struct {
	rehearsal *Rehearsal
	all       []*hired
	start     time.Time

	mu  sync.Mutex
	now [][]progress // by worker, the latest
	sum []json.RawMessage
}

// hired is one worker, seen from the process that it works for.
type hired struct {
	number  int
	segment executor.Segment
	cmd     *exec.Cmd
	in      io.WriteCloser
	from    *json.Decoder
	said    tail // on standard error
	events  events
	points  *os.File      // the end of a pipe; nil: none
	copied  chan struct{} // closed when its points are; nil: none
	done    report
}

// hire starts the workers and waits until each is ready.
func (r *Rehearsal) hire(ctx context.Context, o *Options, p *points) (_ *workers, err error) {
	segments, err := o.Segment.Split(o.Workers)
	if err != nil {
		return nil, err
	}
	c := &workers{
		rehearsal: r, start: o.Start,
		now: make([][]progress, len(segments)), sum: make([]json.RawMessage, len(segments)),
	}
	defer func() {
		if err != nil {
			c.dismiss()
			_ = c.close()
		}
	}()
	for i, segment := range segments {
		h := &hired{number: i + 1, segment: segment}
		if err := h.hire(o.Worker(), p != nil); err != nil {
			return nil, err
		}
		c.all = append(c.all, h)
		// One that does not read it is not ready either.
		_ = json.NewEncoder(h.in).Encode(job{
			File: r.source.File, Script: r.source.Data, Targets: o.Targets, Seed: o.Seed, Segment: segment,
			Points: p != nil, Totals: r.Script.Thresholds.AnyAbort(),
		})
	}
	ended := context.AfterFunc(ctx, c.dismiss) // what is read below then ends
	defer ended()
	for _, h := range c.all {
		if rep, err := h.hear(); err != nil || !rep.Ready {
			return nil, cmp.Or(context.Cause(ctx), h.wrong(err))
		}
		if h.points != nil {
			h.copied = make(chan struct{})
			go func() { // until the worker closes its end
				defer close(h.copied)
				p.copy(h.points)
			}()
		}
	}
	if c.start.IsZero() {
		c.start = time.Now().Add(headStart)
	}
	o.Start = c.start
	return c, nil
}

// hire starts the process.
func (h *hired) hire(cmd *exec.Cmd, points bool) (err error) {
	h.cmd = cmd
	if h.events, err = newEvents(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = h.events.file.Close()
		}
	}()
	cmd.ExtraFiles = []*os.File{h.events.file}
	if points {
		var w *os.File
		if h.points, w, err = os.Pipe(); err != nil {
			return err
		}
		defer w.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
	}
	cmd.Stderr = &h.said
	cmd.WaitDelay = time.Second // for what it may have started itself
	if h.in, err = cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	h.from = json.NewDecoder(bufio.NewReaderSize(out, 1<<16))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start worker %d: %w", h.number, err)
	}
	return nil
}

// hear returns the next that a worker says. One that says what went wrong, or
// nothing any more, is an error.
func (h *hired) hear() (rep report, err error) {
	if err = h.from.Decode(&rep); err == nil && rep.Error != "" {
		err = errors.New(rep.Error)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) {
		err = errors.New("it ended in the middle of its work")
	}
	return rep, err
}

// wrong ends a worker that does not do its work, and tells what became of it.
func (h *hired) wrong(err error) error {
	if h.cmd.ProcessState == nil {
		h.in.Close()
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait() // until all that it printed is here
	}
	text := ""
	if s := strings.TrimSpace(h.said.String()); s != "" {
		text = "\n" + s
	}
	return fmt.Errorf("worker %d of the visitors %s: %w%s", h.number, h.segment, cmp.Or(err, errors.New("it does not work")), text)
}

func (c *workers) run(ctx context.Context, tell func([]summary.Progress)) (cut bool, err error) {
	failed := make([]error, len(c.all))
	var heard sync.WaitGroup
	stopped, stop := context.WithCancel(ctx)
	defer stop()
	for i, h := range c.all {
		heard.Go(func() {
			if failed[i] = c.listen(i, h); failed[i] != nil {
				stop() // the others' visitors would be judged for nothing
			}
		})
	}
	context.AfterFunc(stopped, c.dismiss)
	over := make(chan struct{})
	go func() {
		heard.Wait()
		close(over)
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			tell(c.progress())
			continue
		case <-over:
			tell(c.progress())
		}
		break
	}
	for _, h := range c.all {
		cut = cut || h.done.Cut
	}
	return cut, errors.Join(failed...)
}

// listen sends a worker off and hears it out.
func (c *workers) listen(i int, h *hired) error {
	_ = json.NewEncoder(h.in).Encode(begin{c.start}) // one that does not hear it is heard of below
	for {
		rep, err := h.hear()
		if err != nil {
			return h.wrong(err)
		}
		if rep.Done {
			h.done = rep
			h.in.Close()
			if err := h.cmd.Wait(); err != nil {
				return h.wrong(err)
			}
			if h.copied != nil {
				<-h.copied
			}
			return nil
		}
		c.mu.Lock()
		c.now[i], c.sum[i] = rep.Progress, rep.Totals
		c.mu.Unlock()
	}
}

// dismiss tells the workers to stop, and kills who does not.
func (c *workers) dismiss() {
	for _, h := range c.all {
		if h.in != nil {
			h.in.Close()
		}
		time.AfterFunc(patience, func() { _ = h.cmd.Process.Kill() })
	}
}

func (c *workers) progress() []summary.Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]summary.Progress, len(c.rehearsal.Script.Scenarios))
	for i := range out {
		p := &out[i]
		p.Scenario, p.Over = &c.rehearsal.Script.Scenarios[i].Scenario, true
		for _, w := range c.now {
			if i >= len(w) {
				p.Over = false
				continue
			}
			p.VUs += w[i].VUs
			p.Ready += w[i].Ready
			p.Begun += w[i].Begun
			p.Done += w[i].Done
			p.Interrupted += w[i].Interrupted
			p.Dropped += w[i].Dropped
			p.Over = p.Over && w[i].Over
		}
	}
	return out
}

func (c *workers) totals() (*metric.Registry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	registry := newRegistry()
	registry.Start(c.start)
	for _, data := range c.sum {
		if data == nil {
			continue
		}
		if err := registry.Merge(data); err != nil {
			return nil, err
		}
	}
	return registry, nil
}

func (c *workers) result() (*result, error) {
	res := &result{registry: newRegistry(), failures: Failures{}}
	res.registry.Start(c.start)
	for _, h := range c.all {
		if err := res.registry.Merge(h.done.Metrics); err != nil {
			return nil, h.wrong(err)
		}
		log, err := h.events.rewind()
		if err != nil {
			return nil, err
		}
		res.logs = append(res.logs, log)
		res.failures.add(h.done.Failures)
	}
	return res, nil
}

// close waits for processes that have not ended, and lets go of their files.
func (c *workers) close() error {
	var logs []events
	for _, h := range c.all {
		if h.cmd.ProcessState == nil {
			_ = h.cmd.Wait()
		}
		if h.points != nil {
			_ = h.points.Close()
		}
		logs = append(logs, h.events)
	}
	return closeAll(logs)
}

// tail keeps the end of what a worker prints.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = bytes.Clone(t.text[over:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
