package redis_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/redis"
)

// silent is a cluster of one server, which hangs up on every script that it is sent.
// It returns its address, and counts them.
func silent(t *testing.T) (addr string, scripts *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	scripts = new(atomic.Int64)
	port := l.Addr().(*net.TCPAddr).Port
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					words, err := command(r)
					if err != nil {
						return
					}
					answer := "-ERR unknown command\r\n"
					switch strings.ToLower(words[0]) {
					case "evalsha", "eval":
						scripts.Add(1)
						return
					case "cluster":
						answer = fmt.Sprintf("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n", port)
					}
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), scripts
}

// command reads one as clients send it.
func command(r *bufio.Reader) ([]string, error) {
	number := func() (int, error) {
		line, err := r.ReadString('\n')
		if err != nil || len(line) < 3 {
			return 0, io.ErrUnexpectedEOF
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number()
	words := make([]string, max(n, 1))
	for i := 0; i < n && err == nil; i++ {
		var size int
		if size, err = number(); err == nil {
			word := make([]byte, size+2)
			_, err = io.ReadFull(r, word)
			words[i] = string(word[:size])
		}
	}
	return words, err
}

func TestACallWhoseAnswerIsLostIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"redis", "redis+cluster"} {
		addr, scripts := silent(t)
		store, err := redis.Open(kind + "://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		r := newRoom(t, store, nil)
		a := queue.Arrival{ID: 1, Place: 1, Deadline: 2, Newcomer: true, Join: true, Claim: true}
		if _, _, err := r.Enter(t.Context(), &r.call, []queue.Arrival{a}, nil); err == nil {
			t.Errorf("%s: no error", kind)
		}
		if n := scripts.Load(); n != 1 {
			t.Errorf("%s: a newcomer was sent %d times", kind, n)
		}
	}
}
