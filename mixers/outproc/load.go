package outproc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// Load starts a guest and registers its parts. When it returns they can be used; ctx
// bounds the start alone. An error says what is wrong with the guest, and nothing is
// left of it.
func Load(ctx context.Context, g Guest) (*Handle, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	h, err := load(ctx, g)
	if err != nil {
		return nil, fmt.Errorf("outproc: guest %s: %w", g.Path, err)
	}
	return h, nil
}

func load(ctx context.Context, g Guest) (_ *Handle, err error) {
	prog, err := openProgram(&g)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			prog.file.Close()
		}
	}()
	h := &Handle{guest: g, slots: make(chan struct{}, g.MaxInFlight), changed: make(chan struct{})}
	prog.guest = &h.guest
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.peer, err = tp.Open(tp.PeerConfig{
		Network:            "unix",
		BusyPoll:           -1, // a reader that polls takes the processor from the guest
		Protocol:           rawproto.NewRawProtoFunc(),
		MessageSizeLimit:   uint32(g.MaxItem + itemRoom),
		DefaultCallTimeout: g.Timeout,
		Logger:             g.Logger,
	}, &tp.PluginImpl{PluginName: "greet", OnPostDial: greet})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	inst, err := h.start(ctx, prog)
	if err != nil {
		return nil, err
	}
	if err := checkLock(&g, inst.desc, prog.sum); err != nil {
		return nil, err
	}
	if err := register(h.parts); err != nil {
		return nil, err
	}
	h.setActive(inst)
	h.owned.Go(func() { h.supervise(prog, inst) })
	return h, nil
}

// itemRoom is what the frame of an item needs besides the item, in bytes.
const itemRoom = 4096

// accept checks what a guest says of itself: the first time against the host's Guest,
// later against what it said the first time.
func (h *Handle) accept(desc contract.Description) error {
	if h.guest.Name != "" && desc.Name != h.guest.Name {
		return fmt.Errorf("its name is %s, not %s: change Guest.Name, or Guest.Path", desc.Name, h.guest.Name)
	}
	if h.parts != nil {
		same := func(a loadedPart, b contract.Part) bool {
			return a.desc.Kind == b.Kind && a.desc.ID == b.ID && a.desc.Name == b.Name
		}
		if !slices.EqualFunc(h.parts, desc.Parts, same) {
			return errors.New("its parts are others than before")
		}
		return nil
	}
	h.name = desc.Name
	for _, d := range desc.Parts {
		p, err := newPart(h, d)
		if err != nil {
			return err
		}
		h.parts = append(h.parts, loadedPart{p, d})
	}
	return nil
}

func (h *Handle) isClosed() bool { return h.ctx.Err() != nil }

// checkLock refuses a guest that the lock file has with another version or hash.
func checkLock(g *Guest, desc contract.Description, sum string) error { return nil }

// supervise keeps an instance running until the Handle is closed.
func (h *Handle) supervise(prog *program, inst *instance) {
	defer prog.file.Close()
	for {
		select {
		case <-inst.done:
		case <-h.ctx.Done():
			h.setActive(nil)
			<-inst.done
			return
		}
		h.setActive(nil)
		h.guest.Logger.Warn("outproc: guest has ended; it is started again", "guest", h.name, "error", inst.err)
		for {
			var err error
			if inst, err = h.start(h.ctx, prog); err == nil {
				break
			}
			if h.ctx.Err() != nil {
				return
			}
			h.guest.Logger.Error("outproc: guest does not start", "guest", h.name, "error", err)
			select {
			case <-time.After(time.Second):
			case <-h.ctx.Done():
				return
			}
		}
		h.mu.Lock()
		h.restarts++
		h.mu.Unlock()
		h.setActive(inst)
	}
}
