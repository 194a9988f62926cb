//go:build !linux

package listen

import "errors"

// Elsewhere sharing an address spreads connections in other ways, or not at all.
func reusePort(int) error { return errors.New("reuse_port is there on Linux only") }

func migrates() bool { return false }

func deafen(int) error { return errors.ErrUnsupported }

func readable(int) (bool, error) { return false, errors.ErrUnsupported }
