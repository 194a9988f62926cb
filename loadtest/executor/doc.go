// Package executor decides when virtual users begin their journeys, by k6's six
// executors, and runs them.
//
// The when is pure: [Arrivals] says at what instant the i-th iteration of an
// open model is due, and [Ramp] when each virtual user of a ramp comes and goes,
// both computed from the plan alone, never from the instant before, so that
// nothing drifts. The running part, [Run], keeps to it: an iteration is told its
// intended instant, how late it began is measured, and one that cannot begin
// because every virtual user is busy is counted as dropped, not put off.
//
// A run may be shared by processes and machines: each takes a [Segment], and all
// segments together are exactly the whole schedule.
package executor
