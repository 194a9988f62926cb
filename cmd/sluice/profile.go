package main

import (
	"fmt"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
)

// profileVariable names a file that a gate writes its processor profile to, from its
// start to its end. %d in it is the process, so that several gates may share it.
const profileVariable = "SLUICE_CPUPROFILE"

// profile begins the profile where one is wanted. What it returns ends it.
func profile() (end func() error, err error) {
	name := strings.ReplaceAll(os.Getenv(profileVariable), "%d", strconv.Itoa(os.Getpid()))
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", profileVariable, err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", profileVariable, err)
	}
	return func() error {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			return fmt.Errorf("%s: %w", profileVariable, err)
		}
		return nil
	}, nil
}
