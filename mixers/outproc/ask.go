package outproc

import (
	"context"
	"errors"
	"fmt"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
)

// ask sends one item to the guest and returns the answer. An item that was under way when
// its instance ended is sent once more, to the next one: what filters and codecs do has no
// effect but its result.
func (h *Handle) ask(route string, item []byte) ([]byte, error) {
	if len(item) > h.guest.MaxItem {
		return nil, fmt.Errorf("guest %s: an item of %d bytes is over Guest.MaxItem, %d: %w", h.name, len(item), h.guest.MaxItem, xfer.ErrTooLarge)
	}
	start := time.Now()
	select {
	case h.slots <- struct{}{}:
	default:
		if err := h.waitSlot(); err != nil {
			return nil, unavailable(h.name, err)
		}
	}
	defer func() { <-h.slots }()

	inst := h.active.Load()
	if inst != nil {
		// The lanes' DefaultCallTimeout is that of an item, and costs less than a context.
		reply, err := inst.ask(context.Background(), route, item)
		if err == nil {
			return reply, nil
		}
		if !lost(err) {
			return nil, h.itemError(err)
		}
	}
	return h.askNext(start, inst, route, item)
}

// waitSlot waits for one of the MaxInFlight slots.
func (h *Handle) waitSlot() error {
	t := time.NewTimer(h.guest.Timeout)
	defer t.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-t.C:
		return errBusy
	}
}

// askNext is ask for an item that there was no instance for, or that was lost with one.
func (h *Handle) askNext(start time.Time, last *instance, route string, item []byte) ([]byte, error) {
	ctx, cancel := context.WithDeadline(context.Background(), start.Add(h.guest.Timeout))
	defer cancel()
	inst, err := h.next(ctx, last)
	if err != nil {
		return nil, unavailable(h.name, err)
	}
	reply, err := inst.ask(ctx, route, item)
	if err != nil {
		return nil, h.itemError(err)
	}
	return reply, nil
}

// next returns the instance for an item, other than last; it waits for one until ctx
// ends.
func (h *Handle) next(ctx context.Context, last *instance) (*instance, error) {
	for {
		h.mu.Lock()
		inst, failed, changed := h.active.Load(), h.failed, h.changed
		h.mu.Unlock()
		switch {
		case failed != nil:
			return nil, failed
		case inst != nil && inst != last:
			return inst, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errNotBack
		}
	}
}

var (
	errBusy    = errors.New("too many items are under way: raise Guest.MaxInFlight, or give the guest less to do")
	errNotBack = errors.New("it has ended, and was not ready again before the item's deadline")
)

// lost reports whether the item was lost with its lane.
func lost(err error) bool { return errors.Is(err, tp.ErrConnClosed) }

// itemError returns the error of an item for its caller.
func (h *Handle) itemError(err error) error {
	r := tp.ToRerror(err)
	switch r.Code {
	case tp.CodeConnClosed, tp.CodeWriteFailed:
		return unavailable(h.name, err)
	case tp.CodeHandleTimeout, tp.CodeCanceled:
		return unavailable(h.name, fmt.Errorf("it has not answered within %v: %w", h.guest.Timeout, err))
	}
	return replyError(h.name, r)
}
