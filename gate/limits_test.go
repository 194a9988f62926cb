package gate

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// whole sends a request, in pieces of so many bytes, and returns all that comes until
// the gate ends the connection, which must not be by a reset.
func (f *front) whole(t *testing.T, piece int, raw string) string {
	t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	for len(raw) > 0 {
		n := min(piece, len(raw))
		if _, err := io.WriteString(c, raw[:n]); err != nil {
			t.Fatalf("%d bytes before the end of the request: %v", len(raw), err)
		}
		raw = raw[n:]
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("after %.200q: %v", answer, err)
	}
	return string(answer)
}

const browsing = "Host: a\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\nAccept-Language: "

func TestWhatIsTooMuchIsSaidInTheVisitorsLanguage(t *testing.T) {
	f := openFront(t, "limits: {body: 10KiB}\n")
	cookies := "Cookie: a=" + strings.Repeat("x", 100_000) + "\r\n\r\n"
	for _, tc := range []struct{ why, request, status, says string }{
		{"cookies of 100 kB", "GET /drop HTTP/1.1\r\n" + browsing + "ko\r\n" + cookies, "431 Request Header Fields Too Large", "쿠키를 삭제한 뒤"},
		{"the same, in English", "GET /drop HTTP/1.1\r\n" + browsing + "en\r\n" + cookies, "431 Request Header Fields Too Large", "delete the cookies of this site"},
		{"the same, by a script", "GET /drop HTTP/1.1\r\nHost: a\r\n" + cookies, "431 Request Header Fields Too Large", `"detail":"the request's header is too long or has too many fields"`},
		{"a header of a megabyte", "GET / HTTP/1.1\r\n" + browsing + "ja\r\n" + strings.Repeat("X: "+strings.Repeat("y", 997)+"\r\n", 1000) + "\r\n", "431 Request Header Fields Too Large", "Cookie を削除"},
		{"129 fields", "GET / HTTP/1.1\r\n" + browsing + "ja\r\n" + strings.Repeat("X: y\r\n", 125) + "\r\n", "431 Request Header Fields Too Large", "Cookie を削除"},
		{"a thousand fields", "GET / HTTP/1.1\r\n" + browsing + "ja\r\n" + strings.Repeat("X: y\r\n", 1000) + "\r\n", "431 Request Header Fields Too Large", "Cookie を削除"},
		{"a long address", "GET /?" + strings.Repeat("q", 8191) + " HTTP/1.1\r\n" + browsing + "ko\r\n\r\n", "414 Request URI Too Long", "주소가 너무 깁니다"},
		{"an address of 100 kB", "GET /?" + strings.Repeat("q", 100_000) + " HTTP/1.1\r\n" + browsing + "ko\r\n\r\n", "414 Request URI Too Long", "the request's target is too long"},
		{"a large upload", "POST / HTTP/1.1\r\n" + browsing + "ko\r\nContent-Length: 10241\r\n\r\n" + strings.Repeat("x", 10241), "413 Request Entity Too Large", "보내신 내용이 너무 큽니다"},
		{"a large upload in chunks", "POST /upload HTTP/1.1\r\n" + browsing + "ja\r\nTransfer-Encoding: chunked\r\n\r\n2801\r\n" + strings.Repeat("x", 10241) + "\r\n0\r\n\r\n", "413 Request Entity Too Large", "送信された内容が大きすぎます"},
	} {
		for _, piece := range []int{1 << 30, 1000} {
			t.Run(fmt.Sprintf("%s, by %d", tc.why, piece), func(t *testing.T) {
				answer := f.whole(t, piece, tc.request)
				if !strings.HasPrefix(answer, "HTTP/1.1 "+tc.status+"\r\n") || !strings.Contains(answer, tc.says) {
					t.Errorf("got\n%s\nwant %s and %q", answer, tc.status, tc.says)
				}
				if !strings.Contains(answer, "\r\nConnection: close\r\n") || !strings.Contains(answer, "\r\nCache-Control: no-store\r\n") {
					t.Errorf("got\n%s", answer)
				}
			})
		}
	}
}

func TestWhatJustFitsPasses(t *testing.T) {
	f := openFront(t, "limits: {header: 32KiB, fields: 16, target: 9KiB, body: 10KiB}\n")
	for why, request := range map[string]string{
		"a long header":  "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=" + strings.Repeat("x", 32<<10-60) + "\r\n\r\n",
		"many fields":    "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 15) + "\r\n",
		"a long address": "GET /" + strings.Repeat("q", 9<<10-1) + " HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		if r, _ := f.ask(t, request); r.StatusCode != 200 {
			t.Errorf("%s: %d", why, r.StatusCode)
		}
		if got := <-f.got; !strings.HasPrefix(got, request[:len(request)-4]) {
			t.Errorf("%s: the shop got %.200q", why, got)
		}
	}
}

func TestALongHeaderOnAUsedConnectionIsAnsweredToo(t *testing.T) {
	f := openFront(t, "")
	request := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	answer := f.whole(t, 1<<30, request+request+"GET / HTTP/1.1\r\n"+browsing+"ko\r\nCookie: "+strings.Repeat("x", 100_000)+"\r\n\r\n")
	answer = regexp.MustCompile(`Date: [^\r]*\r\n`).ReplaceAllString(answer, "")
	rest, found := strings.CutPrefix(answer, shopAnswer+shopAnswer)
	if !found || !strings.HasPrefix(rest, "HTTP/1.1 431 ") || !strings.Contains(rest, "쿠키를 삭제한 뒤") {
		t.Errorf("got\n%s", answer)
	}
}
