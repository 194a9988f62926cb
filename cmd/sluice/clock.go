package main

import (
	"fmt"
	"os"
	"time"
)

// clockVariable says by how much the clock that rooms go by is to be wrong, such as 1h
// or -90s: for rehearsals with machines whose clocks are.
const clockVariable = "SLUICE_WRONG_CLOCK"

// clock returns the clock that rooms go by; nil: the machine's.
func clock() (func() time.Time, error) {
	text := os.Getenv(clockVariable)
	if text == "" {
		return nil, nil
	}
	wrong, err := time.ParseDuration(text)
	if err != nil {
		return nil, usageError("%s=%s: want a time, such as 1h or -90s", clockVariable, text)
	}
	return func() time.Time { return time.Now().Add(wrong) }, nil
}

// tellClock warns of a clock that is wrong on purpose.
func (p *process) tellClock() {
	if text := os.Getenv(clockVariable); text != "" {
		p.log.Warn(fmt.Sprintf("rooms go by a clock that is wrong on purpose: %s is set", clockVariable), "by", text)
	}
}
