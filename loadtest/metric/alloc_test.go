//go:build !race

package metric

import "testing"

func TestASampleMakesNoGarbage(t *testing.T) {
	for _, kind := range []Kind{Counter, Gauge, Rate, Trend} {
		s := NewRegistry().New("m", kind, Time).With(Tags{})
		for range 100 * perShard { // every buffer is there
			s.Add(1)
		}
		if n := testing.AllocsPerRun(10*perShard, func() { s.Add(1) }); n != 0 {
			t.Errorf("a sample of a %s allocates %v times", kind, n)
		}
	}
}
