package script

import (
	"cmp"
	"slices"

	"github.com/sluicegate/sluice/gate/config/problem"
)

// Problem is one thing wrong.
type Problem = problem.Problem

// Problems is everything wrong with a script, from top to bottom.
type Problems = problem.Problems

func sorted(ps Problems) Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return ps
}
