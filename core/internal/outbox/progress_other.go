//go:build !linux

package outbox

import "syscall"

func queued(syscall.RawConn) (n int, ok bool) { return 0, false }
