package outproc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
)

// An exchange is one item and its answer. Both stay the caller's.
type exchange struct {
	route       string
	item, reply []byte

	err  error      // of an exchange in a bundle
	done chan error // gets err if the bundle is another caller's; of capacity 1
}

var exchanges = sync.Pool{New: func() any { return &exchange{done: make(chan error, 1)} }}

// keptReply is the size of the largest reply whose memory serves another item, in bytes.
const keptReply = 64 << 10

// ask sends one item to the guest and returns the answer, in memory of its own.
func (h *Handle) ask(route string, item []byte) ([]byte, error) {
	x := exchanges.Get().(*exchange)
	x.route, x.item = route, item
	err := h.exchange(x)
	reply := x.reply
	x.reply = nil
	x.free()
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// free gives x back to exchanges, with the memory of a reply that is not large.
func (x *exchange) free() {
	x.item, x.err = nil, nil
	if cap(x.reply) > keptReply {
		x.reply = nil
	}
	exchanges.Put(x)
}

// appendAnswer sends one item to the guest and appends the answer, of at most max bytes,
// to dst. If it fails it returns dst.
func (h *Handle) appendAnswer(dst []byte, route string, item []byte, max int) ([]byte, error) {
	x := exchanges.Get().(*exchange)
	x.route, x.item = route, item
	err := h.exchange(x)
	switch {
	case err != nil:
	case len(x.reply) > max:
		err = fmt.Errorf("guest %s: %w: %d bytes, the limit is %d", h.name, xfer.ErrTooLarge, len(x.reply), max)
	default:
		dst = append(dst, x.reply...)
	}
	x.free()
	return dst, err
}

// exchange sends one item and waits for the answer. An item that was under way when its
// instance ended is sent once more, to the next one: what filters and codecs do has no
// effect but its result.
func (h *Handle) exchange(x *exchange) error {
	if len(x.item) > h.guest.MaxItem {
		return fmt.Errorf("guest %s: an item of %d bytes is over Guest.MaxItem, %d: %w", h.name, len(x.item), h.guest.MaxItem, xfer.ErrTooLarge)
	}
	start := time.Since(epoch) // half of what time.Now costs
	select {
	case h.slots <- struct{}{}:
	default:
		if err := h.waitSlot(); err != nil {
			return unavailable(h.name, err)
		}
	}
	defer func() { <-h.slots }()

	inst := h.active.Load()
	if inst != nil {
		var err error
		if len(h.slots) > 1 && inst.bundler.takes(x) {
			err = inst.exchangeBundled(x)
		} else {
			// The lanes' DefaultCallTimeout is that of an item, and costs less than a context.
			err = inst.exchange(context.Background(), x)
		}
		if err == errNoResult {
			ctx, cancel := h.deadline(start)
			err = inst.exchange(ctx, x)
			cancel()
		}
		if err == nil {
			return nil
		}
		if !lost(err) {
			return h.itemError(err)
		}
	}
	return h.again(start, inst, x)
}

// epoch is what times of items are relative to.
var epoch = time.Now()

// deadline returns a context that ends with an item that was begun at start.
func (h *Handle) deadline(start time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadline(context.Background(), epoch.Add(start+h.guest.Timeout))
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

// again is exchange for an item that there was no instance for, or that was lost with the
// instance last.
func (h *Handle) again(start time.Duration, last *instance, x *exchange) error {
	ctx, cancel := h.deadline(start)
	defer cancel()
	inst, err := h.next(ctx, last)
	if err != nil {
		return unavailable(h.name, err)
	}
	if err := inst.exchange(ctx, x); err != nil {
		return h.itemError(err)
	}
	return nil
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
