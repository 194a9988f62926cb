// Package listen opens the sockets that visitors arrive at: TCP addresses, unix
// sockets, and those that systemd opened before.
//
// It is made for restarts that nobody notices. With ReusePort a new gate listens
// beside the old one, on a TCP address by SO_REUSEPORT, on a unix socket by taking
// over its path. The old one then calls Drain while it goes on accepting: nobody
// new is sent to its socket, and those who had begun to connect are served. Closing
// a socket without that resets everybody in its queue.
//
// What systemd opened outlives the process: who arrives between two gates waits in
// the socket's queue.
package listen
