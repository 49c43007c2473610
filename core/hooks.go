package tp

import (
	"context"
	"net"
)

// The hooks, in the order of a peer's, a connection's and a message's life. A
// Plugin has those it wants. An error (a Rerror with a code, or an error) ends
// the row of plugins at that moment; what else it does is said at each. A panic
// in a hook is an error 500 with the panic's text; the session lives. So it is if a hook
// ends its goroutine (runtime.Goexit), without a text; where that is the goroutine of who
// calls or pushes, that ends.
//
// Hooks marked "in the reader" run on the one goroutine that reads the
// connection: they must not block, and must not Call on the same session.

// PreNewPeerPlugin runs before the configuration is checked. It may change the
// configuration, and add plugins. An error fails Open.
type PreNewPeerPlugin interface {
	Plugin
	PreNewPeer(*PeerConfig, *PluginContainer) error
}

// PostNewPeerPlugin runs when the peer is made. An error fails Open.
type PostNewPeerPlugin interface {
	Plugin
	PostNewPeer(EarlyPeer) error
}

// PostRegPlugin runs once for each registered handler that has the plugin, one at a
// time. If it returns an error, the registration panics, and leaves no route, also of a
// controller's other methods. It must not register a route itself: that would wait for
// its own end.
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

// PostDialPlugin runs on a new connection, before its reader starts; on a redialled
// one too, unless the plugin implements PostRedial. An error closes the connection;
// Dial returns it unchanged.
type PostDialPlugin interface {
	Plugin
	PostDial(PreSession) *Rerror
}

// PostRedialPlugin runs in place of PostDial on a redialled connection. The codes
// 401, 403 and 409 end redialling at once.
type PostRedialPlugin interface {
	Plugin
	PostRedial(PreSession) *Rerror
}

// PostAcceptPlugin runs on an accepted connection, before its reader starts. An error
// closes the connection.
type PostAcceptPlugin interface {
	Plugin
	PostAccept(PreSession) *Rerror
}

// AuthCallPlugin answers the AUTH_CALLs that arrive when a session is ready, which mean
// that the peer renews its credentials. The first plugin of the peer that has the hook
// gets all of them; without one they are answered with 405. AuthCall runs on a goroutine
// that is not the reader, also several times at once for one session. What it returns is
// the AUTH_REPLY. ctx, of which Bind decodes the body, is valid until it returns. No other
// hook runs for these messages. PluginImpl has a function for it, but not the method.
type AuthCallPlugin interface {
	Plugin
	AuthCall(ctx AuthCallCtx) (reply any, rerr *Rerror)
}

// AuthCallCtx is the context of an AUTH_CALL.
type AuthCallCtx interface {
	UnknownCallCtx
	// Output is the AUTH_REPLY.
	Output() Message
}

// PostReadyPlugin runs when a session is ready: dialled, redialled or accepted.
// GetSession finds the session, its reader runs, and the hook may Call and Push on it, to
// subscribe again for example. It runs on a goroutine of its own; Dial returns after it.
// If the session is redialled while the hook runs, the hook runs once more afterwards,
// never twice at a time. The session may end while it runs: then its calls end with 102.
type PostReadyPlugin interface {
	Plugin
	PostReady(Session)
}

// PostRenamePlugin runs when SetID has changed the id of a session that GetSession finds:
// s.ID() is the new one. It runs on the goroutine of SetID, which may be a reader, so it
// must not wait for messages of the session. If several SetIDs run at a time, so do the
// hooks, in any order. An id that SetID has set before the session is ready is not a
// change: PostReady sees it.
type PostRenamePlugin interface {
	Plugin
	PostRename(s Session, oldID string)
}

// PreWriteCallPlugin runs on the caller's goroutine before a CALL is packed. An
// error ends the call.
type PreWriteCallPlugin interface {
	Plugin
	PreWriteCall(WriteCtx) *Rerror
}

// PostWriteCallPlugin runs when a CALL is queued for writing, possibly after its
// reply has arrived. An error is logged.
type PostWriteCallPlugin interface {
	Plugin
	PostWriteCall(WriteCtx) *Rerror
}

// PreWritePushPlugin runs before a PUSH is packed. An error is returned by Push.
type PreWritePushPlugin interface {
	Plugin
	PreWritePush(WriteCtx) *Rerror
}

// PostWritePushPlugin runs when a PUSH is queued for writing. An error is logged.
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
// before its route is looked up: it may change the route. An error is the reply. The
// plugin of a group or a handler runs for its routes only, after the global ones.
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

// PostWriteReplyPlugin runs when a REPLY is queued for writing. An error is logged.
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

// PostReadReplyHeaderPlugin runs in the reader when the header of the REPLY to a
// pending call is known. An error becomes the call's error.
type PostReadReplyHeaderPlugin interface {
	Plugin
	PostReadReplyHeader(ReadCtx) *Rerror
}

// PreReadReplyBodyPlugin runs in the reader before the result is decoded, and when the
// REPLY carries an error in place of one. An error becomes the call's error.
type PreReadReplyBodyPlugin interface {
	Plugin
	PreReadReplyBody(ReadCtx) *Rerror
}

// PostReadReplyBodyPlugin runs on the caller's goroutine (for AsyncCall on one of
// its own) when the result is decoded without an error. An error becomes the call's
// error.
type PostReadReplyBodyPlugin interface {
	Plugin
	PostReadReplyBody(ReadCtx) *Rerror
}

// PreWriteDataPlugin runs on the goroutine of Stream.Send before a message of a stream,
// DATA, is packed. The plugins are those of the call that has opened the stream, or of its
// handler. An error is returned by Send, and the message is not sent.
type PreWriteDataPlugin interface {
	Plugin
	PreWriteData(WriteCtx) *Rerror
}

// PostReadDataPlugin runs on the goroutine of Stream.Recv when a message of a stream has
// come, before it is decoded: Input().RawBody() is the encoded body, and
// Input().UnmarshalBody replaces it. An error is returned by Recv in place of the message.
type PostReadDataPlugin interface {
	Plugin
	PostReadData(ReadCtx) *Rerror
}

// PreWriteEndPlugin runs on the goroutine of Stream.CloseSend before the end of this side's
// messages, a CONTROL message, is packed. What it adds to Output().Meta() is for PostReadEnd
// of the other side: at most 1 KiB, of which each pair takes 32 bytes beside its key and
// value. The key m is the engine's. An error is returned by
// CloseSend, and nothing is sent. A handler that returns without CloseSend sends no such
// end: its REPLY is the end.
type PreWriteEndPlugin interface {
	Plugin
	PreWriteEnd(WriteCtx) *Rerror
}

// PostReadEndPlugin runs on the goroutine of Stream.Recv, once, when the other side has
// called CloseSend and all its messages were received. Input().Meta() has what PreWriteEnd
// has added. An error is returned by Recv, now and later, in place of io.EOF.
type PostReadEndPlugin interface {
	Plugin
	PostReadEnd(ReadCtx) *Rerror
}

// DataCtx is implemented by the contexts of PreWriteData, PostReadData, PreWriteEnd and
// PostReadEnd.
type DataCtx interface {
	// Number returns which message of its direction of the stream this is, from 1 on, on
	// either side. A message that PreWriteData refuses, or that cannot be sent, does not
	// count. For PreWriteEnd and PostReadEnd it returns how many messages there were.
	Number() int64
}

// PostExchangePlugin runs once at the very end of each CALL and PUSH, sent or
// served, however it has ended. r is its error, nil if there is none: for a CALL that
// was sent the error the caller gets, also when no reply came; for a CALL that was
// served the error of the reply, or 102 if the reply could not be sent. ctx is a ReadCtx for a message that was served, else
// a WriteCtx. The hook also runs for messages that an error kept from the other hooks.
// It must not block: it may run in the reader.
type PostExchangePlugin interface {
	Plugin
	PostExchange(ctx PreCtx, r *Rerror)
}

// HandOverPlugin takes part when a Reboot hands a session, with its connection, to the new
// process. Save returns what the plugin of the old process knows of the session; an error keeps the
// session there, and is logged. Restore runs in the new process in place of PostAccept, of the plugin of
// the same name, with what Save has returned; an error leaves the session with the old
// process. What it gets may come from another version of the program. They run while the
// session is held up, so they must not wait; nothing can be sent or received meanwhile.
// PostReady follows in the new process, and PostDisconnect in the old one, where the session's
// CloseReason is then [ErrHandedOver]. Save runs again right before that: if it returns
// something else then, the session is not handed over yet.
//
// A session stays with the old process, and ends there, if a plugin that has a PostAccept is no
// HandOverPlugin, in either process: what PostAccept would check is not skipped.
type HandOverPlugin interface {
	Plugin
	Save(BaseSession) ([]byte, error)
	Restore(s PreSession, saved []byte) *Rerror
}

// SwapOwner is a HandOverPlugin that keeps values in the session's Swap. OwnsSwap reports
// whether the key is one of its: then Save takes care of the value, and not
// [PeerConfig.CarrySwap].
type SwapOwner interface {
	HandOverPlugin
	OwnsSwap(key any) bool
}

// PostDisconnectPlugin runs once when a session has ended, for plugins whose
// PostDial or PostAccept, if they have one, had returned no error, the last first. The
// argument is the [Session], equal to what ctx.Session() and GetSession have returned.
// Handlers of the session may still run. An error is logged.
type PostDisconnectPlugin interface {
	Plugin
	PostDisconnect(BaseSession) *Rerror
}

// PreClosePlugin runs when the peer begins to close: by Close, Shutdown or Reboot. It still
// listens and serves, so this is the moment to tell a registry, or a load balancer, that
// the peer goes. The hooks of all plugins run at the same time, and ctx ends after half of
// the time that the peer has (CloseTimeout for Close); then the peer closes without those
// that have not returned. At a Reboot the new process listens already. Close returns the
// errors; they do not stop it.
type PreClosePlugin interface {
	Plugin
	PreClose(ctx context.Context, p Peer) error
}

// PostClosePlugin runs when all sessions of the peer have ended, or were cut off: the
// moment to release what the plugin holds. ctx ends with the time that the peer has to
// close, but not before a second. The hooks of all plugins run at the same time. Close
// returns the errors.
type PostClosePlugin interface {
	Plugin
	PostClose(ctx context.Context, p Peer) error
}

// Plugin is a value with a name that implements one or more of the hook interfaces
// of hooks.go. Its hooks are called by many goroutines at once.
type Plugin interface {
	Name() string
}

// NonBlockingPlugin is a Plugin that promises that its hooks never block: not on the
// network, nor on a lock that another goroutine holds while it blocks. NonBlocking is
// never called. The hooks that see a header, or a body before it is decoded, run on
// the goroutine that reads the connection. A peer with a plugin that has such a hook
// and no promise keeps a goroutine for each session; else, on Linux, the sessions of a
// peer that has many need none.
type NonBlockingPlugin interface {
	Plugin
	NonBlocking()
}
