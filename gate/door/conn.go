package door

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluicegate/sluice/metrics"
)

// state is what a connection is doing.
type state uint64

const (
	fresh     state = iota // no whole header has come on it yet
	idle                   // between two requests
	reading                // a request has begun to come
	busy                   // a request is being answered, or a tunnel runs
	leaving                // its end was decided: reads fail
	parting                // likewise, between two requests: unless one has arrived
	stateBits = 3
)

// Conn is a visitor's connection. The server tells it what it is doing; its
// methods may be called on nil, which is a connection that came by no door.
type Conn struct {
	net.Conn
	door *Door

	doing atomic.Uint64 // state, and the tick of the clock since when
	ended atomic.Bool
	came  atomic.Bool // a byte of the first request did
	begun bool        // the server's own
	asked bool        // likewise: whether it is favoured was decided
	paid  bool        // likewise: it was put on an address's account

	spared bool // the reader's: of this request something was read after its time

	// Guarded by door.mu.
	at         int // in door.conns
	prev, next *Conn
	listed     bool
	closed     bool
	kind       metrics.ConnKind
	pass       uint64
	payer      *Addresses // on whose books it is; nil: on none
	prefix     netip.Addr // likewise

	favoured atomic.Bool // a visitor's who was let in, or a trusted proxy's
}

// Of returns the connection of the door that c stands upon, nil when there is none.
func Of(c net.Conn) *Conn {
	for {
		switch t := c.(type) {
		case *Conn:
			return t
		case interface{ NetConn() net.Conn }: // TLS, the PROXY protocol
			c = t.NetConn()
		default:
			return nil
		}
	}
}

func (k *Conn) set(s state) { k.doing.Store(uint64(k.door.clock.Load())<<stateBits | uint64(s)) }

func (k *Conn) load() (s state, since int64) {
	w := k.doing.Load()
	return state(w & (1<<stateBits - 1)), int64(w >> stateBits)
}

// Reading says that a byte of the next request has come. One on a connection that
// was about to be ended is answered after all.
func (k *Conn) Reading() {
	if k != nil && k.begun {
		k.set(reading)
	}
}

// Came says that a byte of the first request has come: a stop waits for the rest.
func (k *Conn) Came() {
	if k != nil {
		k.came.Store(true)
	}
}

// Begin says that the header of a request is whole.
func (k *Conn) Begin() {
	if k == nil {
		return
	}
	if !k.begun {
		k.begun = true
		k.door.begin(k)
	}
	k.spared = false
	k.set(busy)
}

// Idle says that a request was answered.
func (k *Conn) Idle() {
	if k != nil {
		k.spared = false
		k.set(idle)
	}
}

// Level is how crowded the door is.
func (k *Conn) Level() Level {
	if k == nil {
		return Calm
	}
	return k.door.Level()
}

// Favoured tells whether the connection stays when the door is crowded.
func (k *Conn) Favoured() bool { return k != nil && k.favoured.Load() }

// Favour keeps the connection of a visitor who has shown a pass. Of the connections
// that show one and the same pass only so many are favoured as a browser needs.
func (k *Conn) Favour(pass uint64) {
	if k == nil || k.asked {
		return
	}
	k.asked = true
	k.door.favour(k, pass)
}

// FavourProxy keeps the connection of a trusted proxy, which is many visitors'.
func (k *Conn) FavourProxy() {
	if k == nil || k.asked {
		return
	}
	k.asked = true
	k.door.setKind(k, metrics.ConnProxy)
	k.favoured.Store(true)
}

// Ending tells whether the door has decided to end the connection: what the server
// could not read of it then is no fault of the visitor's.
func (k *Conn) Ending() bool {
	if k == nil {
		return false
	}
	s, _ := k.load()
	return s == leaving || s == parting
}

// Read reads what the visitor sends. A request that had arrived when the connection's
// end was decided is read all the same: nobody could know of the end who sent it.
func (k *Conn) Read(p []byte) (int, error) {
	n, err := k.Conn.Read(p)
	if err != nil && n == 0 && (k.stays() || k.inTime(err)) {
		return k.Conn.Read(p)
	}
	return n, err
}

// inTime tells whether a visitor whose time is over has sent something before that,
// which a gate short of processors did not come to read. It is read, once a request:
// whoever sends drop by drop gains no more than the moment for it.
func (k *Conn) inTime(err error) bool {
	if k.spared || !errors.Is(err, os.ErrDeadlineExceeded) || k.Ending() || !hasArrived(k.Conn) {
		return false
	}
	k.spared = true
	return k.SetReadDeadline(time.Now().Add(sparedFor)) == nil
}

// sparedFor is for a read of what is there already.
const sparedFor = time.Second

// stays tells whether a connection is not to end after all.
func (k *Conn) stays() bool {
	if s, _ := k.load(); s != parting || !hasArrived(k.Conn) {
		return false
	}
	k.set(reading)
	return k.Conn.SetReadDeadline(time.Now().Add(k.door.limits.Header)) == nil
}

// part ends a connection that is between two requests, unless the next one has arrived.
func (k *Conn) part() bool {
	if !k.doing.CompareAndSwap(k.word(idle), k.word(parting)) {
		return false
	}
	k.end()
	return true
}

// end has the server's next or current read of the connection fail.
func (k *Conn) end() { _ = k.Conn.SetReadDeadline(past) }

var past = time.Unix(1, 0)

// SetReadDeadline does not give more time to a connection that is to end.
func (k *Conn) SetReadDeadline(t time.Time) error {
	err := k.Conn.SetReadDeadline(t)
	if k.Ending() {
		k.end()
	}
	return err
}

// SetDeadline is both deadlines.
func (k *Conn) SetDeadline(t time.Time) error {
	err := k.Conn.SetDeadline(t)
	if k.Ending() {
		k.end()
	}
	return err
}

// Close gives the connection's place to somebody else.
func (k *Conn) Close() error {
	err := k.Conn.Close()
	if k.ended.CompareAndSwap(false, true) {
		if a, prefix := k.door.remove(k); a != nil {
			a.left(prefix)
		}
	}
	return err
}

// What the server does with a TCP connection beyond net.Conn.

// CloseWrite ends what is sent.
func (k *Conn) CloseWrite() error {
	if c, ok := k.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetLinger is for a close that the visitor must not take for an end.
func (k *Conn) SetLinger(seconds int) error {
	if c, ok := k.Conn.(interface{ SetLinger(int) error }); ok {
		return c.SetLinger(seconds)
	}
	return errors.ErrUnsupported
}

// SetKeepAliveConfig is for tunnels, which may be silent for long.
func (k *Conn) SetKeepAliveConfig(c net.KeepAliveConfig) error {
	if t, ok := k.Conn.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		return t.SetKeepAliveConfig(c)
	}
	return errors.ErrUnsupported
}

// SyscallConn is the socket.
func (k *Conn) SyscallConn() (syscall.RawConn, error) {
	if c, ok := k.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
