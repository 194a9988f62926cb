package run

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sluicegate/sluice/loadtest/judge"
)

// events keeps what happened to the visitors of one process until it is judged. A
// million visitors write more than should stay in memory.
type events struct{ file *os.File }

func newEvents() (events, error) {
	f, err := os.CreateTemp("", "sluice-loadtest-*")
	if err != nil {
		return events{}, fmt.Errorf("keep what visitors see: %w", err)
	}
	// It has no name from here on, so that nothing is left of a run that is killed.
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return events{}, fmt.Errorf("keep what visitors see: %w", err)
	}
	return events{f}, nil
}

// rewind returns the events from the first on.
func (e events) rewind() (io.Reader, error) {
	if _, err := e.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read what visitors saw: %w", err)
	}
	return e.file, nil
}

// verdict judges what visitors saw in all processes.
func verdict(o judge.Options, logs []io.Reader) (*judge.Verdict, error) {
	j := judge.New(o)
	for _, log := range logs {
		if err := j.Add(log); err != nil {
			return nil, fmt.Errorf("judge what visitors saw: %w", err)
		}
	}
	return j.Verdict(), nil
}

func closeAll(logs []events) error {
	var errs []error
	for _, e := range logs {
		errs = append(errs, e.file.Close())
	}
	return errors.Join(errs...)
}
