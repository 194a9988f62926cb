package proc

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// T is what programs are started for and end with: a testing.TB, or a command that
// runs in Main.
type T interface {
	Helper()
	Name() string
	Cleanup(func())
	Context() context.Context // ends before what is cleaned up is
	TempDir() string
	Failed() bool
	Fatal(...any)
	Fatalf(string, ...any)
	Logf(string, ...any)
	Skipf(string, ...any)
}

// Main runs a command that starts programs, and ends what it started when the
// command returns, fails by Fatal or is interrupted; a second signal ends it at
// once. It returns the exit code: 0, or 1 for a command that failed or that misses
// a program it needs. What went wrong is written to log.
func Main(name string, log io.Writer, command func(t T)) (code int) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	context.AfterFunc(ctx, cancel) // from now on signals do what they do to any program
	m := &run{name: name, log: log, ctx: ctx}
	done := make(chan struct{})
	go func() { // so that Fatal can end it with Goexit, as in a test
		defer close(done)
		defer m.cleanUp()
		command(m)
	}()
	<-done
	if m.failed {
		return 1
	}
	return 0
}

// Part runs a part of a command, and ends what it began with it. In a test that ends
// with the test.
func Part(t T, f func(t T)) {
	whole, ok := t.(*run)
	if !ok {
		f(t)
		return
	}
	part := &run{name: whole.name, log: whole.log, ctx: whole.ctx}
	defer func() {
		part.cleanUp()
		whole.failed = whole.failed || part.failed
	}()
	f(part)
}

// run is a command as a T. Like a testing.T its Fatal is for one goroutine.
type run struct {
	name     string
	log      io.Writer
	ctx      context.Context
	cleanups []func()
	failed   bool
}

func (r *run) cleanUp() {
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		f := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		f()
	}
}

func (r *run) Helper()                  {}
func (r *run) Name() string             { return r.name }
func (r *run) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }
func (r *run) Context() context.Context { return r.ctx }
func (r *run) Failed() bool             { return r.failed }

func (r *run) TempDir() string {
	dir, err := os.MkdirTemp("", r.name+"-*")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (r *run) Logf(format string, args ...any) {
	fmt.Fprintf(r.log, "%s: %s\n", r.name, fmt.Sprintf(format, args...))
}

func (r *run) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *run) Fatalf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
	runtime.Goexit()
}

// Skipf is for a program that is not installed, without which a command is nothing.
func (r *run) Skipf(format string, args ...any) { r.Fatalf(format, args...) }
