package route_test

import (
	"bufio"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/gate/route"
)

// credulousRooms are those of testdata/requests.txt.
var credulousRooms = []route.Room{
	{
		Name: "drop", Match: []route.Match{{Path: "/drop"}}, Except: []route.Except{
			{Path: "/drop/hook", Methods: []string{"POST"}},
			{Methods: []string{"GET"}, Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			{Static: true},
		},
	},
	{Name: "named", Match: []route.Match{{Host: "drop.example", Path: "/"}}},
	{Name: "hosted", Match: []route.Match{{Host: "sale.example", Path: "/hosted"}}},
}

// rawRequest is a line of testdata/requests.txt.
type rawRequest struct {
	number            int
	expect, line, why string
	fields            []string
}

// raw is the request as it is sent.
func (r *rawRequest) raw() string {
	return r.line + "\r\n" + strings.Join(r.fields, "\r\n") + "\r\n\r\n"
}

func readRequests(t *testing.T) (all []rawRequest) {
	t.Helper()
	f, err := os.Open("testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, why, found := strings.Cut(lines.Text(), " # ")
		if text == "" || text[0] == '#' {
			continue
		}
		expect, text, ok := strings.Cut(strings.TrimRight(text, " "), " ")
		if !found || !ok {
			t.Fatalf("requests.txt:%d: want EXPECT REQUEST-LINE [| FIELD]... # why", n)
		}
		r := rawRequest{number: n, expect: expect, why: strings.TrimSpace(why)}
		hosts, closes := strings.HasSuffix(text, "HTTP/1.0"), false
		for i, part := range strings.Split(strings.TrimLeft(text, " "), " | ") {
			part, err := strconv.Unquote(`"` + strings.ReplaceAll(part, `"`, `\"`) + `"`)
			if err != nil {
				t.Fatalf("requests.txt:%d: %v", n, err)
			}
			if i == 0 {
				r.line = part
				continue
			}
			name, _, _ := strings.Cut(part, ":")
			hosts = hosts || name == "Host"
			closes = closes || name == "Connection"
			r.fields = append(r.fields, part)
		}
		if !hosts {
			r.fields = append(r.fields, "Host: shop.example")
		}
		if !closes {
			r.fields = append(r.fields, "Connection: close")
		}
		if strings.HasPrefix(r.line, "POST ") {
			r.fields = append(r.fields, "Content-Length: 0")
		}
		all = append(all, r)
	}
	if len(all) < 100 {
		t.Fatalf("%d requests, want 100 at least", len(all))
	}
	return all
}
