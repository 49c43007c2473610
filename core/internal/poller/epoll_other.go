//go:build !linux

package poller

import (
	"errors"
	"fmt"
)

// On other systems each connection has a goroutine of its own.
type epoll struct{}

type events struct{}

var errSweep = errors.New("poller: time to sweep")

func newEpoll() (*epoll, error) { return nil, fmt.Errorf("poller: %w", errors.ErrUnsupported) }

func (*events) key(int) Key              { return 0 }
func (*events) hungUp(int) bool          { return false }
func (*epoll) add(Key, int32) error      { return errors.ErrUnsupported }
func (*epoll) remove(int32)              {}
func (*epoll) wait(*events) (int, error) { return 0, errors.ErrUnsupported }
func (*epoll) close()                    {}
