// Package origin keeps the servers of the shop: which of them a request goes to,
// whether they are well, and the connections to them.
//
//	URL ── name ── addresses, looked up again and again ── a Server each
//	                                                         │
//	Take ── Round: servers already tried ── pick ────────────┤ pool, limit, queue
//	                                                         │ failures of requests
//	                                                         │ checks of our own
//
// Every address that a name stands for is a Server of its own: one of several that
// hangs is found out and left alone as if it had been named by itself.
//
// A connection belongs to the pool or to one exchange, never to both. It goes back
// only when an answer was read to its end with nothing after it, and is looked at
// before it is used again: bytes that nobody asked for would be taken for the
// answer to the next request.
//
// A server is left alone when requests fail at it several times in a row, and when
// checks do. After the former it is tried again by one request, then, if that
// fails too, after twice the time. When all are left alone, requests go to them all
// the same: no answer of ours is better than what one of them might still give.
package origin
