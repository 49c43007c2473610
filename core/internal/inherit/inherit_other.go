//go:build !unix

package inherit

import (
	"context"
	"fmt"
)

// HandOver returns ErrNotSupported: this system cannot hand over sockets.
func HandOver(context.Context, []*Listener, Adopter) (*Child, error) {
	return nil, fmt.Errorf("inherit: hand over listeners: %w", ErrNotSupported)
}

// NewLines returns ErrNotSupported.
func NewLines() (near, far *Line, err error) { return nil, nil, ErrNotSupported }
