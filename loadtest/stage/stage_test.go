package stage

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

func TestGatesStandBeforeTheShop(t *testing.T) {
	if testing.Short() {
		t.Skip("not tested: gates, which have to be built")
	}
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "shop of "+r.Header.Get("Sluice-Room"))
	}))
	t.Cleanup(shop.Close)
	gates := Gates(t, Sluice(t), 2, Config{
		Store: proc.Redis(t), Origin: strings.TrimPrefix(shop.URL, "http://"),
		Room: "rate: none\nmax_active: 1", Proxy: "max_conns: 10",
	})
	var got []string
	for _, g := range gates { // who is inside at the first gate is so at the second
		resp, err := http.Get(g.URL + Path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got = append(got, resp.Status)
	}
	if got[0] != "200 OK" || got[1] != "429 Too Many Requests" {
		t.Errorf("two newcomers, one slot: %q", got)
	}
}
