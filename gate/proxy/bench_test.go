package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/origin"
)

// A visitor and an origin that cost as little as they can, so that what is
// between them is what counts: Sluice's proxy, or the least that fasthttp alone
// can do.

const visit = "GET /catalogue/item?id=12345 HTTP/1.1\r\n" +
	"Host: shop.example\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Cookie: session=0123456789abcdef; sluice-drop=AQEBMTIzNDU2Nzg5MGFiY2RlZjEyMzQ1Njc4OTBhYmNkZWY; cart=1\r\n" +
	"Sec-Fetch-Mode: navigate\r\n\r\n"

func served(size int, chunks bool) string {
	head := "HTTP/1.1 200 OK\r\nServer: shop\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/html\r\n" +
		"X-Powered-By: nothing\r\nVary: Accept-Encoding\r\nSet-Cookie: session=0123456789abcdef; Path=/; HttpOnly\r\n"
	body := strings.Repeat("x", size)
	if chunks {
		return head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, body)
	}
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, body)
}

// answerer answers whatever comes in one read.
func answerer(t testing.TB, answer string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer c.Close()
				buf, out := make([]byte, 16<<10), []byte(answer)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(out); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); done.Wait() })
	return ln.Addr().String()
}

// gateTo serves with Sluice's proxy, or with nothing but fasthttp.
func gateTo(t testing.TB, addr string, bare bool) string {
	s := &fasthttp.Server{MaxIdleWorkerDuration: 100 * time.Millisecond}
	if bare {
		client := &fasthttp.HostClient{Addr: addr, DisableHeaderNamesNormalizing: true, DisablePathNormalizing: true, NoDefaultUserAgentHeader: true}
		s.DisableHeaderNamesNormalizing, s.NoDefaultContentType, s.NoDefaultDate, s.NoDefaultServerHeader = true, true, true, true
		s.Handler = func(ctx *fasthttp.RequestCtx) {
			if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
				t.Error(err)
			}
		}
		t.Cleanup(client.CloseIdleConnections)
	} else {
		p, err := New(Config{Origin: origin.Config{URLs: []string{"http://" + addr}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Shutdown(t.Context()) })
		ConfigureServer(s)
		s.Handler = func(ctx *fasthttp.RequestCtx) {
			r := Request{Client: netip.AddrFrom4([4]byte{203, 0, 113, 7}), Proto: "http", Room: "drop", Visitor: "0123456789abcdef",
				ID: requestName, Via: true, Trace: true}
			var a Answer
			if err := p.Forward(ctx, &r, &a); err != nil {
				t.Error(err)
			}
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	if !bare {
		ln = strictListener{ln}
	}
	serving.Go(func() { s.Serve(ln) })
	t.Cleanup(func() { s.Shutdown(); serving.Wait() })
	return ln.Addr().String()
}

// visitor returns a function that asks once and reads the whole answer.
func visitor(t testing.TB, addr, request string) (ask func(), end func()) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	out := []byte(request)
	buf := make([]byte, 1<<20)
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	// The length of an answer is learned from the first one.
	p := newPeer(t, c)
	h := p.head()
	size := len(h)
	switch {
	case strings.Contains(h, "Content-Length: "):
		var n int
		fmt.Sscanf(h[strings.Index(h, "Content-Length: "):], "Content-Length: %d", &n)
		p.next(n)
		size += n
	default:
		for s := ""; s != "0\r\n"; size += len(s) {
			s, _ = p.br.ReadString('\n')
		}
		size += len(p.next(2))
	}
	c.SetDeadline(time.Time{})
	return func() {
		if _, err := c.Write(out); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, buf[:size]); err != nil {
			t.Error(err)
		}
	}, func() { c.Close() }
}

var requestName = []byte("4bf92f3577b34da6a3ce929d0e0e4736")

func BenchmarkForward(b *testing.B) {
	for _, bc := range []struct {
		name   string
		size   int
		chunks bool
	}{{"1KiB", 1 << 10, false}, {"64KiB", 64 << 10, false}, {"1KiB-chunked", 1 << 10, true}} {
		for _, by := range []string{"sluice", "fasthttp"} {
			b.Run(bc.name+"/by="+by, func(b *testing.B) {
				addr := gateTo(b, answerer(b, served(bc.size, bc.chunks)), by == "fasthttp")
				ask, end := visitor(b, addr, visit)
				defer end()
				b.ReportAllocs()
				for b.Loop() {
					ask()
				}
			})
		}
	}
}

// What a request costs besides the sockets: our own reading and writing.
func BenchmarkHeader(b *testing.B) {
	var h fasthttp.RequestHeader
	h.DisableNormalizing()
	if err := h.Read(bufio.NewReader(strings.NewReader(visit))); err != nil {
		b.Fatal(err)
	}
	var ctx fasthttp.RequestCtx
	h.CopyTo(&ctx.Request.Header)
	r := Request{Client: netip.AddrFrom4([4]byte{203, 0, 113, 7}), Proto: "http", Room: "drop", Visitor: "0123456789abcdef",
		ID: requestName, Via: true, Trace: true}
	b.Run("strict", func(b *testing.B) {
		raw := []byte(visit)
		b.ReportAllocs()
		for b.Loop() {
			h := requestHead{meaning: meaning{length: lengthNone}}
			if done, err := h.read(raw); !done || err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("request", func(b *testing.B) {
		var m message
		var out []byte
		b.ReportAllocs()
		for b.Loop() {
			if err := m.read(&ctx.Request.Header, nil); err != nil {
				b.Fatal(err)
			}
			out = m.appendHead(out[:0], &ctx, &r, "", false)
		}
	})
	b.Run("answer", func(b *testing.B) {
		head, _, _ := strings.Cut(served(1024, false), "\r\n\r\n")
		raw := []byte(head + "\r\n\r\n")
		x := exchanges.Get().(*exchange)
		defer exchanges.Put(x)
		var a Answer
		b.ReportAllocs()
		for b.Loop() {
			n, err := x.parse(raw, false)
			if err != nil {
				b.Fatal(err)
			}
			x.keep(&ctx, raw, &n, &a, true)
		}
	})
}
