// Package origin keeps the servers of the shop: which of them a request goes to,
// and the connections to them.
//
// A connection belongs to the pool or to one exchange, never to both. It goes back
// only when an answer was read to its end with nothing after it, and is looked at
// before it is used again: bytes that nobody asked for would be taken for the
// answer to the next request.
package origin
