package config

import (
	"cmp"
	"slices"

	"github.com/sluicegate/sluice/gate/config/problem"
)

// Problem is one thing wrong. File is empty, and Key names the flag or the variable,
// when the value came from there.
type Problem = problem.Problem

// Problems is everything wrong with a configuration: those of the file from top
// to bottom, then those of other files, of the environment and of flags.
type Problems = problem.Problems

// sorted returns the problems in the order in which people fix them.
func (r *reader) sorted() Problems {
	group := func(p Problem) int {
		switch p.File {
		case r.file:
			return 0
		case "":
			return 2
		default:
			return 1
		}
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(group(a), group(b)), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.problems
}
