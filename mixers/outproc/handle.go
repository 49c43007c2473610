package outproc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// Part is one thing that a guest brings.
type Part struct {
	Kind string `json:"kind"`         // "filter", "codec", "observer", "decision" or "gateway"
	ID   byte   `json:"id,omitempty"` // on the wire, of filters and codecs
	Name string `json:"name"`
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
	owned  sync.WaitGroup // goroutines of the Handle and of its parts

	active atomic.Pointer[instance] // that items go to; nil if there is none; written with mu held
	events chan Event
	joined atomic.Pointer[map[chainKey]*filter] // chains of filters; never changed once it is published

	reloading sync.Mutex // held by Reload and Close

	mu         sync.Mutex  // guards what follows
	current    *generation // nil after Close
	draining   []*instance // that get no more items
	lastExit   error       // of a process, or of the start of one
	quarantine error       // why no process is started any more; nil if that is done
	restarts   int
	closing    bool

	// derived from the above by update
	failed  error         // why there will be no instance; nil if there may be one
	changed chan struct{} // closed, and replaced, when active or failed changes
	state   State
	why     error
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
		list[i] = partOf(p.desc)
	}
	return list
}

func partOf(desc contract.Part) Part { return Part{Kind: desc.Kind, ID: desc.ID, Name: desc.Name} }

var errClosed = errors.New("it was closed")

// isClosed reports whether the places of the guest's parts may be given to others.
func (h *Handle) isClosed() bool { return h.ctx.Err() != nil }

// Close ends the guest when it has answered what is under way. Its parts stay registered,
// and fail with ErrGuestUnavailable, until another guest with the same ids and names is
// loaded. Close again does nothing.
func (h *Handle) Close() error {
	h.finishParts()
	h.cancel() // ends a Reload
	h.reloading.Lock()
	defer h.reloading.Unlock()
	h.mu.Lock()
	if h.closing {
		h.mu.Unlock()
		return nil
	}
	h.closing = true
	g := h.current
	h.current = nil
	h.update()
	h.mu.Unlock()
	if g != nil {
		g.retire()
	}
	h.owned.Wait()
	err := h.peer.Close()
	h.mu.Lock()
	h.update()
	close(h.events)
	h.mu.Unlock()
	return err
}

// Reload starts the guest anew, from the file that Guest.Path names now. When the new
// processes are ready they get the items, and the old ones end when they have answered
// what is under way: no item fails. The new file must have the same parts. If it does not
// start, the old processes go on and Reload returns the error. Reload also ends a
// quarantine.
//
// Guest.SHA256 is that of the old file, if it is set; [Handle.ReloadSHA256] takes another
// one.
func (h *Handle) Reload(ctx context.Context) error { return h.reload(ctx, h.guest.SHA256) }

// ReloadSHA256 is Reload for a file with that hash, in hexadecimal.
func (h *Handle) ReloadSHA256(ctx context.Context, sum string) error { return h.reload(ctx, sum) }
