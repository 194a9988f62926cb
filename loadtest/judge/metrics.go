package judge

import "github.com/sluicegate/sluice/loadtest/metric"

// Names that thresholds can use.
const (
	Overtaken          = "sluice_overtaken"            // Counter: people
	OvershootWindow    = "sluice_overshoot_window"     // Gauge: most calls beyond what a window allows
	InsideMax          = "sluice_inside_max"           // Gauge: most people inside at once
	PlacesLost         = "sluice_places_lost"          // Counter: people
	DoubleAdmissions   = "sluice_double_admissions"    // Counter: tickets
	UnadmittedAtOrigin = "sluice_unadmitted_at_origin" // Counter: requests, told by the recording origin
	Estimates          = "sluice_estimates"            // Counter by result: early, within, late
	NotAdmitted        = "sluice_not_admitted"         // Counter: people
)

// Define makes the metrics known before there is a verdict, so that a threshold
// finds them.
func Define(r *metric.Registry) {
	for _, name := range []string{Overtaken, PlacesLost, DoubleAdmissions, UnadmittedAtOrigin, Estimates, NotAdmitted} {
		r.New(name, metric.Counter, metric.Default)
	}
	for _, name := range []string{OvershootWindow, InsideMax} {
		r.New(name, metric.Gauge, metric.Default)
	}
}

// Record writes the verdict into a registry. What could not be judged is left out:
// windows where the limits are not known, and the shop's side where unadmitted is
// negative, because the origin was not a recording one.
func (v *Verdict) Record(r *metric.Registry, unadmitted int64) {
	Define(r)
	add := func(name string, n int64, tags ...string) {
		r.Lookup(name).With(metric.NewTags(tags...)).Add(float64(n))
	}
	add(Overtaken, v.Overtaken)
	add(InsideMax, v.InsideMax)
	add(PlacesLost, v.PlacesLost)
	add(DoubleAdmissions, v.DoubleAdmissions)
	add(Estimates, v.Early, "result", "early")
	add(Estimates, v.Within, "result", "within")
	add(Estimates, v.Late, "result", "late")
	add(NotAdmitted, v.NotAdmitted)
	if v.OvershootWindow >= 0 {
		add(OvershootWindow, v.OvershootWindow)
	}
	if unadmitted >= 0 {
		add(UnadmittedAtOrigin, unadmitted)
	}
}
