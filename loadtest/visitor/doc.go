// Package visitor is what a rehearsal's virtual users do: each is a person with a
// browser who comes to a gated page over real HTTP, waits as the waiting page's
// script would, is let in, looks around with time to think, orders, and leaves or
// walks away on the way.
//
//	page ──▶ told to wait ──▶ poll, poll, ... ──▶ admitted ──▶ page again ──▶ pages, order ──▶ leave or vanish
//	  └─────────────────── let in on the spot ────────────────────────────┘
//
// A Crowd is the visitors of one scenario; Crowd.Visit is one visit, from the first
// request to the end. How they behave is a Journey, read from the script by Parse.
//
// Tens of thousands of them wait in one process. Each has a connection of their own,
// a cookie, and where the gates are on this machine an address of their own out of
// 127.0.0.0/8, since one address has only 28,000 ports. While they wait for more than
// a few seconds their connection is closed, as browsers and phones do sooner or
// later, so that the limit on open files bounds those at work and not those who
// wait. Buffers are taken for a request and given back after it.
//
// Requests are timed as k6 does: http_req_duration is sending, waiting and
// receiving. What matters to people counts from when they were due, not from when
// the harness found the time: join_duration and wait_duration.
//
// What promises are judged by goes into a judge.Log.
package visitor
