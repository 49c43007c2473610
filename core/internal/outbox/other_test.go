//go:build !(linux || darwin)

package outbox

import "syscall"

// errTimedOut is the error of TCP itself for a peer that does not answer.
var errTimedOut error = syscall.ETIMEDOUT
