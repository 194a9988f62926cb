package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sluicegate/sluice/loadtest/peers/client"
	"github.com/sluicegate/sluice/loadtest/stage"
)

const (
	apiPath = "/.sluice/rooms/" + stage.Room
	cookie  = "sluice-" + stage.Room
)

// A browser's requests. Every server of a path is sent the same bytes.
var (
	pollFields = [][2]string{
		{"User-Agent", userAgent},
		{"Accept", "application/json"},
		{"Accept-Language", "ko-KR,ko;q=0.8,en-US;q=0.5,en;q=0.3"},
		{"Accept-Encoding", "gzip, deflate, br"},
		{"Connection", "keep-alive"},
		{"Referer", "https://shop.example" + stage.Path},
		{"Sec-Fetch-Dest", "empty"},
		{"Sec-Fetch-Mode", "cors"},
		{"Sec-Fetch-Site", "same-origin"},
	}
	pageFields = [][2]string{
		{"User-Agent", userAgent},
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
		{"Accept-Language", "ko-KR,ko;q=0.8,en-US;q=0.5,en;q=0.3"},
		{"Accept-Encoding", "gzip, deflate, br"},
		{"Connection", "keep-alive"},
		{"Upgrade-Insecure-Requests", "1"},
		{"Sec-Fetch-Dest", "document"},
		{"Sec-Fetch-Mode", "navigate"},
		{"Sec-Fetch-Site", "same-origin"},
	}
)

const userAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

// shopCookies are what the shop itself has set: a session and a choice.
const shopCookies = "sid=s%3Ab7Qm0oXvT2kYwz9n4d1cJr8eHfLuAiGp; lang=ko"

// request writes a GET as a browser does; token is the visitor's, "" for none.
func request(path string, fields [][2]string, cookies string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: shop.example\r\n", path)
	for _, f := range fields {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	if cookies != "" {
		fmt.Fprintf(&b, "Cookie: %s\r\n", cookies)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func withToken(token string) string { return shopCookies + "; " + cookie + "=" + token }

// requestOf is what the holder of a token sends on a path.
func requestOf(path, token string) []byte {
	switch path {
	case poll:
		return request(apiPath, pollFields, withToken(token))
	case newcomer:
		return request(stage.Path, pageFields, "")
	default:
		return request(stage.Path, pageFields, withToken(token))
	}
}

func requestsOf(path string, tokens []string) [][]byte {
	out := make([][]byte, len(tokens))
	for i, token := range tokens {
		out[i] = requestOf(path, token)
	}
	return out
}

// answer is one of a gate's or an origin's, read whole.
type answer struct {
	status int
	body   []byte
	token  string // given with it; "": none
	state  string
	told   bool  // position and estimate are known
	place  int64 // position
}

var asking = &http.Client{
	Timeout:       10 * time.Second,
	Transport:     &http.Transport{MaxIdleConnsPerHost: askers, DisableCompression: true, Proxy: nil},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// askers is how many visitors are made at once.
const askers = 32

// ask sends what cannot be sent as fast as possible: what prepares a measurement.
func ask(ctx context.Context, method, addr, path string, fields [][2]string, token string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, nil)
	if err != nil {
		return answer{}, err
	}
	for _, f := range fields {
		if f[0] != "Connection" {
			r.Header.Set(f[0], f[1])
		}
	}
	if token != "" {
		r.Header.Set("Cookie", withToken(token))
	}
	resp, err := asking.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", method, r.URL, err)
	}
	for _, c := range resp.Cookies() {
		if c.Name == cookie {
			a.token = c.Value
		}
	}
	if path == apiPath {
		var said struct {
			State    string
			Position *int64
			Estimate *struct{} `json:"estimate_seconds"`
		}
		if err := json.Unmarshal(a.body, &said); err != nil || resp.StatusCode != http.StatusOK {
			return answer{}, fmt.Errorf("%s %s: %s: %.200q", method, r.URL, resp.Status, a.body)
		}
		a.state = said.State
		if a.told = said.Position != nil && said.Estimate != nil; a.told {
			a.place = *said.Position
		}
	}
	return a, nil
}

// each does something n times, some at once, until the first error.
func each(n int, do func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, askers)
	for k := range askers {
		wg.Go(func() {
			for i := k; i < n && errs[k] == nil; i += askers {
				errs[k] = do(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

const (
	// lineAhead is how many wait before those whose polls are measured: far more than
	// are called, or asked of the store for being near the front, while they are.
	lineAhead = 10_000
	// lineBegun is how many wait before newcomers are measured, so that nobody is let
	// in on the spot.
	lineBegun = 200
	// ticketsEach is how many visitors share a connection in the measurement of polls.
	ticketsEach = 16
)

// join has somebody join the line, and returns their ticket or, when they were let
// in on the spot, their pass.
func join(ctx context.Context, addr string) (answer, error) {
	a, err := ask(ctx, http.MethodPost, addr, apiPath, pollFields, "")
	if err == nil && a.token == "" {
		err = fmt.Errorf("%s gave somebody who joined no token: %.200q", addr, a.body)
	}
	return a, err
}

// beginLine has so many visitors join that the next has to wait.
func beginLine(ctx context.Context, addr string) error {
	for { // whoever comes to an idle room is let in
		a, err := join(ctx, addr)
		if err != nil {
			return err
		}
		if a.state == "waiting" {
			break
		}
	}
	return each(lineBegun, func(int) error {
		_, err := join(ctx, addr)
		return err
	})
}

// tickets has n visitors join a long line, and returns their tickets once the gate
// can tell where they stand and for how long.
func tickets(ctx context.Context, addr string, n int) ([]string, error) {
	if err := beginLine(ctx, addr); err != nil {
		return nil, err
	}
	load := client.Load{
		Addr: addr, Connections: 64, Requests: [][]byte{requestOf(newcomer, "")},
		Want: client.Want{Status: http.StatusTooManyRequests, MaxBody: 1 << 20, Header: "Set-Cookie"},
	}
	for joined := int64(0); joined < lineAhead; {
		r, err := load.Run(ctx, 0, 500*time.Millisecond, func() error { return nil })
		if err != nil {
			return nil, err
		}
		joined += r.Requests
	}
	out := make([]string, n)
	err := each(n, func(i int) error {
		a, err := join(ctx, addr)
		out[i] = a.token
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, each(n, func(i int) error {
		return eventually(ctx, "a position far back and an estimate for those who joined last", func() (answer, bool, error) {
			a, err := ask(ctx, http.MethodGet, addr, apiPath, pollFields, out[i])
			return a, a.state == "waiting" && a.told && a.place > lineAhead/2, err
		})
	})
}

// passes has n visitors let in, and returns their passes once these cost the store
// nothing any more: the first pass is provisional until the store knows of its use.
func passes(ctx context.Context, addr string, n int) ([]string, error) {
	out := make([]string, n)
	return out, each(n, func(i int) error {
		a, err := ask(ctx, http.MethodGet, addr, stage.Path, pageFields, "")
		if err != nil {
			return err
		}
		if a.status != http.StatusOK || a.token == "" {
			return fmt.Errorf("%s did not let somebody in: status %d, %.200q", addr, a.status, a.body)
		}
		out[i] = a.token
		renewed := false
		return eventually(ctx, "a pass that is not provisional", func() (answer, bool, error) {
			a, err := ask(ctx, http.MethodGet, addr, stage.Path, pageFields, out[i])
			if a.token != "" {
				out[i], renewed = a.token, true
			}
			return a, renewed && a.token == "", err
		})
	})
}

// eventually asks a gate until the answer is what was wanted.
func eventually(ctx context.Context, wanted string, asked func() (answer, bool, error)) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		a, ok, err := asked()
		if ok || err != nil {
			return err
		}
		select {
		case <-again.C:
		case <-late.C:
			return fmt.Errorf("wanted %s, and after %v the gate answers with %d: %.300q", wanted, patience, a.status, a.body)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// patience is how long the making of a visitor may take.
const patience = 30 * time.Second

func hostOf(url string) string { return strings.TrimPrefix(url, "http://") }
