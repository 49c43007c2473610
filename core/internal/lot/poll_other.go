//go:build !linux

package lot

import (
	"errors"
	"fmt"
)

// Elsewhere every connection has a goroutine of its own.
type poller struct{}

func newPoller() (*poller, error) { return nil, fmt.Errorf("lot: %w", errors.ErrUnsupported) }

func (*poller) arm(int32) error         { return errors.ErrUnsupported }
func (*poller) run(func(int32), func()) {}
func (*poller) close()                  {}
