//go:build !linux

package proc

import "os/exec"

func setGroup(*exec.Cmd) {}

func killGroup(c *exec.Cmd) { _ = c.Process.Kill() }
