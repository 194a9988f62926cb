package gate

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/queue"
)

// askForPage sends a form that is answered by the waiting page, in one of five ways, and
// tells whether its connection may be used again.
func askForPage(c io.Writer, way int, fields string) (again bool) {
	head := "POST /drop HTTP/1.1\r\n" + fields
	switch way {
	case 0, 1:
		_, _ = io.WriteString(c, head+"Content-Length: 3\r\n\r\nabc")
		return true
	case 2: // a body that nobody reads
		_, _ = io.WriteString(c, head+"Content-Length: 100000\r\n\r\n"+strings.Repeat("b", 20000))
	case 3:
		_, _ = io.WriteString(c, head+"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n")
	case 4:
		_, _ = io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
	}
	return false
}

// readPage returns the page that answers, unpacked.
func readPage(r *bufio.Reader) (string, error) {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", err
	}
	body := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return "", err
		}
	}
	text, err := io.ReadAll(body)
	return strings.TrimSpace(string(text)), err
}

func TestEverybodyIsGivenTheirOwnPageAndAllOfIt(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	server := NewServer(g.Gate, door.Limits{Conns: 1000})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Shutdown(context.Background())
		<-served
	})
	visit := func(who, round int) error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		r := bufio.NewReader(c)
		for k, again := 0, true; again && k < 6; k++ {
			lang := []string{"ko", "en", "ja"}[(who+round+k)%3]
			own := fmt.Sprintf("/drop/x%d-%d-%d-%s", who, round, k, strings.Repeat("z", (who*37+k*501)%3000))
			fields := "Host: a\r\nSec-Fetch-Mode: navigate\r\nReferer: http://a" + own + "\r\nAccept-Language: " + lang + "\r\n"
			if (who+k)%2 == 0 {
				fields += "Accept-Encoding: gzip\r\n"
			}
			again = askForPage(c, (who+k)%5, fields)
			page, err := readPage(r)
			if err != nil {
				return err
			}
			if !strings.Contains(page, own) || !strings.Contains(page, `lang="`+lang+`"`) || !strings.HasSuffix(page, "</html>") {
				return fmt.Errorf("%d bytes are not the page of %s in %s", len(page), own[:min(20, len(own))], lang)
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	for who := range 24 {
		wg.Go(func() {
			for round := range 40 {
				if err := visit(who, round); err != nil {
					t.Errorf("visitor %d: %v", who, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
