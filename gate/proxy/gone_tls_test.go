//go:build linux

package proxy

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/gate/cert/certtest"
)

func TestAVisitorByTLSIsGoneWhenTheyClosed(t *testing.T) {
	ca := certtest.NewCA(t)
	keeper := cert.New(nil, nil)
	if err := keeper.Set(cert.Config{Files: []cert.Files{ca.Write(t.TempDir(), "shop", time.Now().Add(time.Hour), "shop.example")}}); err != nil {
		t.Fatal(err)
	}
	asked := make(chan bool, 1)
	ended := make(chan bool, 1)
	g := start(t, func(_ int, c *peerConn) {
		c.head()
		asked <- true
		c.rest()
		ended <- true
	}, func(c *Config) { c.HeaderTimeout = time.Hour }, func(g *rig) { g.tls = keeper })
	g.proxy.look = 5 * time.Millisecond
	for name, leave := range map[string]func(*tls.Conn){
		"closed":                            func(c *tls.Conn) { c.Close() },
		"said so, and ended the connection": func(c *tls.Conn) { c.CloseWrite(); c.NetConn().(*net.TCPConn).CloseWrite() },
		"reset":                             func(c *tls.Conn) { abort(c.NetConn()) },
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tls.Dial("tcp", g.addr, &tls.Config{ServerName: "shop.example", RootCAs: ca.Pool})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte(get + get)); err != nil {
				t.Fatal(err)
			}
			wait(t, asked, "request")
			select {
			case <-ended:
				t.Fatal("the origin's request ends while the visitor waits")
			case <-time.After(50 * time.Millisecond):
			}
			leave(c)
			wait(t, ended, "end of the origin's request")
			g.wantErr(ErrClient)
			waitOpen(g, 0)
		})
	}
}
