package tp

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// hookTable is the plugins of one container, compiled into a list a moment. It
// does not change once made. A moment without plugins costs a length check.
type hookTable struct {
	preNewPeer          []PreNewPeerPlugin
	postNewPeer         []PostNewPeerPlugin
	postReg             []PostRegPlugin
	postListen          []PostListenPlugin
	preDial             []PreDialPlugin
	preReadHeader       []PreReadHeaderPlugin
	preWriteCall        []PreWriteCallPlugin
	postWriteCall       []PostWriteCallPlugin
	preWritePush        []PreWritePushPlugin
	postWritePush       []PostWritePushPlugin
	preReadCallBody     []PreReadCallBodyPlugin
	postReadCallBody    []PostReadCallBodyPlugin
	preWriteReply       []PreWriteReplyPlugin
	postWriteReply      []PostWriteReplyPlugin
	preReadPushBody     []PreReadPushBodyPlugin
	postReadPushBody    []PostReadPushBodyPlugin
	postReadReplyHeader []PostReadReplyHeaderPlugin
	preReadReplyBody    []PreReadReplyBodyPlugin
	postReadReplyBody   []PostReadReplyBodyPlugin
	postExchange        []PostExchangePlugin

	// Header hooks, CALL and PUSH: of all plugins, and of groups and handler alone.
	header [2][]headerHook
	own    [2][]headerHook

	// connection holds, in order, the plugins that take part in making or
	// ending a connection: PostDial, PostRedial, PostAccept, PostDisconnect.
	connection []Plugin

	waits bool // a hook of the reader's may wait
}

func (t *hookTable) headerHooks(push bool) []headerHook { return t.header[kindOf(push)] }
func (t *hookTable) ownHeader(push bool) []headerHook   { return t.own[kindOf(push)] }

func kindOf(push bool) int {
	if push {
		return 1
	}
	return 0
}

func pickHeader(list *[2][]headerHook, p Plugin) {
	for kind, push := range [2]bool{false, true} {
		if h, ok := headerHookOf(p, push); ok {
			list[kind] = append(list[kind], h)
		}
	}
}

func newHookTable(all, middle []Plugin) *hookTable {
	t := new(hookTable)
	for _, p := range all {
		pick(&t.preNewPeer, p)
		pick(&t.postNewPeer, p)
		pick(&t.postReg, p)
		pick(&t.postListen, p)
		pick(&t.preDial, p)
		pick(&t.preReadHeader, p)
		pick(&t.preWriteCall, p)
		pick(&t.postWriteCall, p)
		pick(&t.preWritePush, p)
		pick(&t.postWritePush, p)
		pick(&t.preReadCallBody, p)
		pick(&t.postReadCallBody, p)
		pick(&t.preWriteReply, p)
		pick(&t.postWriteReply, p)
		pick(&t.preReadPushBody, p)
		pick(&t.postReadPushBody, p)
		pick(&t.postReadReplyHeader, p)
		pick(&t.preReadReplyBody, p)
		pick(&t.postReadReplyBody, p)
		pick(&t.postExchange, p)
		pickHeader(&t.header, p)
		t.waits = t.waits || mayWait(p)
		if isConnectionPlugin(p) {
			t.connection = append(t.connection, p)
		}
	}
	for _, p := range middle {
		pickHeader(&t.own, p)
	}
	return t
}

func pick[P Plugin](list *[]P, p Plugin) {
	if h, ok := p.(P); ok {
		*list = append(*list, h)
	}
}

// mayWait reports whether the plugin has a hook that the reader runs, and does not
// promise that it is prompt. PostExchange may not wait at all.
func mayWait(p Plugin) bool {
	switch p.(type) {
	case PromptPlugin:
	case PreReadHeaderPlugin, PostReadCallHeaderPlugin, PostReadPushHeaderPlugin, PreReadCallBodyPlugin, PreReadPushBodyPlugin,
		PostReadReplyHeaderPlugin, PreReadReplyBodyPlugin:
		return true
	}
	return false
}

func isConnectionPlugin(p Plugin) bool {
	switch p.(type) {
	case PostDialPlugin, PostRedialPlugin, PostAcceptPlugin, PostDisconnectPlugin:
		return true
	}
	return false
}

// runHooks asks each plugin of a moment in order until one answers with an
// error. The plugin that failed is named in the log by who reports the error.
func runHooks[P Plugin, C any](log logger, hidePanics bool, list []P, moment func(P, C) *Rerror, ctx C) *Rerror {
	for _, p := range list {
		if r := runHook(log, hidePanics, p, moment, ctx); r.HasError() {
			return r
		}
	}
	return nil
}

func runHook[P Plugin, C any](log logger, hidePanics bool, p P, moment func(P, C) *Rerror, ctx C) (r *Rerror) {
	defer func() {
		if v := recover(); v != nil {
			r = panicRerror(log, "plugin "+p.Name(), v, hidePanics)
		}
	}()
	return moment(p, ctx)
}

// exchanged runs the hooks at the end of a message; one that panics does not keep
// the others from theirs.
func (t *hookTable) exchanged(s *session, ctx PreCtx, r *Rerror) {
	for _, p := range t.postExchange {
		runHook(s.logger, s.env.cfg.HidePanics, p, func(p PostExchangePlugin, ctx PreCtx) *Rerror {
			p.PostExchange(ctx, r)
			return nil
		}, ctx)
	}
}

// hookPanics holds a *throttle for each name of a plugin that has panicked.
var hookPanics sync.Map

// panicRerror logs a recovered panic with its stack and makes the 500 of it.
func panicRerror(log logger, where string, v any, hide bool) *Rerror {
	t, ok := hookPanics.Load(where)
	if !ok {
		t, _ = hookPanics.LoadOrStore(where, new(throttle))
	}
	if more, ok := t.(*throttle).pass(time.Now().UnixNano(), aLot); ok {
		log.Errorf("panic in %s: %v; and %d more since the last such line\n%s", where, v, more, debug.Stack())
	}
	reason := fmt.Sprint(v)
	if hide {
		reason = ""
	}
	return NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), reason)
}

// guard runs a hook that returns a plain error, and makes a panic an error.
func guard(name string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("plugin %s panicked: %v", name, v)
		}
	}()
	return f()
}
