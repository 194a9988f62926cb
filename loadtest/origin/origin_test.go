package origin

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// at asks the shop for something at a time of the test, without a network.
func (o *Origin) at(now *time.Time, after time.Duration, method, path string, headers ...string) *fasthttp.Response {
	*now = o.began.Add(after)
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.DisableNormalizing()
	ctx.Request.Header.SetMethod(method)
	ctx.Request.SetRequestURI(path)
	for i := 0; i < len(headers); i += 2 {
		ctx.Request.Header.Add(headers[i], headers[i+1])
	}
	o.Handle(&ctx)
	return &ctx.Response
}

func open(c Config) (*Origin, *time.Time) {
	now := time.Unix(1000, 0)
	o := newAt(c, func() time.Time { return now })
	return o, &now
}

func TestTheShopRecordsWhoCame(t *testing.T) {
	o, now := open(Config{Gated: "/drop", Assets: "/drop/assets/", Order: "/drop/order", PageSize: 1000, AssetSize: 10})
	in := func(name string) []string { return []string{"Sluice-Visitor", name, "Sluice-Room", "drop"} }
	if r := o.at(now, 0, "GET", "/drop/", in("ann")...); len(r.Body()) != 1000 || string(r.Header.Peek(RecordedVisitor)) != "ann" || len(r.Header.Peek("Sluice-Session")) > 0 {
		t.Errorf("%s", r)
	}
	o.at(now, time.Second, "GET", "/drop/", in("bob")...)
	if r := o.at(now, time.Second, "GET", "/drop/assets/a.css", in("ann")...); len(r.Body()) != 10 {
		t.Errorf("%s", r)
	}
	if r := o.at(now, 2*time.Second, "POST", "/drop/order", in("ann")...); string(r.Header.Peek("Sluice-Session")) != "release" {
		t.Errorf("%s", r)
	}
	o.at(now, 2100*time.Millisecond, "GET", "/drop/", in("dee")...)
	o.at(now, 2200*time.Millisecond, "GET", "/free")
	want := Stats{
		Requests: 6, Pages: 4, Assets: 1, Posts: 1, Released: 1, Visitors: 3, MostAtOnce: 2,
		Examples: []string{}, PerSecond: []int64{1, 2, 3},
	}
	if got := o.Stats(); !reflect.DeepEqual(got, want) {
		t.Errorf("\ngot  %+v\nwant %+v", got, want)
	}
}

func TestTheShopSeesWhatShouldNotHaveCome(t *testing.T) {
	room := []string{"Sluice-Visitor", "ann", "Sluice-Room", "drop"}
	for _, c := range []struct {
		name               string
		path               string
		headers            []string
		unadmitted, leaked int64
	}{
		{"nobody's request", "/drop/", nil, 1, 0},
		{"a visitor of no room", "/drop/", room[:2], 1, 0},
		{"our cookie", "/drop/", append([]string{"Cookie", "a=b; sluice-drop=x"}, room...), 0, 1},
		{"our cookie in another header", "/drop/", append([]string{"cookie", "a=b", "COOKIE", "sluice-x=y"}, room...), 0, 1},
		{"a header that a visitor made up", "/drop/", append([]string{"sluice_visitor", "eve"}, room...), 0, 1},
		{"the token", "/drop/", append([]string{"Sluice-Token", "x"}, room...), 0, 1},
		{"two visitors", "/drop/", append([]string{"Sluice-Visitor", "eve"}, room...), 0, 1},
		{"a cookie of its own", "/drop/", append([]string{"Cookie", "my-sluice-drop=x; sluiced=1"}, room...), 0, 0},
		{"a path that is not gated", "/free", nil, 0, 0},
	} {
		o, now := open(Config{Gated: "/drop"})
		o.at(now, 0, "GET", c.path, c.headers...)
		s := o.Stats()
		if s.Unadmitted != c.unadmitted || s.Leaked != c.leaked || len(s.Examples) != int(c.unadmitted+c.leaked) {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

func TestStatisticsAreServedBesideTheShop(t *testing.T) {
	o := New(Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := o.Serve(l); err != nil {
			t.Error(err)
		}
	})
	get := func(path string) string {
		r, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if body := get("/"); len(body) != 10_000 || !strings.HasPrefix(body, "<!doctype html>") {
		t.Errorf("%.50q", body)
	}
	var s Stats
	if err := json.Unmarshal([]byte(get("/recorded")), &s); err != nil || s.Requests != 1 || s.Unadmitted != 1 {
		t.Errorf("%v %+v", err, s)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// Eighty thousand visitors with three requests each are to be cheap.
func BenchmarkHandle(b *testing.B) {
	o := New(Config{Gated: "/drop"})
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.DisableNormalizing()
	ctx.Request.SetRequestURI("/drop/")
	ctx.Request.Header.Set("Sluice-Room", "drop")
	ctx.Request.Header.Set("Cookie", "cart=1; lang=ko")
	names := make([]string, 80_000)
	for i := range names {
		names[i] = fmt.Sprintf("%016x", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ctx.Request.Header.Set("Sluice-Visitor", names[i%len(names)])
		ctx.Response.Reset()
		o.Handle(&ctx)
	}
}
