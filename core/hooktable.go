package tp

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/internal/throttle"
)

// kind is the kind of a request: a message, a handler or a hook is for CALLs or for
// PUSHes.
type kind uint8

const (
	kindCall kind = iota
	kindPush
)

// hook is a plugin's method for one moment of a message's life.
type hook[C any] struct {
	plugin Plugin
	call   func(C) *Rerror
}

// moment is the hooks of one moment, in the order of their plugins.
type moment[C any] []hook[C]

// noHooks are those of messages for which none run.
var noHooks hookTable

// hookTable holds the hooks of one container's plugins, compiled into one list per
// moment. It does not change once made. A moment without hooks costs a length check.
type hookTable struct {
	// Hooks of the peer and its connections.
	preNewPeer  []PreNewPeerPlugin
	postNewPeer []PostNewPeerPlugin
	postReg     []PostRegPlugin
	postListen  []PostListenPlugin
	preDial     []PreDialPlugin
	connection  []Plugin // with PostDial, PostRedial, PostAccept or PostDisconnect
	authCall    []func(AuthCallCtx) (any, *Rerror)
	postReady   []PostReadyPlugin
	postRename  []PostRenamePlugin
	preClose    []PreClosePlugin
	postClose   []PostClosePlugin

	// Hooks of requests, by kind: sent, then received.
	preWrite, postWrite [2]moment[WriteCtx]
	header              [2]moment[ReadCtx] // of all plugins
	ownHeader           [2]moment[ReadCtx] // without those of the peer
	preReadBody         [2]moment[ReadCtx]
	postReadBody        [2]moment[ReadCtx]

	// Hooks of replies: sent, then received.
	preWriteReply, postWriteReply            moment[WriteCtx]
	replyHeader, preReadReply, postReadReply moment[ReadCtx]

	// Hooks of the messages of streams.
	preWriteData moment[WriteCtx]
	postReadData moment[ReadCtx]
	preWriteEnd  moment[WriteCtx]
	postReadEnd  moment[ReadCtx]

	// Hooks of all messages.
	preReadHeader []PreReadHeaderPlugin
	postExchange  []PostExchangePlugin

	stream   bool // there are hooks of the messages of streams
	mayBlock bool // a hook that runs in the reader may block
}

func newHookTable(all, middle []Plugin) *hookTable {
	t := new(hookTable)
	for _, p := range all {
		list(&t.preNewPeer, p)
		list(&t.postNewPeer, p)
		list(&t.postReg, p)
		list(&t.postListen, p)
		list(&t.preDial, p)
		if isConnectionPlugin(p) {
			t.connection = append(t.connection, p)
		}
		if f := authCall(p); f != nil {
			t.authCall = append(t.authCall, f)
		}
		list(&t.postReady, p)
		list(&t.postRename, p)
		list(&t.preClose, p)
		list(&t.postClose, p)
		list(&t.preReadHeader, p)
		list(&t.postExchange, p)

		add(&t.preWrite[kindCall], p, PreWriteCallPlugin.PreWriteCall)
		add(&t.preWrite[kindPush], p, PreWritePushPlugin.PreWritePush)
		add(&t.postWrite[kindCall], p, PostWriteCallPlugin.PostWriteCall)
		add(&t.postWrite[kindPush], p, PostWritePushPlugin.PostWritePush)
		addHeader(&t.header, p)
		add(&t.preReadBody[kindCall], p, PreReadCallBodyPlugin.PreReadCallBody)
		add(&t.preReadBody[kindPush], p, PreReadPushBodyPlugin.PreReadPushBody)
		add(&t.postReadBody[kindCall], p, PostReadCallBodyPlugin.PostReadCallBody)
		add(&t.postReadBody[kindPush], p, PostReadPushBodyPlugin.PostReadPushBody)
		add(&t.preWriteReply, p, PreWriteReplyPlugin.PreWriteReply)
		add(&t.postWriteReply, p, PostWriteReplyPlugin.PostWriteReply)
		add(&t.replyHeader, p, PostReadReplyHeaderPlugin.PostReadReplyHeader)
		add(&t.preReadReply, p, PreReadReplyBodyPlugin.PreReadReplyBody)
		add(&t.postReadReply, p, PostReadReplyBodyPlugin.PostReadReplyBody)

		add(&t.preWriteData, p, PreWriteDataPlugin.PreWriteData)
		add(&t.postReadData, p, PostReadDataPlugin.PostReadData)
		add(&t.preWriteEnd, p, PreWriteEndPlugin.PreWriteEnd)
		add(&t.postReadEnd, p, PostReadEndPlugin.PostReadEnd)

		t.mayBlock = t.mayBlock || mayBlock(p)
	}
	t.stream = len(t.preWriteData)+len(t.postReadData)+len(t.preWriteEnd)+len(t.postReadEnd) > 0
	for _, p := range middle {
		addHeader(&t.ownHeader, p)
	}
	return t
}

// selective is a plugin that has methods for more hooks than it uses: PluginImpl, and
// types that embed it.
type selective interface {
	// skips reports whether p, which is or embeds the plugin, does not use a hook; hook
	// is a nil pointer to the hook's interface type.
	skips(p Plugin, hook any) bool
	neverBlocks() bool
	postRedial() func(PreSession) *Rerror
	authCall() func(AuthCallCtx) (any, *Rerror)
}

// takesPart returns p as a plugin with the hook P, if it uses that.
func takesPart[P Plugin](p Plugin) (q P, ok bool) {
	q, ok = p.(P)
	if s, is := p.(selective); is && ok && s.skips(p, (*P)(nil)) {
		return q, false
	}
	return q, ok
}

func has[P Plugin](p Plugin) bool {
	_, ok := takesPart[P](p)
	return ok
}

// list adds p to the plugins of a moment if it uses the hook.
func list[P Plugin](plugins *[]P, p Plugin) {
	if q, ok := takesPart[P](p); ok {
		*plugins = append(*plugins, q)
	}
}

// add is list for a moment of messages.
func add[P Plugin, C any](m *moment[C], p Plugin, method func(P, C) *Rerror) {
	if q, ok := takesPart[P](p); ok {
		*m = append(*m, hook[C]{p, func(ctx C) *Rerror { return method(q, ctx) }})
	}
}

func addHeader(m *[2]moment[ReadCtx], p Plugin) {
	add(&m[kindCall], p, PostReadCallHeaderPlugin.PostReadCallHeader)
	add(&m[kindPush], p, PostReadPushHeaderPlugin.PostReadPushHeader)
}

// mayBlock reports whether the plugin has a hook that the reader runs, and does not
// promise never to block. PostExchange must not block at all.
func mayBlock(p Plugin) bool {
	switch p.(type) {
	case NonBlockingPlugin, interface{ Prompt() }: // PromptPlugin
		return false
	}
	if s, ok := p.(selective); ok && s.neverBlocks() {
		return false
	}
	return has[PreReadHeaderPlugin](p) || has[PostReadCallHeaderPlugin](p) || has[PostReadPushHeaderPlugin](p) ||
		has[PreReadCallBodyPlugin](p) || has[PreReadPushBodyPlugin](p) || has[PostReadReplyHeaderPlugin](p) || has[PreReadReplyBodyPlugin](p)
}

func isConnectionPlugin(p Plugin) bool {
	return has[PostDialPlugin](p) || postRedial(p) != nil || has[PostAcceptPlugin](p) || has[PostDisconnectPlugin](p)
}

// postRedial returns the hook of p for a redialled connection in place of PostDial, nil
// if it has none.
func postRedial(p Plugin) func(PreSession) *Rerror {
	if h, ok := p.(PostRedialPlugin); ok {
		return h.PostRedial
	}
	if s, ok := p.(selective); ok {
		return s.postRedial()
	}
	return nil
}

// authCall returns the hook of p for AUTH_CALLs, nil if it has none.
func authCall(p Plugin) func(AuthCallCtx) (any, *Rerror) {
	if h, ok := p.(AuthCallPlugin); ok {
		return h.AuthCall
	}
	if s, ok := p.(selective); ok {
		return s.authCall()
	}
	return nil
}

// guard turns a panic in a hook into a log line and an error 500. The error carries
// the panic's text to the peer unless hide is set.
type guard struct {
	log  logger
	hide bool
}

// run calls the hooks in order until one returns an error.
func (m moment[C]) run(g guard, ctx C) *Rerror {
	if len(m) == 0 {
		return nil // inlined: most moments have no hook
	}
	return m.runAll(g, ctx)
}

func (m moment[C]) runAll(g guard, ctx C) *Rerror {
	for i := range m {
		if r := m[i].run(g, ctx); r.HasError() {
			return r
		}
	}
	return nil
}

func (h *hook[C]) run(g guard, ctx C) *Rerror {
	return g.run(h.plugin, func() *Rerror { return h.call(ctx) })
}

// run calls a hook of p, and returns its panic as an error.
func (g guard) run(p Plugin, f func() *Rerror) (r *Rerror) {
	defer func() {
		if v := recover(); v != nil {
			r = g.rerror("plugin "+p.Name(), v)
		}
	}()
	return f()
}

// plainHook calls a hook of p that returns an error. It returns a panic as an error,
// and does not log it.
func plainHook(p Plugin, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("plugin %s panicked: %v", p.Name(), v)
		}
	}()
	return f()
}

// closeHooks calls the hooks, all at a time, and returns their errors, in order. It does
// not wait for those that have not returned at the end of ctx.
func closeHooks[P Plugin](ctx context.Context, kind string, hooks []P, call func(P) error) (errs []error) {
	results := make([]chan error, len(hooks))
	for i, h := range hooks {
		result := make(chan error, 1)
		results[i] = result
		go func() {
			err := errors.New("it has ended its goroutine")
			defer func() { result <- err }()
			err = plainHook(h, func() error { return call(h) })
		}()
	}
	for i, h := range hooks {
		err := errors.New("it has not returned in time")
		select {
		case err = <-results[i]:
		case <-ctx.Done():
			select {
			case err = <-results[i]:
			default:
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("tp: close: [%s:%s] %w", kind, h.Name(), err))
		}
	}
	return errs
}

// hookPanics holds a *throttle.Throttle for each name of a plugin that has panicked.
var hookPanics sync.Map

// rerror logs a recovered panic with its stack and returns the error 500 for it.
func (g guard) rerror(where string, v any) *Rerror {
	t, ok := hookPanics.Load(where)
	if !ok {
		t, _ = hookPanics.LoadOrStore(where, new(throttle.Throttle))
	}
	if more, ok := t.(*throttle.Throttle).Pass(time.Now().UnixNano(), throttle.Burst); ok {
		g.log.Errorf("panic in %s: %v; and %d more since the last such line\n%s", where, v, more, debug.Stack())
	}
	reason := fmt.Sprint(v)
	if g.hide {
		reason = ""
	}
	return NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), reason)
}

// exchanged runs the hooks at the end of a message; one that panics, or ends its
// goroutine, does not keep the others from running.
func (t *hookTable) exchanged(g guard, ctx PreCtx, r *Rerror) {
	exchanged(t.postExchange, g, ctx, r)
}

func exchanged(hooks []PostExchangePlugin, g guard, ctx PreCtx, r *Rerror) {
	n := 0
	defer func() {
		if n < len(hooks) { // runtime.Goexit
			exchanged(hooks[n:], g, ctx, r)
		}
	}()
	for n < len(hooks) {
		p := hooks[n]
		n++
		g.run(p, func() *Rerror {
			p.PostExchange(ctx, r)
			return nil
		})
	}
}
