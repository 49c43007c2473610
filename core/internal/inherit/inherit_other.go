//go:build !unix

package inherit

import (
	"context"
	"fmt"
)

// HandOver returns ErrNotSupported: this system cannot hand over sockets.
func HandOver(context.Context, []*Listener) (pid int, err error) {
	return 0, fmt.Errorf("inherit: hand over listeners: %w", ErrNotSupported)
}
