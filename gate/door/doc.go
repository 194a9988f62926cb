// Package door keeps visitors' connections within what the process can have
// open, so that a flood of them leaves those alone who were let in.
//
// Whose connection it is shows only when a request has come, so everybody is
// taken, and the door gets stricter as it gets fuller:
//
//	open connections
//	 calm       as ever
//	 crowded    what the gate answers by itself to somebody without a pass is the last
//	            answer on its connection; polls are not held; connections between two
//	            requests are ended, the longest idle first; a header has to come soon
//	 full       only the reserve is left: a request without a ticket or a pass is
//	            answered 503, and its connection ends
//	 no room    the oldest connection on which nothing whole has come yet makes room for
//	            the next. Where there is none, the next is answered 503 unread
//
// So in a flood each new connection has for its header at least as long as it takes
// the flood to fill the reserve once. A visitor sends theirs along with the
// connection; a connection that has shown a pass stays.
//
// A [Conn] is fresh until the header of its first request is whole: PROXY protocol
// and the TLS handshake, which stand upon it, are part of that.
package door
