// Package route tells its caller, the gate, which room a request belongs to,
// and which requests nobody can tell that about.
//
// [New] compiles the rooms' matches and exceptions once, with every problem at
// a time; [Table.Find] answers per request, from the raw bytes of the request
// line and the Host header, without allocating. The caller forwards the
// original bytes, whatever Find made of them.
//
// # Which match wins
//
// An exact host beats a wildcard, a longer wildcard a shorter one, any host
// none; among equal hosts the longer path wins. The host comes first: "/" on
// shop.example wins over "/drop" on every host. "*.shop.example" covers names
// of any depth below shop.example, not shop.example itself.
//
// Hosts are compared without case, port and one trailing dot. A path is a
// prefix on segment borders, written decoded: "/drop" covers /drop and /drop/x,
// not /dropped. The query never takes part.
//
// # Readings
//
// What stands on the wire is read differently by different origins: one
// resolves %2e%2e, one takes a backslash for a slash, one cuts at a NUL. Find
// weighs all readings at once:
//
//   - the plain reading: percent-decoded once, compared as it is;
//   - whether any reading could lie under a path. The target is boiled down to
//     a skeleton: decoded until nothing is left to decode (%uXXXX and overlong
//     UTF-8 too), compatibility characters, case and look-alikes folded, all
//     that some origin takes for a slash or for the path's end made a slash,
//     empty and dot segments, parameters, trailing dots and spaces dropped.
//     Paths of rooms may hold none of the characters concerned, so a reading
//     that keeps one within the prefix cannot match it, and dropping it loses
//     no reading. Where something might climb ("..", "..;", %252e%252e, and a
//     leading "//", which URL parsers take for a host) any reading is a
//     subsequence of the skeleton's segments, and that is what is looked for.
//
// All readings ungated: [Ungated]. All in one room: [Gated]. Otherwise
// [Refused]. An exception counts when all readings agree on it, one that leaves
// unreserved characters percent-encoded included; where the plain reading is
// excepted and another is not the request is refused, where only an odd reading
// is excepted it is gated, which is safe.
//
// Within a room and its exceptions an encoded slash or backslash, a backslash,
// a dot segment (encoded or not), a control byte (encoded or not) and a raw
// space are refused whatever the readings say. Not so where the room has "/" and
// no exceptions: what no reading takes to another room is in it, however it is
// spelled.
//
// With IgnoreCase false, /DROP beside "/drop" is refused, not waved through.
// With IgnoreCase true it is gated, and exceptions ignore case too.
//
// # What it cannot know
//
// An origin's own aliases: /drop.json, /index.php/drop, a slug that a database
// compares loosely. And hosts: where a room names one, a request for a host that
// no room names is ungated, and an origin that ignores Host may serve the room's
// pages to it. A room that names no host has no such gap, and a caller who knows
// the site's [Hosts] closes it.
package route
