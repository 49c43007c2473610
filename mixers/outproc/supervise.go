package outproc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// The rules of starting again: the first time at once, then after a pause that doubles; a
// guest that has run for steady begins anew. One that has ended maxExits times within
// exitWindow is not started any more.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 30 * time.Second
	maxRedial  = 2 * time.Second // the longest pause between dials of a guest that runs by itself
	steady     = time.Minute
	maxExits   = 5
	exitWindow = time.Minute
)

// pause returns how long to wait before the start that follows n others.
func pause(n int, most time.Duration) time.Duration {
	if n == 0 {
		return 0
	}
	d := most
	if n < 10 {
		d = min(firstPause<<(n-1), most)
	}
	return d/2 + rand.N(d/2)
}

// generation is the processes of one program: those of a Load or of a Reload, and those
// that are started in their place.
type generation struct {
	h      *Handle
	source source

	ctx    context.Context // ends when no process is to be started any more
	cancel context.CancelFunc
	owned  sync.WaitGroup

	// guarded by h.mu
	ready []*instance // the longest ready first
	exits []time.Time // of the last exitWindow
}

// newGeneration starts the processes of src and returns when all are ready.
func (h *Handle) newGeneration(ctx context.Context, src source) (*generation, error) {
	g := &generation{h: h, source: src}
	g.ctx, g.cancel = context.WithCancel(h.ctx)
	started := make([]*instance, h.guest.Replicas)
	errs := make([]error, h.guest.Replicas)
	first := 0
	if h.parts == nil { // the first process says what the parts are
		if started[0], errs[0] = g.start(ctx); errs[0] != nil {
			g.cancel()
			src.close()
			return nil, errs[0]
		}
		first = 1
	}
	var wg sync.WaitGroup
	for i := first; i < h.guest.Replicas; i++ {
		wg.Go(func() { started[i], errs[i] = g.start(ctx) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		err = errs[i] // the same is wrong with all of them
	}
	g.ready = slices.DeleteFunc(started, func(i *instance) bool { return i == nil })
	if err != nil {
		g.abandon()
		return nil, err
	}
	return g, nil
}

// supervise keeps as many processes running as there are.
func (g *generation) supervise() {
	for _, i := range g.ready {
		g.owned.Go(func() { g.keep(i) })
	}
}

// keep keeps one process running in place of inst.
func (g *generation) keep(inst *instance) {
	starts, most := 0, maxPause
	if g.h.guest.Connect != "" {
		most = maxRedial
	}
	for {
		select {
		case <-inst.done:
		case <-g.ctx.Done():
			return
		}
		if time.Since(inst.since) >= steady {
			starts = 0
		}
		err := inst.err
		for inst = nil; inst == nil; {
			if !g.mayStart(err) {
				return
			}
			select {
			case <-time.After(pause(starts, most)):
			case <-g.ctx.Done():
				return
			}
			starts++
			inst, err = g.start(g.ctx)
		}
		h := g.h
		h.mu.Lock()
		h.restarts++
		g.ready = append(g.ready, inst)
		h.update()
		h.mu.Unlock()
		h.guest.Logger.Info("outproc: a process of the guest is ready", "guest", h.name, "pid", inst.to.pid())
	}
}

// mayStart notes that a process has ended with err, or has not started. It returns false
// if none is to be started in its place.
func (g *generation) mayStart(err error) bool {
	h := g.h
	h.mu.Lock()
	defer h.mu.Unlock()
	g.ready = slices.DeleteFunc(g.ready, (*instance).hasEnded)
	if g.ctx.Err() != nil || h.current != g {
		return false
	}
	now := time.Now()
	g.exits = append(slices.DeleteFunc(g.exits, func(t time.Time) bool { return now.Sub(t) > exitWindow }), now)
	h.lastExit = err
	log := h.guest.Logger.With("guest", h.name, "error", err)
	switch {
	case h.quarantine != nil:
	case len(g.exits) < maxExits || h.guest.Connect != "": // one that runs by itself may be away for longer
		log.Warn("outproc: a process of the guest has ended; another one is started")
	default:
		h.quarantine = fmt.Errorf("it is in quarantine: it has ended %d times within %v, the last time: %w", maxExits, exitWindow, err)
		log.Error("outproc: guest is in quarantine: it ends too often, and is not started any more. Mend what ends it, then call Reload of its Handle or start the host again",
			"path", h.guest.Path, "exits", maxExits, "within", exitWindow)
	}
	h.update()
	return h.quarantine == nil
}

// retire ends the processes of a generation that is not the current one any more, when
// they have answered what is under way.
func (g *generation) retire() {
	h := g.h
	g.cancel()
	g.owned.Wait()
	h.mu.Lock()
	list := g.ready
	g.ready = nil
	h.draining = append(h.draining, list...)
	h.update()
	h.mu.Unlock()
	var wg sync.WaitGroup
	for _, i := range list {
		wg.Go(i.drain)
	}
	wg.Wait()
	h.mu.Lock()
	h.draining = slices.DeleteFunc(h.draining, (*instance).hasEnded)
	h.mu.Unlock()
	g.source.close()
}

// abandon ends the processes of a generation that never became the current one.
func (g *generation) abandon() {
	g.cancel()
	for _, i := range g.ready {
		i.kill(errAbandoned)
	}
	g.source.close()
}

var errAbandoned = errors.New("it was not used")

// reload is Reload with the hash that the file must have.
func (h *Handle) reload(ctx context.Context, sum string) error {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	if err := h.renew(ctx, sum); err != nil {
		return fmt.Errorf("outproc: reload guest %s: %w", h.name, err)
	}
	return nil
}

func (h *Handle) renew(ctx context.Context, sum string) error {
	if h.isClosed() {
		return errClosed
	}
	g := h.guest
	g.SHA256 = sum
	if err := g.check(); err != nil {
		return err
	}
	src, err := newSource(&g)
	if err != nil {
		return err
	}
	next, err := h.newGeneration(ctx, src)
	if err != nil {
		return err
	}
	if err := checkLock(&g, next.ready[0].desc, src.sum()); err != nil {
		next.abandon()
		return err
	}
	h.mu.Lock()
	old := h.current
	h.current, h.quarantine, h.lastExit = next, nil, nil
	h.update()
	next.supervise()
	h.mu.Unlock()
	old.retire()
	return nil
}
