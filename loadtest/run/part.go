package run

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/origin"
)

// A part is a run of some of the visitors, kept to be judged together with those
// that came from other machines. It is a zip file:
//
//	part.json     what was run, and how it ended
//	metrics.json  what was measured, as metric.Registry exports it
//	events/N      what visitors saw, a file for each process, as judge.Log writes it
const (
	partFile    = "part.json"
	metricsFile = "metrics.json"
	eventsDir   = "events/"
	partVersion = 1
)

type partHeader struct {
	Version     int              `json:"version"`
	Script      string           `json:"script"` // SHA-256 of its text
	Seed        uint64           `json:"seed"`
	Segment     executor.Segment `json:"segment"`
	Targets     []string         `json:"targets"`
	Began       time.Time        `json:"began"`
	Interrupted bool             `json:"interrupted,omitempty"`
	Aborted     *metric.Result   `json:"aborted,omitempty"`
	Failures    Failures         `json:"failures,omitempty"`
	Shop        *origin.Stats    `json:"shop,omitempty"`
}

func (r *Rehearsal) digest() string {
	sum := sha256.Sum256(r.source.Data)
	return hex.EncodeToString(sum[:])
}

func (r *Rehearsal) writePart(to io.Writer, o *Options, out *Outcome, logs []io.Reader) error {
	metrics, err := out.Registry.Export()
	if err != nil {
		return err
	}
	header, err := json.Marshal(partHeader{
		Version: partVersion, Script: r.digest(), Seed: o.Seed, Segment: o.Segment, Targets: o.Targets, Began: out.Began,
		Interrupted: out.Interrupted, Aborted: out.Aborted, Failures: out.Failures, Shop: out.Shop,
	})
	if err != nil {
		return err
	}
	z := zip.NewWriter(to)
	add := func(name string, from io.Reader) {
		if err != nil {
			return
		}
		var w io.Writer
		if w, err = z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: out.Began}); err == nil {
			_, err = io.Copy(w, from)
		}
	}
	add(partFile, bytes.NewReader(header))
	add(metricsFile, bytes.NewReader(metrics))
	for i, log := range logs {
		add(fmt.Sprintf("%s%d", eventsDir, i+1), log)
	}
	return cmp.Or(err, z.Close())
}

// Merged is what several parts come to.
type Merged struct {
	*Outcome
	Seed    uint64
	Targets []string
	// Missing are the shares of the visitors that are in no part.
	Missing []executor.Segment
}

// Merge judges the parts of one run together. They must be of this script, with
// one seed, and no visitor may be in two of them. Their machines' clocks have to
// agree to less than the judges' grace.
func (r *Rehearsal) Merge(files []string, o judge.Options) (_ *Merged, err error) {
	out := &Outcome{Registry: newRegistry(), Failures: Failures{}, rehearsal: r, Judged: o}
	m := &Merged{Outcome: out}
	var segments []executor.Segment
	var logs []io.Reader
	for i, file := range files {
		p, err := openPart(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		defer p.close()
		h := &p.partHeader
		switch {
		case h.Script != r.digest():
			return nil, fmt.Errorf("%s: is a part of another script than %s as it is now", file, r.Script.File)
		case i == 0:
			m.Seed = h.Seed
		case h.Seed != m.Seed:
			return nil, fmt.Errorf("%s: has the seed %d, the part before it %d: they are not of one run", file, h.Seed, m.Seed)
		}
		for k, g := range segments {
			if g.Overlaps(h.Segment) {
				return nil, fmt.Errorf("%s: has visitors %s, some of whom are in %s, too", file, h.Segment, files[k])
			}
		}
		segments = append(segments, h.Segment)
		if err := out.Registry.Merge(p.metrics); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		logs = append(logs, p.logs...)
		out.take(h)
		for _, t := range h.Targets {
			if !slices.Contains(m.Targets, t) {
				m.Targets = append(m.Targets, t)
			}
		}
	}
	m.Missing = executor.Missing(segments)
	out.Registry.Start(out.Began)
	return m, out.judge(logs)
}

// take adds what a part says of its run.
func (o *Outcome) take(h *partHeader) {
	if o.Began.IsZero() || h.Began.Before(o.Began) {
		o.Began = h.Began
	}
	o.Interrupted = o.Interrupted || h.Interrupted
	o.Aborted = cmp.Or(o.Aborted, h.Aborted)
	o.Failures.add(h.Failures)
	if h.Shop != nil {
		// Several shops are several sites: the last one's examples, the sums of both.
		if o.Shop == nil {
			o.Shop = h.Shop
		} else {
			sum := o.Shop.Plus(*h.Shop)
			o.Shop = &sum
		}
	}
}

// openedPart is a part that is read.
type openedPart struct {
	partHeader
	metrics []byte
	logs    []io.Reader
	closers []io.Closer
}

func (p *openedPart) close() {
	for _, c := range slices.Backward(p.closers) {
		_ = c.Close() // was only read
	}
}

func openPart(file string) (_ *openedPart, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, errors.Unwrap(err) // the file is named already
	}
	p := &openedPart{closers: []io.Closer{f}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("is not a part that loadtest run --part wrote: %w", err)
	}
	for _, member := range z.File {
		r, err := member.Open()
		if err != nil {
			return nil, err
		}
		p.closers = append(p.closers, r)
		switch {
		case member.Name == partFile:
			err = json.NewDecoder(r).Decode(&p.partHeader)
		case member.Name == metricsFile:
			p.metrics, err = io.ReadAll(r)
		case strings.HasPrefix(member.Name, eventsDir):
			p.logs = append(p.logs, r)
		}
		if err != nil {
			return nil, fmt.Errorf("%s in it: %w", member.Name, err)
		}
	}
	if p.Version != partVersion || p.metrics == nil {
		return nil, fmt.Errorf("is not a part that this version can read: it has format %d, this reads %d", p.Version, partVersion)
	}
	return p, nil
}
