package main

import (
	"fmt"
	"slices"
	"strings"
)

// What a visitor's request may meet at a gate. Each path is measured at our gate
// and at programs that do the same or less.
const (
	poll     = "poll"     // somebody far from the front asks where they stand
	newcomer = "newcomer" // somebody's first request, answered by the waiting page
	pass     = "pass"     // somebody admitted, whose request goes to the origin
)

// Who answers.
const (
	bare    = "bare" // fasthttp and nothing else: the floor
	nginx   = "nginx"
	haproxy = "haproxy"
	sluice  = "sluice"
)

var paths = []string{poll, newcomer, pass}

// key names a row: poll/bare.
type key struct{ path, server string }

func (k key) String() string { return k.path + "/" + k.server }

// rows are all that can be measured.
var rows = []key{
	{poll, bare}, {poll, nginx}, {poll, sluice},
	{newcomer, bare}, {newcomer, nginx}, {newcomer, sluice},
	{pass, bare}, {pass, nginx}, {pass, haproxy}, {pass, sluice},
}

// budgets are the most that our paths may cost, as a ratio to the floor (the
// median over the rounds).
var budgets = map[string]float64{poll: 1.15, newcomer: 2.5, pass: 1.20}

// cost is what a row's ratios are taken of, in microseconds. A newcomer's place is
// written to the store before the answer, so its cost belongs to the request; the
// presence marks of polls are sent later and have a budget of their own.
func (k key) cost(f *figures) float64 {
	if k == (key{newcomer, sluice}) {
		return f.server() + f.store()
	}
	return f.server()
}

// chosen returns the rows that a list names: paths, rows, or nothing for all.
func chosen(list []string) ([]key, error) {
	if len(list) == 0 {
		return rows, nil
	}
	for _, name := range list {
		if !slices.ContainsFunc(rows, func(k key) bool { return name == k.path || name == k.String() }) {
			var all []string
			for _, k := range rows {
				all = append(all, k.String())
			}
			return nil, fmt.Errorf("there is no %q to measure; paths are %s, rows are %s",
				name, strings.Join(paths, ", "), strings.Join(all, ", "))
		}
	}
	var out []key
	for _, k := range rows {
		if slices.Contains(list, k.path) || slices.Contains(list, k.String()) {
			out = append(out, k)
		}
	}
	return out, nil
}
