package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/script"
)

// A worker is a process that does a share of a run for another, to which it talks
// in lines of JSON by standard input and output:
//
//	job    ──▶
//	       ◀── ready
//	go     ──▶
//	       ◀── each second: how far it is
//	       ◀── done: what it measured
//
// Its input ends when it is to stop, also when the other process dies. What its
// visitors saw goes into a file that it is given, its samples into a pipe.

// Files of a worker, counted as in exec.Cmd's ExtraFiles.
const (
	eventsFile = 3
	pointsFile = 4
)

// job is what a worker is told.
type job struct {
	File    string           `json:"file"`
	Script  []byte           `json:"script"`
	Targets []string         `json:"targets"`
	Seed    uint64           `json:"seed"`
	Segment executor.Segment `json:"segment"`
	Points  bool             `json:"points"`
	Totals  bool             `json:"totals"` // wanted each second, for thresholds that end a run
}

// begin is when to.
type begin struct {
	Start time.Time `json:"start"`
}

// report is what a worker says.
type report struct {
	Ready    bool            `json:"ready,omitempty"`
	Progress []progress      `json:"progress,omitempty"` // by scenario
	Totals   json.RawMessage `json:"totals,omitempty"`

	Done     bool            `json:"done,omitempty"`
	Cut      bool            `json:"cut,omitempty"`
	Metrics  json.RawMessage `json:"metrics,omitempty"`
	Failures Failures        `json:"failures,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// progress is summary.Progress on its way.
type progress struct {
	VUs, Ready                        int64
	Begun, Done, Interrupted, Dropped int64
	Over                              bool
}

// Work is the life of a worker: it reads what to do from in and tells on out how it
// goes. env is where a script's ${NAME} come from. What it returns was told, too.
func Work(in io.Reader, out io.Writer, env func(string) (string, bool)) error {
	w := &worker{from: json.NewDecoder(in), to: json.NewEncoder(out)}
	err := w.work(env)
	if err != nil {
		err = errors.Join(err, w.to.Encode(report{Error: err.Error()}))
	}
	return err
}

type worker struct {
	from *json.Decoder
	to   *json.Encoder
}

func (w *worker) work(env func(string) (string, bool)) error {
	var j job
	if err := w.from.Decode(&j); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	r, err := Load(script.Source{File: j.File, Data: j.Script, Env: env})
	if err != nil {
		return err
	}
	file := os.NewFile(eventsFile, "events")
	defer file.Close()
	log := judge.NewLog(file)
	registry := newRegistry()
	s, err := r.share(registry, log, j.Targets, executor.Options{Segment: j.Segment, Seed: j.Seed})
	if err != nil {
		return err
	}
	if err := w.to.Encode(report{Ready: true}); err != nil {
		return err
	}
	var b begin
	if err := w.from.Decode(&b); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	s.options.Start = b.Start
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		var more json.RawMessage
		_ = w.from.Decode(&more) // nothing more is said: returns when the input ends
		stop()
	}()

	var points *points
	if j.Points {
		pipe := os.NewFile(pointsFile, "points")
		defer pipe.Close()
		points = newPoints(pipe)
		registry.Tap(points.add)
	}
	var lost error
	cut := s.run(ctx, func() {
		if err := w.tell(s, j.Totals); err != nil {
			lost = err
			stop() // nobody listens any more
		}
	})
	if lost != nil {
		return lost
	}
	done := report{Done: true, Cut: cut, Failures: s.failures()}
	if points != nil {
		registry.Tap(nil)
		if err := points.flush(); err != nil {
			return fmt.Errorf("write points: %w", err)
		}
	}
	if err := log.Flush(); err != nil {
		return err
	}
	if done.Metrics, err = registry.Export(); err != nil {
		return err
	}
	return w.to.Encode(done)
}

func (w *worker) tell(s *share, totals bool) (err error) {
	var rep report
	for _, p := range s.progress() {
		rep.Progress = append(rep.Progress, progress{p.VUs, p.Ready, p.Begun, p.Done, p.Interrupted, p.Dropped, p.Over})
	}
	if totals {
		if rep.Totals, err = s.registry.ExportTotals(); err != nil {
			return err
		}
	}
	return w.to.Encode(rep)
}
