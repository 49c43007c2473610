package tp

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/socket"
)

// router holds the routes of a peer. A lookup takes no lock: the tables are copied
// when a route is added.
type router struct {
	mapper ServiceMethodMapper
	log    logger

	mu     sync.Mutex // one registration at a time
	tables atomic.Pointer[routes]
}

type routes struct {
	named   map[string]*route
	unknown [3]*Handler // by unknownIndex: the handlers of messages without a route
	// probes are the distinct header hooks of groups and handlers, by kind, in order of
	// registration. A message without a route may get one from them.
	probes [2][]probe
}

// route is what is registered under one name. It does not change.
type route struct {
	name     string
	handlers [2]*Handler // by kind
}

// probe is a header hook and the routes that have it.
type probe struct {
	hook[ReadCtx]
	routes []*Handler
}

func newRouter(mapper ServiceMethodMapper, log logger) *router {
	r := &router{mapper: mapper, log: log}
	r.tables.Store(&routes{named: map[string]*route{}})
	return r
}

// lookup returns the handler of a path, nil if there is none.
func (r *router) lookup(k kind, path string) *Handler { return r.tables.Load().lookup(k, path) }

func (t *routes) lookup(k kind, path string) *Handler {
	if found := t.named[path]; found != nil {
		return found.handlers[k]
	}
	return nil
}

// unknown returns the handler of messages without a route, nil if there is none. A CALL
// that opens a stream falls back on the handler of CALLs: so it is refused as a stream, and
// not as a route that does not exist.
func (r *router) unknown(k kind, stream bool) *Handler {
	t := r.tables.Load()
	if stream && t.unknown[unknownStream] != nil {
		return t.unknown[unknownStream]
	}
	return t.unknown[k]
}

// unknownStream is the index of the handler of streams without a route, beside the kinds.
const unknownStream = 2

// unknownIndex is the index of a handler in routes.unknown.
func (h *Handler) unknownIndex() int {
	if h.stream {
		return unknownStream
	}
	return int(h.kind)
}

// group is a prefix of routes with the plugins they share; the root's prefix is
// empty. It implements Router and SubRouter.
type group struct {
	router  *router
	root    *group
	prefix  string
	plugins *PluginContainer
	options []handlerOption // of all its routes
}

func (g *group) routeGroup() *group { return g }
func (g *group) Root() Router       { return g.root }
func (g *group) ToRouter() Router   { return g }

func (g *group) SubRoute(prefix string, plugin ...Plugin) SubRouter {
	own, options := splitOptions(plugin)
	prefix = g.router.mapper(g.prefix, prefix) // may panic, so it comes before the plugins
	kid, err := g.plugins.child(own)
	if err != nil {
		panic(err)
	}
	return &group{
		router: g.router, root: g.root, prefix: prefix,
		plugins: kid, options: slices.Concat(g.options, options),
	}
}

func (g *group) RouteCall(ctrl any, plugin ...Plugin) []string {
	return g.controller(callShape, ctrl, plugin)
}

func (g *group) RoutePush(ctrl any, plugin ...Plugin) []string {
	return g.controller(pushShape, ctrl, plugin)
}

func (g *group) RouteCallFunc(fn any, plugin ...Plugin) string {
	return g.function(callShape, fn, plugin)
}

func (g *group) RoutePushFunc(fn any, plugin ...Plugin) string {
	return g.function(pushShape, fn, plugin)
}

func (g *group) controller(s shape, ctrl any, plugin []Plugin) []string {
	structName, methods, handlers, err := controllerHandlers(s, ctrl)
	if err != nil {
		panic(err)
	}
	prefix := g.router.mapper(g.prefix, structName)
	names := make([]string, len(handlers))
	for i, h := range handlers {
		names[i] = g.router.mapper(prefix, methods[i])
		h.name = names[i]
	}
	g.add(plugin, handlers...)
	return names
}

func (g *group) function(s shape, fn any, plugin []Plugin) string {
	name, h, err := funcHandler(s, fn)
	if err != nil {
		panic(err)
	}
	return g.handle(name, h, plugin)
}

// handle adds h under the name that the mapper makes of prefix and method. A
// method that begins with a slash is appended to the prefix unchanged.
func (g *group) handle(method string, h *Handler, plugin []Plugin) string {
	h.name = strings.TrimSuffix(g.prefix, "/") + method
	if !strings.HasPrefix(method, "/") {
		h.name = g.router.mapper(g.prefix, method)
	}
	g.add(plugin, h)
	return h.name
}

// add registers the handlers, which have their names.
func (g *group) add(plugin []Plugin, handlers ...*Handler) {
	if err := g.register(plugin, handlers); err != nil {
		panic(err)
	}
	for _, h := range handlers {
		g.router.log.Debugf("register %s handler: %s", h.RouterTypeName(), h.name)
	}
}

// equip sets the plugins and the options of h.
func (g *group) equip(h *Handler, plugin []Plugin) error {
	own, options := splitOptions(plugin)
	for _, set := range slices.Concat(g.options, options) {
		set(h)
	}
	kid, err := g.plugins.child(own)
	h.plugins = kid
	return err
}

// splitOptions returns the plugins and the options among the plugins of a registration.
func splitOptions(plugin []Plugin) (own []Plugin, options []handlerOption) {
	for _, p := range plugin {
		if o, ok := p.(handlerOption); ok {
			options = append(options, o)
		} else {
			own = append(own, p)
		}
	}
	return own, options
}

// register registers all the handlers, or none of them.
func (g *group) register(plugin []Plugin, handlers []*Handler) error {
	r := g.router
	r.mu.Lock()
	defer r.mu.Unlock()
	registered := false
	defer func() { // also if a hook ends the goroutine
		if !registered {
			for _, h := range handlers {
				h.plugins.drop()
			}
		}
	}()
	next := *r.tables.Load()
	for _, h := range handlers {
		if err := next.add(g, h, plugin); err != nil {
			return err
		}
	}
	r.tables.Store(&next)
	registered = true
	return nil
}

// add adds a handler of the group, and runs the PostReg hooks.
func (t *routes) add(g *group, h *Handler, plugin []Plugin) error {
	h.inlining.Init()
	if !socket.RouteReachable(h.name) {
		return fmt.Errorf("tp: %s handler: no message can reach the route %q: the path of its URI is %q, with a query %q; choose one that is its own path, without %%, #, ? and control characters",
			h.RouterTypeName(), h.name, socket.RouteKeyOf(h.name), socket.RouteKeyOf(h.name+"?k=v"))
	}
	if t.lookup(h.kind, h.name) != nil {
		return fmt.Errorf("tp: there is a handler conflict: %s is registered for %s already", h.name, h.RouterTypeName())
	}
	if err := g.equip(h, plugin); err != nil {
		return fmt.Errorf("tp: %s handler %s: %w", h.RouterTypeName(), h.name, err)
	}
	for _, p := range h.plugins.hooks().postReg {
		if err := plainHook(p, func() error { return p.PostReg(h) }); err != nil {
			return fmt.Errorf("tp: %s handler %s: [PostRegPlugin:%s] %w", h.RouterTypeName(), h.name, p.Name(), err)
		}
	}
	t.named = with(t.named, h)
	t.addProbes(h)
	return nil
}

// all calls yield for each handler.
func (t *routes) all(yield func(*Handler) bool) {
	var list []*Handler
	for _, r := range t.named {
		list = append(list, r.handlers[:]...)
	}
	list = slices.DeleteFunc(list, func(h *Handler) bool { return h == nil })
	slices.SortFunc(list, func(a, b *Handler) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind))
	})
	for _, h := range append(list, t.unknown[:]...) {
		if h != nil && !yield(h) {
			return
		}
	}
}

// with returns a copy of m with a handler more.
func with(m map[string]*route, h *Handler) map[string]*route {
	m = maps.Clone(m)
	r := route{name: h.name}
	if known := m[h.name]; known != nil {
		r = *known
	}
	r.handlers[h.kind] = h
	m[h.name] = &r
	return m
}

// addProbes adds the header hooks of h and its groups to the probes.
func (t *routes) addProbes(h *Handler) {
	list := slices.Clone(t.probes[h.kind])
	for _, own := range h.ownHeader() {
		i := slices.IndexFunc(list, func(p probe) bool { return samePlugin(p.plugin, own.plugin) })
		if i < 0 {
			list = append(list, probe{hook: own})
			i = len(list) - 1
		}
		list[i].routes = append(slices.Clip(list[i].routes), h)
	}
	t.probes[h.kind] = list
}

func (h *Handler) ownHeader() moment[ReadCtx] { return h.plugins.hooks().ownHeader[h.kind] }

// given reports whether the plugin has a header hook of the handler's own or of its
// groups.
func (h *Handler) given(p Plugin) bool {
	return slices.ContainsFunc(h.ownHeader(), func(own hook[ReadCtx]) bool { return samePlugin(p, own.plugin) })
}

// inUse reports whether a route still has the hook: plugins may be removed.
func (p probe) inUse() bool {
	return slices.ContainsFunc(p.routes, func(h *Handler) bool { return h.given(p.plugin) })
}

// samePlugin compares by identity, or by name where the type cannot be compared.
func samePlugin(a, b Plugin) (same bool) {
	defer func() {
		if recover() != nil {
			same = a.Name() == b.Name()
		}
	}()
	return a == b
}

func (g *group) SetUnknownCall(fn func(UnknownCallCtx) (any, *Rerror), plugin ...Plugin) {
	if fn == nil {
		panic("tp: SetUnknownCall: the function is nil")
	}
	g.setUnknown(&Handler{
		unknown: true,
		invoke: func(c *handlerCtx, _ any) (any, *Rerror) {
			reply, r := fn(c)
			if r.HasError() {
				return nil, r
			}
			return reply, nil
		},
	}, plugin)
}

func (g *group) SetUnknownPush(fn func(UnknownPushCtx) *Rerror, plugin ...Plugin) {
	if fn == nil {
		panic("tp: SetUnknownPush: the function is nil")
	}
	g.setUnknown(&Handler{
		kind: kindPush, unknown: true,
		invoke: func(c *handlerCtx, _ any) (any, *Rerror) {
			if r := fn(c); r.HasError() {
				return nil, r
			}
			return nil, nil
		},
	}, plugin)
}

func (g *group) setUnknown(h *Handler, plugin []Plugin) {
	h.name = h.RouterTypeName()
	if err := g.equip(h, plugin); err != nil {
		panic(fmt.Errorf("tp: %s handler: %w", h.name, err))
	}
	r := g.router
	r.mu.Lock()
	next := *r.tables.Load()
	old := next.unknown[h.unknownIndex()]
	next.unknown[h.unknownIndex()] = h
	r.tables.Store(&next)
	r.mu.Unlock()
	if old != nil {
		old.plugins.drop()
		g.router.log.Warnf("replaced the %s handler", h.name)
	} else {
		g.router.log.Debugf("set %s handler", h.name)
	}
}

var (
	_ Router    = (*group)(nil)
	_ SubRouter = (*group)(nil)
)
