package peer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
)

// A load balancer that passes bytes on without reading them cannot write
// X-Forwarded-For. It says whom it stands for before the first byte of the
// visitor's, TLS included, by the PROXY protocol, version 1 or 2
// (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt).

const (
	prefaceTime = 5 * time.Second // for the whole header, from the connection on
	prefaceV1   = 107             // most bytes of a header of version 1
	prefaceV2   = 16              // what every header of version 2 begins with
	prefaceMost = 4 << 10         // most bytes after those: addresses and TLVs
)

var (
	errNoPreface  = errors.New("it does not begin with a PROXY header")
	errLong       = errors.New("its PROXY header is too long")
	errChecksum   = errors.New("the checksum of its PROXY header is wrong")
	errNoStream   = errors.New("its PROXY header tells of something else than TCP")
	errNotTrusted = errors.New("trusted_proxies does not name the peer")
	errSilent     = errors.New("nothing came") // a probe of the port: not worth a word
)

// proxiedListener gives connections out once their PROXY header was read.
type proxiedListener struct {
	net.Listener
	trust   func() *Trust
	refused func(peer net.Addr, why error)

	start  sync.Once
	taken  chan taken
	closed chan struct{}
	all    sync.WaitGroup

	mu      sync.Mutex
	reading map[net.Conn]struct{} // nil once closed
}

type taken struct {
	conn net.Conn
	err  error
}

// Proxied returns a listener for load balancers that speak the PROXY protocol.
// The protocol forbids to guess, so every connection has to begin with a header;
// RemoteAddr then is the visitor's address, or the peer's where the header says
// that the peer speaks for itself. A connection is closed, and refused called
// with the reason, when trust does not hold its peer or when the header is
// malformed or takes longer than five seconds. A peer on a unix socket is
// trusted: the socket's permissions say who may connect.
//
// TLS belongs on top: the header comes before the handshake.
func Proxied(l net.Listener, trust func() *Trust, refused func(peer net.Addr, why error)) net.Listener {
	return &proxiedListener{
		Listener: l, trust: trust, refused: refused,
		taken: make(chan taken), closed: make(chan struct{}), reading: make(map[net.Conn]struct{}),
	}
}

// acceptors take connections from the kernel. What they have taken is read by a
// goroutine each: one that is slow to say who it is keeps nobody up.
const acceptors = 4

// Accept returns the next connection whose header was read, in no order.
func (l *proxiedListener) Accept() (net.Conn, error) {
	l.start.Do(l.acceptByMany)
	select {
	case t := <-l.taken:
		return t.conn, t.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *proxiedListener) acceptByMany() {
	l.mu.Lock() // Close waits for those only that it finds
	defer l.mu.Unlock()
	if l.reading == nil {
		return
	}
	for range acceptors {
		l.all.Go(l.acceptAll)
	}
}

func (l *proxiedListener) acceptAll() {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.taken <- taken{err: err}: // whoever accepts knows which errors pass
			case <-l.closed:
				return
			}
			continue
		}
		if !l.begin(conn) {
			conn.Close()
			return
		}
		l.all.Go(func() { l.read(conn) })
	}
}

// begin notes a connection that Close has to end; false: it is closed already.
func (l *proxiedListener) begin(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reading == nil {
		return false
	}
	l.reading[conn] = struct{}{}
	return true
}

func (l *proxiedListener) read(conn net.Conn) {
	c, err := l.identify(conn)
	l.mu.Lock()
	delete(l.reading, conn)
	l.mu.Unlock()
	if err == nil {
		select {
		case l.taken <- taken{conn: c}:
			return
		case <-l.closed:
		}
	}
	conn.Close()
	if err != nil && err != errSilent && !errors.Is(err, net.ErrClosed) {
		l.refused(conn.RemoteAddr(), err)
	}
}

func (l *proxiedListener) identify(conn net.Conn) (net.Conn, error) {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok && !l.trust().trusts(bare(tcp.AddrPort().Addr())) {
		return nil, errNotTrusted
	}
	if err := conn.SetReadDeadline(time.Now().Add(prefaceTime)); err != nil {
		return nil, err
	}
	header, rest, err := readPreface(conn)
	if err != nil {
		return nil, err
	}
	p, err := parsePreface(header)
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	c := &proxiedConn{Conn: conn, rest: rest, remote: conn.RemoteAddr(), encrypted: p.encrypted}
	if p.visitor != nil {
		c.remote = p.visitor
	}
	return c, nil
}

// Close ends the connections whose header was not read yet, too, and waits for
// what the listener started.
func (l *proxiedListener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	if l.reading != nil {
		close(l.closed)
	}
	for conn := range l.reading {
		conn.Close()
	}
	l.reading = nil
	l.mu.Unlock()
	l.all.Wait()
	return err
}

// readPreface reads up to the end of the header and returns it, and what came
// behind it. It reads no further once no header can come of it.
func readPreface(r io.Reader) (header, rest []byte, err error) {
	buf := make([]byte, 0, 256)
	for {
		n, err := prefaceLength(buf)
		if err != nil {
			return nil, nil, err
		}
		if n > 0 && n <= len(buf) {
			return buf[:n:n], buf[n:], nil
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, prefaceV2+prefaceMost), buf...)
		}
		got, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+got]
		if err != nil && got == 0 {
			switch {
			case len(buf) == 0 && err == io.EOF:
				return nil, nil, errSilent
			case err == io.EOF:
				err = io.ErrUnexpectedEOF
			}
			return nil, nil, fmt.Errorf("its PROXY header broke off after %d bytes: %w", len(buf), err)
		}
	}
}

// prefaceLength tells how long the header is that b begins with, 0 when that
// cannot be told yet.
func prefaceLength(b []byte) (int, error) {
	v1, v2 := proxyproto.SIGV1, proxyproto.SIGV2
	switch {
	case bytes.HasPrefix(b, v2):
		if len(b) < prefaceV2 {
			return 0, nil
		}
		n := int(binary.BigEndian.Uint16(b[prefaceV2-2:]))
		if n > prefaceMost {
			return 0, errLong
		}
		return prefaceV2 + n, nil
	case bytes.HasPrefix(b, v1):
		line := b[:min(len(b), prefaceV1)]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			return end + 1, nil
		}
		if len(line) == prefaceV1 {
			return 0, errLong
		}
		return 0, nil
	case bytes.HasPrefix(v1, b), bytes.HasPrefix(v2, b):
		return 0, nil
	}
	return 0, errNoPreface
}

// preface is what a header says.
type preface struct {
	visitor   *net.TCPAddr // nil: the peer speaks for itself
	encrypted bool         // the visitor came by TLS, which ended at the peer
}

func parsePreface(b []byte) (preface, error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), prefaceV1))
	if err == nil {
		_, err = h.TLVs()
	}
	if err != nil {
		return preface{}, fmt.Errorf("its PROXY header is malformed: %w", err)
	}
	if h.Command.IsLocal() {
		return preface{}, nil
	}
	var p preface
	switch a := h.SourceAddr.(type) {
	case *net.TCPAddr:
		p.visitor = a
	case *net.UnixAddr:
		if a.Net != "unix" {
			return preface{}, errNoStream
		}
		// Somebody on the peer's machine, where no address tells more than the peer's.
	default:
		return preface{}, errNoStream
	}
	if h.Version == 2 {
		err = p.readTLVs(b)
	}
	return p, err
}

// addressBytes is how long the addresses of a header of version 2 are, by family.
var addressBytes = [...]int{0, 12, 36, 216}

// readTLVs reads what stands behind the addresses, which is known to be well-formed.
func (p *preface) readTLVs(b []byte) error {
	for at := prefaceV2 + addressBytes[b[13]>>4]; at < len(b); {
		value := at + 3
		end := value + int(binary.BigEndian.Uint16(b[at+1:]))
		switch proxyproto.PP2Type(b[at]) {
		case proxyproto.PP2_TYPE_CRC32C:
			if !isChecksum(b, value, end) {
				return errChecksum
			}
		case proxyproto.PP2_TYPE_SSL:
			const clientSSL = 0x01
			p.encrypted = end > value && b[value]&clientSSL != 0
		}
		at = end
	}
	return nil
}

// isChecksum tells whether b[from:to] is the CRC32C of b with zeros there.
func isChecksum(b []byte, from, to int) bool {
	if to-from != crc32.Size {
		return false
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, b[:from])
	sum = crc32.Update(sum, table, make([]byte, crc32.Size))
	sum = crc32.Update(sum, table, b[to:])
	return sum == binary.BigEndian.Uint32(b[from:])
}

// proxiedConn is a connection whose PROXY header was read.
type proxiedConn struct {
	net.Conn
	rest      []byte // came behind the header
	remote    net.Addr
	encrypted bool
}

// Encrypted tells whether a load balancer says by the PROXY protocol that the
// visitor came to it by TLS.
func Encrypted(c net.Conn) bool {
	for {
		switch t := c.(type) {
		case *proxiedConn:
			return t.encrypted
		case interface{ NetConn() net.Conn }: // what stands upon it
			c = t.NetConn()
		default:
			return false
		}
	}
}

func (c *proxiedConn) RemoteAddr() net.Addr { return c.remote }

// NetConn returns the connection as the kernel knows it.
func (c *proxiedConn) NetConn() net.Conn { return c.Conn }

func (c *proxiedConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}

// What the gate asks of a socket beyond net.Conn.

// CloseWrite ends the way to the visitor and leaves the other open.
func (c *proxiedConn) CloseWrite() error {
	if s, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return s.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetLinger says what Close does with bytes that were not sent yet.
func (c *proxiedConn) SetLinger(seconds int) error {
	if s, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		return s.SetLinger(seconds)
	}
	return errors.ErrUnsupported
}

// SetKeepAliveConfig has the kernel look after a silent connection.
func (c *proxiedConn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	if s, ok := c.Conn.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		return s.SetKeepAliveConfig(config)
	}
	return errors.ErrUnsupported
}

// SyscallConn gives the file descriptor.
func (c *proxiedConn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
