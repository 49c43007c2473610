package tp

import (
	"strconv"
	"time"

	"github.com/teleport-go/teleport/core/codec"
)

// route runs the header hooks and finds the handler: those of the whole peer
// first, then those of the route's groups and of the route itself. If there is no
// such route the header hooks of groups and handlers are asked whether they lead
// to one of theirs.
func (c *handlerCtx) route(push bool) *Rerror {
	s := c.sess
	if r := c.runHeaderHooks(c.hooks.headerHooks(push)); r != nil {
		return r
	}
	key := c.in.RouteKey()
	if key == "" {
		return NewRerror(CodeBadMessage, CodeText(CodeBadMessage), "invalid service method for message")
	}
	h := s.env.router.lookup(push, key)
	if h == nil {
		var r *Rerror
		if h, r = c.probe(push); r != nil {
			return r
		}
	} else {
		var r *Rerror
		if h, r = c.enter(h, push, nil); r != nil {
			return r
		}
	}
	if h == nil {
		if h = s.env.router.unknown(push); h == nil {
			return NewRerror(CodeNotFound, CodeText(CodeNotFound), "")
		}
	}
	c.handler, c.hooks = h, h.plugins.hooks()
	c.mayWait(c.hooks)
	return nil
}

// mayWait is told before the reader runs hooks.
func (c *handlerCtx) mayWait(t *hookTable) {
	if t.waits {
		c.link.aside()
	}
}

// enter runs the header hooks of a route's own plugins. They may reroute; then
// the hooks of the new route that have not run yet follow.
func (c *handlerCtx) enter(h *Handler, push bool, winner Plugin) (*Handler, *Rerror) {
	if len(h.plugins.hooks().ownHeader(push)) == 0 {
		return h, nil
	}
	ran := []Plugin{winner}
	for range maxRouteHops {
		c.mayWait(h.plugins.hooks())
		for _, p := range h.plugins.hooks().ownHeader(push) {
			if containsPlugin(ran, p.plugin) {
				continue
			}
			ran = append(ran, p.plugin)
			c.hooks = h.plugins.hooks() // an error reply is written with these
			if r := c.runHeaderHooks([]headerHook{p}); r != nil {
				return nil, r
			}
		}
		next := c.sess.env.router.lookup(push, c.in.RouteKey())
		if next == nil {
			c.hooks = c.sess.env.hooks()
		}
		if next == nil || next == h {
			return next, nil
		}
		h = next
	}
	return h, nil
}

func containsPlugin(list []Plugin, p Plugin) bool {
	for _, q := range list {
		if q != nil && samePlugin(p, q) {
			return true
		}
	}
	return false
}

func (c *handlerCtx) runHeaderHooks(list []headerHook) *Rerror {
	for _, p := range list {
		if r := p.run(c); r.HasError() {
			return r
		}
	}
	return nil
}

// probe asks each distinct header hook of groups and handlers once whether it
// leads to a route it was given to. A probe that does not is as if it had not run.
func (c *handlerCtx) probe(push bool) (*Handler, *Rerror) {
	r := c.sess.env.router
	probes := r.tables.Load().probes[kindOf(push)]
	if len(probes) == 0 {
		return nil, nil
	}
	c.link.aside() // whatever they are
	was := c.save()
	key := c.in.RouteKey()
	for _, p := range probes {
		if !p.inUse() {
			continue
		}
		rerr := p.run(c)
		if !rerr.HasError() && c.in.RouteKey() != key {
			if h := r.lookup(push, c.in.RouteKey()); h != nil && h.given(p.plugin) {
				return c.enter(h, push, p.plugin)
			}
		}
		c.restore(was)
	}
	return nil, nil
}

// saved is what a probe may have changed.
type saved struct {
	method string
	meta   []byte
	codec  byte
	swap   *Swap
}

func (c *handlerCtx) save() saved {
	w := saved{method: c.in.ServiceMethod(), meta: c.in.Meta().AppendBytes(nil), codec: c.in.BodyCodec()}
	if c.swap != nil {
		w.swap = new(Swap)
		c.swap.CopyTo(w.swap)
	}
	return w
}

func (c *handlerCtx) restore(w saved) {
	c.in.SetServiceMethod(w.method)
	c.in.Meta().ParseBytes(w.meta)
	c.in.SetBodyCodec(w.codec)
	c.swap = nil
	if w.swap != nil {
		c.swap = new(Swap)
		w.swap.CopyTo(c.swap)
	}
	if c.out.Meta().Len() > 0 {
		c.out.Meta().Reset()
	}
}

// headerHook is a PostReadCallHeader or PostReadPushHeader.
type headerHook struct {
	plugin Plugin
	hook   func(ReadCtx) *Rerror
}

// run runs the hook; a panic is an error.
func (h headerHook) run(c *handlerCtx) (r *Rerror) {
	defer func() {
		if v := recover(); v != nil {
			r = panicRerror(c.logger, "plugin "+h.plugin.Name(), v, c.sess.env.cfg.HidePanics)
		}
	}()
	return h.hook(c)
}

// headerHookOf returns the header hook of a plugin; false if it has none.
func headerHookOf(p Plugin, push bool) (headerHook, bool) {
	if push {
		if h, ok := p.(PostReadPushHeaderPlugin); ok {
			return headerHook{p, h.PostReadPushHeader}, true
		}
		return headerHook{}, false
	}
	if h, ok := p.(PostReadCallHeaderPlugin); ok {
		return headerHook{p, h.PostReadCallHeader}, true
	}
	return headerHook{}, false
}

// setTimeout tells the peer how long the caller will wait: whole milliseconds,
// rounded up, at least 1.
func setTimeout(meta *Meta, left time.Duration) {
	ms := (left + time.Millisecond - 1) / time.Millisecond
	meta.Set(MetaTimeout, strconv.FormatInt(max(1, min(int64(ms), 1<<31-1)), 10))
}

// getTimeout reads it; anything but 1 to 2^31-1 is ignored.
func getTimeout(meta *Meta) (time.Duration, bool) {
	b := meta.Peek(MetaTimeout)
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	n := int64(0)
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int64(d-'0')
	}
	if n < 1 || n > 1<<31-1 {
		return 0, false
	}
	return time.Duration(n) * time.Millisecond, true
}

func codecKnown(id byte) bool {
	_, err := codec.Get(id)
	return err == nil
}

// orderedQueue is the messages of one session to one ordered route, or those
// that are answered in turn.
type orderedQueue struct {
	list    []*handlerCtx
	running bool
}

// enqueueOrdered puts c behind the others of its route; h is nil for those that
// are answered in turn.
func (s *session) enqueueOrdered(h *Handler, c *handlerCtx) {
	s.orderedMu.Lock()
	defer s.orderedMu.Unlock()
	if s.ordered == nil {
		s.ordered = make(map[*Handler]*orderedQueue)
	}
	q := s.ordered[h]
	if q == nil {
		q = new(orderedQueue)
		s.ordered[h] = q
	}
	q.list = append(q.list, c)
	if !q.running {
		q.running = true
		go s.runOrdered(q)
	}
}

// runOrdered handles one message after the other until none is left.
func (s *session) runOrdered(q *orderedQueue) {
	returned := false
	defer func() {
		if !returned { // a handler has ended its goroutine, and so this one
			go s.runOrdered(q)
		}
	}()
	for {
		s.orderedMu.Lock()
		if len(q.list) == 0 {
			q.list, q.running = nil, false
			s.orderedMu.Unlock()
			returned = true
			return
		}
		c := q.list[0]
		q.list[0] = nil
		q.list = q.list[1:]
		s.orderedMu.Unlock()
		c.handle()
	}
}
