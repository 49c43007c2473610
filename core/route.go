package tp

import "slices"

// route runs the header hooks and finds the handler. The hooks of the whole peer run
// first, then those of the route's groups and of the route itself. If there is no
// such route, probe calls the header hooks of groups and handlers, which may change
// the service method to one of their routes.
func (c *handlerCtx) route() *Rerror {
	s, k := c.sess, c.kind()
	if r := c.hooks.header[k].run(s.env.guard, c); r != nil {
		return r
	}
	var r *Rerror
	h := c.lookup()
	switch {
	case h != nil:
		h, r = c.enter(h)
	case c.in.RouteKey() == "":
		r = NewRerror(CodeBadMessage, CodeText(CodeBadMessage), "invalid service method for message")
	default:
		h, r = c.probe()
	}
	if r != nil {
		return r
	}
	if h == nil {
		if h = s.env.router.unknown(k, k == kindCall && c.opensStream()); h == nil {
			return NewRerror(CodeNotFound, CodeText(CodeNotFound), "")
		}
	}
	c.handler = h
	c.use(h.plugins.hooks())
	return nil
}

// Intern returns b, the service method of the message that is read, as a string. It does
// not allocate if b is the name of a route.
func (c *interner) Intern(b []byte) string {
	if c.named == nil || c.named.name != string(b) {
		found := c.sess.env.router.tables.Load().named[string(b)]
		if found == nil {
			return string(b)
		}
		c.named = found
	}
	return c.named.name
}

// lookup returns the handler of the message, nil if there is none.
func (c *handlerCtx) lookup() *Handler {
	k := c.kind()
	if c.named != nil && c.named.name == c.in.ServiceMethod() { // such a name is its own path
		if h := c.named.handlers[k]; h != nil {
			return h
		}
	}
	return c.sess.env.router.lookup(k, c.in.RouteKey())
}

// enter runs the header hooks of a route's own plugins, except those that ran before.
// If they change the route, the hooks of the new one that have not run yet follow. Each
// runs once, so that comes to an end.
func (c *handlerCtx) enter(h *Handler, ran ...Plugin) (*Handler, *Rerror) {
	s, k := c.sess, c.kind()
	if len(h.plugins.hooks().ownHeader[k]) == 0 {
		return h, nil
	}
	for {
		c.use(h.plugins.hooks()) // an error reply runs these hooks too
		own := c.hooks.ownHeader[k]
		for i := range own {
			if slices.ContainsFunc(ran, func(p Plugin) bool { return samePlugin(p, own[i].plugin) }) {
				continue
			}
			ran = append(ran, own[i].plugin)
			if r := own[i].run(s.env.guard, c); r.HasError() {
				return nil, r
			}
		}
		next := c.lookup()
		if next == nil {
			c.hooks = s.env.hooks()
		}
		if next == nil || next == h {
			return next, nil
		}
		h = next
	}
}

// probe calls each distinct header hook of groups and handlers once. A hook may change
// the service method to a route that has the hook. If it does not, probe undoes its
// changes.
func (c *handlerCtx) probe() (*Handler, *Rerror) {
	r, k := c.sess.env.router, c.kind()
	probes := r.tables.Load().probes[k]
	if len(probes) == 0 {
		return nil, nil
	}
	c.link.mayBlock() // any of the hooks may block
	was := c.save()
	key := c.in.RouteKey()
	for i := range probes {
		p := &probes[i]
		if !p.inUse() {
			continue
		}
		rerr := p.run(c.sess.env.guard, c)
		if !rerr.HasError() && c.in.RouteKey() != key {
			if h := r.lookup(k, c.in.RouteKey()); h != nil && h.given(p.plugin) {
				return c.enter(h, p.plugin)
			}
		}
		c.restore(was)
	}
	return nil, nil
}

// saved holds what a hook called by probe may change.
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

// use sets the hooks that run from now on. The reader calls it, before it runs them.
func (c *handlerCtx) use(t *hookTable) {
	c.hooks = t
	if t.mayBlock {
		c.link.mayBlock()
	}
}
