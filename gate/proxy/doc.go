// Package proxy takes a request from the gate to the origin and the answer back.
// Bodies stream in both directions and are never held whole; connections to the
// origin are kept; WebSockets are tunnelled.
//
//	visitor -- Strict -- fasthttp.Server -- gate -- Forward -- conn -- origin
//	                                                  |
//	        request line and fields: copied from the raw bytes, less ours and this hop's
//	        body: a goroutine of its own unless it is short
//	        answer: fields copied from the raw bytes; body by exchange.WriteTo
//
// The origin's side is a small HTTP/1.1 client of our own over net.Conn, not
// fasthttp.HostClient. That one takes a connection back into its pool after a
// 101, ends a chunked request properly when the visitor's body was cut off,
// sends its own fields in its own order, cannot read an answer while the request
// is still being sent, and looks at no connection before using it again. Working
// around each would have cost more than the 300 lines that do what is wanted:
// here every connection belongs to one exchange or to the pool, goes back only
// when the answer was read to its end with nothing after it, and is looked at
// before it is used again.
//
// Between the visitor and fasthttp stands a reading that forgives nothing, Strict.
// It cuts the connection into requests, and fasthttp is handed one at a time; one
// that could mean two things never reaches it. fasthttp alone takes a request line
// that ends in LF, empty lines before it and blanks and control bytes in chunk sizes
// without telling anybody, reads a body that was not fetched as the next request, and
// cannot tell the end of a chunked body from the connection's. With Strict the
// boundaries of requests are known to us, whatever it makes of them.
//
// The visitor's side is fasthttp's otherwise, which parses into a table and writes from
// one, sorted by its own rules. Forward goes around both tables: it reads the
// request's raw lines, and puts the answer's lines into the reason phrase, which
// fasthttp writes as it stands, followed by what the gate adds. So the origin
// and the visitor get names, order, case and duplicates as they were sent, and
// nothing is copied into a table and out again. The price: the gate does not see
// the origin's fields in ctx.Response; what it has to know is in Answer.
//
// Trailers go on where they are asked for or announced, and mean no harm. Interim
// answers of the origin are dropped, but for the 100 (Continue) that a visitor waits
// for. Request bodies may go on while the answer comes, but the connection ends with
// such an answer. Who waits for the origin looks now and then whether the visitor
// still does.
package proxy
