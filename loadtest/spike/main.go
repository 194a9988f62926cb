// Command spike rehearses a flash sale on this machine alone: it starts a Redis and
// several gates, serves a shop that writes down who came, sends the visitors of a
// script, and judges what happened.
//
//	go run ./loadtest/spike
//	go run ./loadtest/spike --script loadtest/scripts/spike-8k.yaml --rate 400/s
//
// It ends as `sluice loadtest run` does: 0 when everything held, 99 when a threshold
// was crossed (which `go run` prints, and ends with 1 itself).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// sale is what is rehearsed.
type sale struct {
	script  string
	rate    string // of the room
	burst   int
	gates   int
	workers int
	report  string   // "": none
	more    []string // arguments for loadtest run
}

func main() {
	s := sale{}
	flag.StringVar(&s.script, "script", "loadtest/scripts/spike-80k.yaml", "`FILE` of the rehearsal")
	flag.StringVar(&s.rate, "rate", "4000/s", "rate of the room")
	flag.IntVar(&s.burst, "burst", 400, "burst of the room")
	flag.IntVar(&s.gates, "gates", 8, "gates that share the Redis")
	flag.IntVar(&s.workers, "workers", 4, "processes that share the visitors")
	flag.StringVar(&s.report, "report", "", "write the report to `FILE`")
	flag.Parse()
	s.more = flag.Args()
	if err := takeLongTurns(); err != nil {
		fmt.Fprintf(os.Stderr, "spike: all processes interrupt each other, which needs more time: %v\n", err)
	}
	code := 0
	if failed := proc.Main("spike", os.Stderr, func(t proc.T) { code = s.rehearse(t, os.Stdout) }); failed != 0 {
		code = failed
	}
	os.Exit(code)
}

// redis starts one that goes before the rest of the machine: all gates wait for it,
// and in life it has a machine of its own, while here it would have to take turns with
// the visitors.
func (s *sale) redis(t proc.T) (addr string) {
	port := proc.FreePort(t)
	p := proc.RedisAt(t, port)
	if err := unix.SchedSetAttr(p.Pid(), &unix.SchedAttr{Policy: unix.SCHED_NORMAL, Nice: -15}, 0); err != nil {
		t.Logf("redis-server takes turns with everybody else, which needs more time: %v", err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// takeLongTurns starts this program anew under the kernel's policy for batches of work,
// which what it starts inherits: a process that a packet wakes waits for its turn.
// Otherwise a dozen of them interrupt each other at every packet on few processors,
// which machines of their own would not.
func takeLongTurns() error {
	runtime.LockOSThread()
	a, err := unix.SchedGetAttr(0, 0)
	if err != nil || a.Policy == unix.SCHED_BATCH {
		return err
	}
	a.Policy = unix.SCHED_BATCH
	if err := unix.SchedSetAttr(0, a, 0); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}

// visitors is how many connections a gate takes: what 20,000 open files allow. Few of them
// are reserved for those who were let in, for these keep the connection that they waited
// with.
const visitors = "visitors: {max_conns: 16000, reserve: 5%}"

// rehearse runs the sale and returns the exit code of loadtest run.
func (s *sale) rehearse(t proc.T, out io.Writer) int {
	t.Helper()
	sluice := stage.Sluice(t)
	shop := stage.FreeAddress(t)
	store := s.redis(t)
	gates := stage.Gates(t, sluice, s.gates, stage.Config{
		Store: store, Origin: shop, Top: visitors,
		Room: fmt.Sprintf("rate: %s\nburst: %d", s.rate, s.burst),
	})
	fmt.Fprintf(out, "%d gates with one redis-server and one shop on %d cores; the room calls %s, burst %d\n\n", s.gates, runtime.NumCPU(), s.rate, s.burst)
	args := []string{
		"loadtest", "run", s.script, "--workers", strconv.Itoa(s.workers), "--serve-origin", shop,
		"--room-rate", s.rate, "--room-burst", strconv.Itoa(s.burst), "--room-session", "10m",
	}
	for _, g := range gates {
		args = append(args, "--target", g.URL)
	}
	if s.report != "" {
		args = append(args, "--report", s.report)
	}
	run := exec.CommandContext(t.Context(), sluice, append(args, s.more...)...)
	run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
	run.Stdout, run.Stderr = out, out
	err := run.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for i, g := range gates {
		select {
		case <-g.Done():
			t.Fatalf("gate %d did not survive the sale", i+1)
		default:
		}
	}
	return run.ProcessState.ExitCode()
}
