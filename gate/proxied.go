package gate

import (
	"net"

	"github.com/sluicegate/sluice/gate/peer"
)

// Proxied has every connection of a visitors' listener begin with a PROXY header,
// which trusted_proxies may send. TLS, if any, goes on top of what it returns.
func (g *Gate) Proxied(l net.Listener) net.Listener {
	var closed failures
	return peer.Proxied(l,
		func() *peer.Trust { return g.site.Load().trust },
		func(remote net.Addr, why error) {
			closed.warn(g.log, "a connection was closed: proxy_protocol is on, and every one has to begin with a PROXY header of a trusted proxy",
				"peer", remote.String(), "why", why)
		})
}
