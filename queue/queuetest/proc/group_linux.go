package proc

import (
	"os/exec"
	"syscall"
)

// setGroup gives a program a process group, so that its workers end with it, and
// has the kernel stop it should the test's process die without cleaning up.
func setGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

func killGroup(c *exec.Cmd) { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
