package judge

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// magic begins every log; the digit is the format.
const magic = "sluice-events-3\n"

// Log is where the visitors of one process write down what happens to them. Its
// methods may be called from any goroutine. Writing an event costs about 30 bytes
// and no allocation.
//
// After the first line come events: the kind, the gate, the visitor, the time of the answer
// as a difference to that of the event before, how long it took, and what the kind
// uses, all as varints (encoding/binary) but for the kind and the gate, which have one
// byte, and Ticket and Session, which have eight.
type Log struct {
	mu      sync.Mutex
	w       *bufio.Writer
	err     error
	last    int64
	visitor uint64
	buf     [128]byte
}

// NewLog returns a log that writes to w, in large pieces.
func NewLog(w io.Writer) *Log {
	l := &Log{w: bufio.NewWriterSize(w, 1<<16)}
	_, l.err = l.w.WriteString(magic)
	return l
}

// Visitor returns a number for somebody new, from 1.
func (l *Log) Visitor() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.visitor++
	return l.visitor
}

// Add writes an event. What goes wrong is told by Flush.
func (l *Log) Add(e *Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	b := appendEvent(l.buf[:0], e, l.last)
	l.last = e.Answered
	_, l.err = l.w.Write(b)
}

// Flush writes what was held back and returns the first error of the log's life.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = l.w.Flush()
	}
	if l.err != nil {
		return fmt.Errorf("write the log of events: %w", l.err)
	}
	return nil
}

const flagUsed = 0x80

func appendEvent(b []byte, e *Event, last int64) []byte {
	kind := byte(e.Kind)
	if e.Used {
		kind |= flagUsed
	}
	b = append(b, kind, e.Gate)
	b = binary.AppendUvarint(b, e.Visitor)
	b = binary.AppendVarint(b, e.Answered-last)
	b = binary.AppendVarint(b, e.Answered-e.Sent)
	switch e.Kind {
	case Joined, Refused:
		b = appendTicket(b, e)
		b = binary.AppendVarint(b, e.After)
		if e.Kind == Refused {
			b = binary.AppendVarint(b, e.Position)
			b = binary.AppendVarint(b, e.Age)
			b = binary.AppendVarint(b, e.Low)
			b = binary.AppendVarint(b, e.High)
		}
	case Admitted, Copied:
		b = appendTicket(b, e)
		b = binary.AppendVarint(b, e.Called)
		b = binary.BigEndian.AppendUint64(b, e.Session)
	case Expelled:
		b = binary.AppendVarint(b, e.After)
	}
	return b
}

func appendTicket(b []byte, e *Event) []byte {
	b = binary.BigEndian.AppendUint64(b, e.Ticket)
	return binary.AppendVarint(b, e.Place)
}

// ErrNotALog reports that something else was read than a log of this format.
var ErrNotALog = errors.New("judge: not a log of events, or of another version")

// Read calls yield with each event of a log; the event is used again. A log that
// was cut off, as by a process that was killed, gives what is whole and then
// io.ErrUnexpectedEOF.
func Read(r io.Reader, yield func(*Event)) error {
	in := bufio.NewReaderSize(r, 1<<16)
	var first [len(magic)]byte
	if _, err := io.ReadFull(in, first[:]); err != nil || string(first[:]) != magic {
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrNotALog
		}
		return err
	}
	var last int64
	for {
		kind, err := in.ReadByte()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log of events: %w", err)
		}
		var e Event
		e.Kind, e.Used = Kind(kind&^flagUsed), kind&flagUsed != 0
		if e.Kind == 0 || e.Kind > lastKind {
			return fmt.Errorf("%w: kind %d", ErrNotALog, e.Kind)
		}
		d := decoder{in: in}
		d.event(&e, last)
		if d.err != nil {
			if d.err == io.EOF {
				d.err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read the log of events: %w", d.err)
		}
		last = e.Answered
		yield(&e)
	}
}

// decoder reads the parts of an event and keeps the first error.
type decoder struct {
	in  *bufio.Reader
	err error
}

func (d *decoder) event(e *Event, last int64) {
	e.Gate = d.byte()
	e.Visitor = d.unsigned()
	e.Answered = last + d.signed()
	e.Sent = e.Answered - d.signed()
	switch e.Kind {
	case Joined, Refused:
		e.Ticket, e.Place = d.fixed(), d.signed()
		e.After = d.signed()
		if e.Kind == Refused {
			e.Position, e.Age, e.Low, e.High = d.signed(), d.signed(), d.signed(), d.signed()
		}
	case Admitted, Copied:
		e.Ticket, e.Place = d.fixed(), d.signed()
		e.Called = d.signed()
		e.Session = d.fixed()
	case Expelled:
		e.After = d.signed()
	}
}

func (d *decoder) byte() (b byte) {
	if d.err == nil {
		b, d.err = d.in.ReadByte()
	}
	return b
}

func (d *decoder) unsigned() (n uint64) {
	if d.err == nil {
		n, d.err = binary.ReadUvarint(d.in)
	}
	return n
}

func (d *decoder) signed() (n int64) {
	if d.err == nil {
		n, d.err = binary.ReadVarint(d.in)
	}
	return n
}

func (d *decoder) fixed() uint64 {
	var b [8]byte
	if d.err == nil {
		_, d.err = io.ReadFull(d.in, b[:])
	}
	return binary.BigEndian.Uint64(b[:])
}
