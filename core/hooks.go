package tp

import "net"

// The hooks, in the order of a peer's, a connection's and a message's life. A
// Plugin has those it wants. An error (a Rerror with a code, or an error) ends
// the row of plugins at that moment; what else it does is said at each. A panic
// in a hook is an error 500 with the panic's text; the session lives. So it is if a hook
// ends its goroutine (runtime.Goexit), without a text; where that is the goroutine of who
// calls or pushes, that ends.
//
// Hooks marked "in the reader" run on the one goroutine that reads the
// connection: they must not block, and must not Call on the same session.

// PreNewPeerPlugin runs before the configuration is checked; it may change it,
// and add plugins. An error fails Open.
type PreNewPeerPlugin interface {
	Plugin
	PreNewPeer(*PeerConfig, *PluginContainer) error
}

// PostNewPeerPlugin runs when the peer is made. An error fails Open.
type PostNewPeerPlugin interface {
	Plugin
	PostNewPeer(EarlyPeer) error
}

// PostRegPlugin runs once for each registered handler that sees the plugin. An
// error is a panic of the registration.
type PostRegPlugin interface {
	Plugin
	PostReg(*Handler) error
}

// PostListenPlugin runs when an address is bound, before the first accept. An
// error fails Listen.
type PostListenPlugin interface {
	Plugin
	PostListen(net.Addr) error
}

// PreDialPlugin runs before each dial, redials included. localAddr may be nil.
// An error fails Dial, or that attempt of a redial.
type PreDialPlugin interface {
	Plugin
	PreDial(localAddr net.Addr, remoteAddr string) *Rerror
}

// PostDialPlugin runs on a fresh connection, before its reader; on a redialled
// one too, unless the plugin has PostRedial. An error closes the connection;
// Dial returns it as it is.
type PostDialPlugin interface {
	Plugin
	PostDial(PreSession) *Rerror
}

// PostRedialPlugin runs in place of PostDial on a redialled connection. The codes
// 401 and 403 end redialling at once.
type PostRedialPlugin interface {
	Plugin
	PostRedial(PreSession) *Rerror
}

// PostAcceptPlugin runs on an accepted connection, before its reader. An error
// closes the connection.
type PostAcceptPlugin interface {
	Plugin
	PostAccept(PreSession) *Rerror
}

// PostReadyPlugin runs when a session is ready: dialled, redialled or accepted.
// GetSession finds it, its reader runs, and the hook may Call and Push on it, for
// instance to subscribe again. It runs on a goroutine of its own; Dial returns after it.
// If the session was redialled meanwhile it runs once more, never twice at a time. The
// session may end before it has returned: then its calls end with 102.
type PostReadyPlugin interface {
	Plugin
	PostReady(Session)
}

// PreWriteCallPlugin runs on the caller's goroutine before a CALL is packed. An
// error finishes the call.
type PreWriteCallPlugin interface {
	Plugin
	PreWriteCall(WriteCtx) *Rerror
}

// PostWriteCallPlugin runs when the batch has accepted a CALL, possibly after its
// reply has come. An error is logged.
type PostWriteCallPlugin interface {
	Plugin
	PostWriteCall(WriteCtx) *Rerror
}

// PreWritePushPlugin runs before a PUSH is packed. An error is returned by Push.
type PreWritePushPlugin interface {
	Plugin
	PreWritePush(WriteCtx) *Rerror
}

// PostWritePushPlugin runs when the batch has accepted a PUSH. An error is logged.
type PostWritePushPlugin interface {
	Plugin
	PostWritePush(WriteCtx) *Rerror
}

// PreReadHeaderPlugin runs in the reader before each read of a message. An error
// breaks the connection. One that ends its goroutine is asked once more when a message
// has come; if it does so again, that message is refused with 500.
type PreReadHeaderPlugin interface {
	Plugin
	PreReadHeader(PreCtx) error
}

// PostReadCallHeaderPlugin runs in the reader when the header of a CALL is known,
// before its route is looked up: it may reroute. An error is the reply. Given to
// a group or a handler it runs for their routes, after the global ones.
type PostReadCallHeaderPlugin interface {
	Plugin
	PostReadCallHeader(ReadCtx) *Rerror
}

// PreReadCallBodyPlugin runs in the reader when the handler of a CALL is found,
// before its argument is decoded; see ReadCtx.Input for what it may do to that. An
// error is the reply.
type PreReadCallBodyPlugin interface {
	Plugin
	PreReadCallBody(ReadCtx) *Rerror
}

// PostReadCallBodyPlugin runs on the handler's goroutine when the argument is
// decoded. An error is the reply.
type PostReadCallBodyPlugin interface {
	Plugin
	PostReadCallBody(ReadCtx) *Rerror
}

// PreWriteReplyPlugin runs before a REPLY is packed, error replies included. An
// error is logged; the reply is sent.
type PreWriteReplyPlugin interface {
	Plugin
	PreWriteReply(WriteCtx) *Rerror
}

// PostWriteReplyPlugin runs when the batch has accepted a REPLY. An error is logged.
type PostWriteReplyPlugin interface {
	Plugin
	PostWriteReply(WriteCtx) *Rerror
}

// PostReadPushHeaderPlugin is PostReadCallHeader for a PUSH. An error is logged
// and the PUSH dropped.
type PostReadPushHeaderPlugin interface {
	Plugin
	PostReadPushHeader(ReadCtx) *Rerror
}

// PreReadPushBodyPlugin is PreReadCallBody for a PUSH.
type PreReadPushBodyPlugin interface {
	Plugin
	PreReadPushBody(ReadCtx) *Rerror
}

// PostReadPushBodyPlugin is PostReadCallBody for a PUSH.
type PostReadPushBodyPlugin interface {
	Plugin
	PostReadPushBody(ReadCtx) *Rerror
}

// PostReadReplyHeaderPlugin runs in the reader when the header of an awaited
// REPLY is known. An error is the call's.
type PostReadReplyHeaderPlugin interface {
	Plugin
	PostReadReplyHeader(ReadCtx) *Rerror
}

// PreReadReplyBodyPlugin runs in the reader before the result is decoded, and when the
// REPLY carries an error in place of one. An error is the call's.
type PreReadReplyBodyPlugin interface {
	Plugin
	PreReadReplyBody(ReadCtx) *Rerror
}

// PostReadReplyBodyPlugin runs on the caller's goroutine (of AsyncCall: on one of
// its own) when the result is decoded without an error. An error is the call's.
type PostReadReplyBodyPlugin interface {
	Plugin
	PostReadReplyBody(ReadCtx) *Rerror
}

// PostExchangePlugin runs once at the very end of each CALL and PUSH, sent or
// served, however it has ended: r is its error, nil if there is none. Of a CALL
// sent that is what the caller gets, also when no reply came; of a CALL served,
// what was to be replied. ctx is a ReadCtx of what was served, else a WriteCtx. It
// runs for messages as well that an error kept from the other hooks. It must not
// block: it may run in the reader.
type PostExchangePlugin interface {
	Plugin
	PostExchange(ctx PreCtx, r *Rerror)
}

// PostDisconnectPlugin runs once when a session has ended, for plugins whose
// PostDial or PostAccept had passed, the last first. An error is logged.
type PostDisconnectPlugin interface {
	Plugin
	PostDisconnect(BaseSession) *Rerror
}

// Plugin is anything with a name that has one or more of the hook methods of
// hooks.go. It is used by many goroutines at once.
type Plugin interface {
	Name() string
}

// NonBlockingPlugin is a Plugin whose hooks never block: not on the network, nor on a
// lock that somebody holds while he does. NonBlocking is never called. The hooks that
// see a header, or a body before it is decoded, run in the goroutine that reads; one
// that blocks holds up its connection, and therefore a session that meets such a hook
// keeps a goroutine of its own. Where no hook blocks, the sessions of a peer that has
// many need none (Linux).
type NonBlockingPlugin interface {
	Plugin
	NonBlocking()
}
