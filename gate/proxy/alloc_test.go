//go:build !race

package proxy

import (
	"strings"
	"testing"
)

func TestAnAdmittedRequestAllocatesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		request, answer string
		most            float64
	}{
		"GET":              {visit, served(1<<10, false), 0},
		"GET, streamed":    {visit, served(64<<10, false), 0},
		"GET, chunked":     {visit, served(1<<10, true), 0},
		"POST with a body": {"POST" + strings.TrimSuffix(visit[3:], "\r\n") + "Content-Length: 3\r\n\r\nabc", served(1<<10, false), 0},
	} {
		t.Run(name, func(t *testing.T) {
			ask, end := visitor(t, gateTo(t, answerer(t, tc.answer), false), tc.request)
			defer end()
			for range 100 {
				ask()
			}
			if n := testing.AllocsPerRun(2000, ask); n > tc.most {
				t.Errorf("%v allocations a request, want at most %v", n, tc.most)
			}
		})
	}
}
