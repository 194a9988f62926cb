// Package summary says what a run came to: as text in the layout of k6's
// end-of-test summary, as the JSON that k6 hands to handleSummary, and as lines
// of progress while it lasts. All of it is computed from a registry and the
// results of the thresholds; nothing here measures or decides.
package summary
