//go:build !linux

package inherit

import "syscall"

// refuseNew does nothing: this system has no means for it.
func refuseNew(syscall.RawConn) {}

func acceptNew(syscall.RawConn) {}
