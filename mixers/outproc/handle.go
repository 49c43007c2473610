package outproc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// Part is one thing that a guest brings.
type Part struct {
	Kind string // "filter" or "codec"
	ID   byte   // on the wire, of filters and codecs
	Name string
}

// Handle is a guest that was loaded. Its methods may be called concurrently.
type Handle struct {
	guest Guest
	name  string       // the guest's own
	parts []loadedPart // set once by Load
	peer  tp.Peer      // of the lanes
	slots chan struct{}

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	owned  sync.WaitGroup // goroutines of the Handle

	active atomic.Pointer[instance] // that items go to; nil if there is none

	mu       sync.Mutex
	failed   error         // why there will be no instance; nil if there may be one
	changed  chan struct{} // closed, and replaced, when active or failed changes
	restarts int
}

// loadedPart is a part as the host knows it.
type loadedPart struct {
	part
	desc contract.Part
}

// Parts returns what the guest brings, in the guest's order.
func (h *Handle) Parts() []Part {
	list := make([]Part, len(h.parts))
	for i, p := range h.parts {
		list[i] = Part{Kind: p.desc.Kind, ID: p.desc.ID, Name: p.desc.Name}
	}
	return list
}

// Restarts returns how often the guest was started again after it had ended.
func (h *Handle) Restarts() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.restarts
}

var errClosed = errors.New("it was closed")

// Close ends the guest. Its parts stay registered, and fail with ErrGuestUnavailable,
// until another guest with the same ids and names is loaded. Close again does nothing.
func (h *Handle) Close() error {
	h.setFailed(errClosed)
	h.cancel()
	h.owned.Wait()
	return h.peer.Close()
}

// setActive makes inst the one that items go to.
func (h *Handle) setActive(inst *instance) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active.Store(inst)
	h.notify()
}

// setFailed makes all items fail with err, unless they do so already.
func (h *Handle) setFailed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == nil {
		h.failed = err
	}
	h.notify()
}

func (h *Handle) notify() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// instance returns the instance for an item, other than not; it waits for one until ctx
// ends.
func (h *Handle) instance(ctx context.Context, not *instance) (*instance, error) {
	for {
		h.mu.Lock()
		inst, failed, changed := h.active.Load(), h.failed, h.changed
		h.mu.Unlock()
		switch {
		case failed != nil:
			return nil, failed
		case inst != nil && inst != not:
			return inst, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errNotBack
		}
	}
}

var errNotBack = errors.New("it has ended, and was not ready again before the item's deadline")

// ask sends one item to the guest and returns the answer. An item that was under way
// when its instance ended is sent once more, to the next one.
func (h *Handle) ask(route string, item []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), h.guest.Timeout)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, unavailable(h.name, errBusy)
	}
	var last *instance
	for {
		inst, err := h.instance(ctx, last)
		if err != nil {
			return nil, unavailable(h.name, err)
		}
		reply, err := inst.ask(ctx, route, item)
		if err == nil {
			return reply, nil
		}
		r := tp.ToRerror(err)
		switch {
		case ctx.Err() != nil || r.Code == tp.CodeHandleTimeout:
			return nil, unavailable(h.name, errSlow(h.guest.Timeout))
		case r.Code == tp.CodeConnClosed && last == nil:
			last = inst
		case r.Code == tp.CodeConnClosed || r.Code == tp.CodeWriteFailed:
			return nil, unavailable(h.name, err)
		default:
			return nil, replyError(h.name, r)
		}
	}
}

var errBusy = errors.New("too many items are under way: raise Guest.MaxInFlight, or load the guest less")

type errSlow time.Duration

func (e errSlow) Error() string { return "it has not answered within " + time.Duration(e).String() }
