//go:build !linux

package lot

import (
	"errors"
	"fmt"
)

// Elsewhere every connection has a goroutine of its own.
type poller struct{}

type events struct{}

var errLook = errors.New("lot: time to look")

func newPoller() (*poller, error) { return nil, fmt.Errorf("lot: %w", errors.ErrUnsupported) }

func (*events) ticket(int) Ticket         { return 0 }
func (*poller) arm(Ticket, int32) error   { return errors.ErrUnsupported }
func (*poller) disarm(int32)              {}
func (*poller) wait(*events) (int, error) { return 0, errors.ErrUnsupported }
func (*poller) close()                    {}
