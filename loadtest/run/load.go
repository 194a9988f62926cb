// Package run carries out a script in this process: the visitors of all its
// scenarios come when they are due, what they measure goes into one registry,
// thresholds watch it, and in the end the judges say which promises were kept.
//
//	Load ──▶ Rehearsal.Run ──▶ Outcome.Text, Outcome.Summary
//
// Nothing here prints, and nothing is sent before Run.
package run

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/script"
	"github.com/sluicegate/sluice/loadtest/visitor"
)

// What visitors come for where the script does not say: what a gate protects that
// was started with nothing but an origin.
const (
	defaultRoom = "default"
	defaultPath = "/"
)

// Rehearsal is a script that can be run.
type Rehearsal struct {
	Script   *script.Script
	source   script.Source
	journeys []visitor.Journey // of each scenario
}

// Load reads a script with its journeys and thresholds. Its error is
// script.Problems, all that there are, when the script is wrong.
func Load(s script.Source) (*Rehearsal, error) {
	if err := s.Read(); err != nil {
		return nil, err
	}
	sc, err := script.Load(s)
	if err != nil {
		return nil, err
	}
	r := &Rehearsal{Script: sc, source: s}
	var problems script.Problems
	add := func(err error) error {
		var ps script.Problems
		if err != nil && !errors.As(err, &ps) {
			return err
		}
		for _, p := range ps { // scenarios may share a journey
			if !slices.Contains(problems, p) {
				problems = append(problems, p)
			}
		}
		return nil
	}
	for i := range sc.Scenarios {
		s := &sc.Scenarios[i]
		j, err := visitor.Parse(&s.Journey, sc.File, s.JourneyKey)
		if err := add(err); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", sc.File, s.JourneyKey, err)
		}
		r.journeys = append(r.journeys, j)
	}
	known := newRegistry()
	if err := add(sc.CheckThresholds(func(t metric.Threshold) error { return t.Check(known) })); err != nil {
		return nil, fmt.Errorf("%s: %w", sc.File, err)
	}
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b script.Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, problems
	}
	return r, nil
}

// newRegistry returns a registry with every metric of a run in it.
func newRegistry() *metric.Registry {
	r := metric.NewRegistry()
	visitor.Define(r)
	judge.Define(r)
	return r
}

// check tells what of the script cannot be done with these options. Its error is
// script.Problems.
func (r *Rehearsal) check(o *Options) error {
	var ps script.Problems
	if len(o.Targets) == 0 && len(r.Script.Targets) == 0 {
		ps = append(ps, script.Problem{
			File: r.Script.File, Key: "target", Message: "is required: the address of the gate, such as http://127.0.0.1:8080",
		})
	}
	err := r.Script.CheckThresholds(func(t metric.Threshold) error {
		switch {
		case t.Metric == judge.OvershootWindow && o.Judge.Rate <= 0:
			return errors.New("cannot be judged without the room's limits: tell its rate")
		case t.Metric == judge.UnadmittedAtOrigin && o.Origin == nil && !o.Segment.Part():
			return errors.New("cannot be judged without a recording origin: have one served")
		}
		return nil
	})
	var more script.Problems
	if errors.As(err, &more) {
		ps = append(ps, more...)
	}
	if ps == nil {
		return nil
	}
	return ps
}
