// Package k6 holds the scripts with which the real k6 does what sluice loadtest
// does. See README.md; the command in compare runs both and compares them.
package k6

import "embed"

// Scripts are visitor.js, the visitors for k6; compare.js, the same with what the
// comparison needs to know; and compare.yaml, its twin for sluice loadtest.
//
//go:embed visitor.js compare.js compare.yaml
var Scripts embed.FS
