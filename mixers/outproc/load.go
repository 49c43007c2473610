package outproc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// Load starts a guest and registers its parts. When it returns they can be used; ctx
// bounds the start alone. An error says what is wrong with the guest, and nothing is
// left of it.
func Load(ctx context.Context, g Guest) (*Handle, error) {
	err := g.check()
	var h *Handle
	if err == nil {
		h, err = newHandle(g)
	}
	if err == nil {
		err = h.load(ctx)
	}
	switch {
	case err == nil:
		return h, nil
	case h != nil && g.Optional:
		h.guest.Logger.Warn("outproc: an optional guest is missing: what needs its parts fails", "guest", g.where(), "error", err)
		h.fail(err)
		return h, nil
	case h != nil:
		h.Close()
	}
	return nil, fmt.Errorf("outproc: guest %s: %w", g.where(), err)
}

func newHandle(g Guest) (*Handle, error) {
	h := &Handle{
		guest:   g,
		name:    g.where(),
		slots:   make(chan struct{}, g.MaxInFlight),
		changed: make(chan struct{}),
		events:  make(chan Event, eventRoom),
		state:   Starting,
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	network := "unix"
	if g.Connect != "" {
		network, _, _ = parseAddress(g.Connect)
	}
	var err error
	h.peer, err = tp.Open(tp.PeerConfig{
		Private:            true, // the last messages of a process that shuts down need it
		Network:            network,
		BusyPoll:           -1, // a reader that polls takes the processor from the guest
		Protocol:           rawproto.NewRawProtoFunc(),
		MessageSizeLimit:   uint32(g.MaxItem + itemRoom),
		DefaultCallTimeout: g.Timeout,
		CloseTimeout:       g.Timeout,
		Logger:             warnings(g.Logger),
	}, &tp.PluginImpl{PluginName: "outproc", OnPostDial: greet})
	if err == nil && g.TLS != nil {
		err = h.peer.SetTLSConfig(g.TLS)
	}
	if err != nil {
		h.cancel()
		return nil, err
	}
	return h, nil
}

// load starts the guest and registers its parts.
func (h *Handle) load(ctx context.Context) error {
	src, err := newSource(&h.guest)
	if err != nil {
		return err
	}
	g, err := h.newGeneration(ctx, src)
	if err != nil {
		return err
	}
	if err = checkLock(&h.guest, g.ready[0].desc, src.sum()); err == nil {
		err = register(h.parts)
	}
	if err != nil {
		g.abandon()
		return err
	}
	h.mu.Lock()
	h.current = g
	h.update()
	g.supervise()
	h.mu.Unlock()
	return nil
}

// fail makes h the Handle of an optional guest that could not be loaded.
func (h *Handle) fail(err error) {
	h.Close() // ends the goroutines of parts that were registered before one was not
	h.parts = nil
	h.mu.Lock()
	h.failed, h.why = err, err
	h.mu.Unlock()
}

// accept checks what a guest says of itself. What the first process says is what the
// Handle's parts are.
func (h *Handle) accept(desc contract.Description) error {
	if err := h.guest.checkName(desc.Name); err != nil {
		return err
	}
	if h.parts != nil {
		same := func(a loadedPart, b contract.Part) bool {
			return a.desc.Kind == b.Kind && a.desc.ID == b.ID && a.desc.Name == b.Name
		}
		if !slices.EqualFunc(h.parts, desc.Parts, same) {
			return errOtherParts
		}
		return nil
	}
	h.name = desc.Name
	var parts []loadedPart
	for _, d := range desc.Parts {
		p, err := newPart(h, d)
		if err != nil {
			return err
		}
		parts = append(parts, loadedPart{p, d})
	}
	h.parts = parts
	return nil
}

var errOtherParts = errors.New("its parts are not those that were loaded: Close its Handle, and Load it again")
