//go:build !(linux || darwin)

package outbox

import "syscall"

// errTimedOut is what TCP itself says of a peer that is gone.
var errTimedOut error = syscall.ETIMEDOUT
