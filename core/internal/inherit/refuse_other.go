//go:build !linux

package inherit

import "syscall"

// refuseNew does nothing: this system has no means for it.
func refuseNew(syscall.RawConn) bool { return false }

func acceptNew(syscall.RawConn) bool { return false }

// hasWaiting returns false: this system has no call for it in package syscall.
func hasWaiting(syscall.RawConn) bool { return false }
