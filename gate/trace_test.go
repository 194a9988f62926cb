package gate

import "testing"

func TestNobodySeesByTRACEWhatTheShopGets(t *testing.T) {
	g := openTestGate(t, nil)
	for _, target := range []string{"/drop", "/elsewhere", "/.sluice/rooms/drop"} {
		r := g.do(t, "TRACE "+target+" HTTP/1.1\r\nHost: shop.example\r\n\r\n")
		if got, allow := r.StatusCode(), string(r.Header.Peek("Allow")); got != 405 || allow != "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" {
			t.Errorf("TRACE %s: %d, Allow %q", target, got, allow)
		}
	}
	if got := g.do(t, "trace /elsewhere HTTP/1.1\r\nHost: shop.example\r\n\r\n").StatusCode(); got != 502 {
		t.Errorf("another method of a like name: %d, want 502 of the origin that is not there", got)
	}
}
