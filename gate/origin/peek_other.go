//go:build !unix

package origin

// watch does nothing here: idle connections are used unseen.
func (c *Conn) watch() {}
