package route

import "testing"

// Around is a line of testdata/around.txt for those who look from outside.
type Around struct {
	Line                              int
	Rooms                             []Room
	Host, Method, Target, Expect, Why string
}

func ReadAround(t testing.TB) (all []Around) {
	for _, a := range readAround(t) {
		all = append(all, Around{a.line, a.rooms, a.host, a.method, a.target, a.expect, a.why})
	}
	return all
}
