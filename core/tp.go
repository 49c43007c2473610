package tp

import (
	"context"
	"crypto/tls"
	"io"
	"iter"
	"net"
	"net/url"
	"time"
)

// Peer is one end of communication: it may listen, dial, or both, and in both
// roles its sessions call, push, and serve its routes. All its methods are safe
// for concurrent use; routes are best registered before the first Listen or Dial.
type Peer interface {
	EarlyPeer
	Server
	Dialer
	// ServeConnWith is ServeConn with what is known about the connection, for example by
	// the web server or the gateway that has accepted it, and it returns why there is no
	// session: the error of a PostAccept hook, 102 (CodeConnClosed) if the peer is closed,
	// 100 (CodeWrongConn) for a UDP connection, or 500 for a protocol that is not
	// configured. Then conn is closed. It logs none of these.
	ServeConnWith(conn net.Conn, facts ConnFacts, protoFunc ...ProtoFunc) (Session, *Rerror)
}

// EarlyPeer is a Peer that does not listen or dial yet: the argument of PostNewPeer.
type EarlyPeer interface {
	BasePeer
	Router
	// Router returns the root of the peer's routes.
	Router() Router
}

// BasePeer is the common part of EarlyPeer and Peer.
type BasePeer interface {
	// Close closes listeners, then drains all sessions within CloseTimeout, also those
	// that drain already, and cuts off what is left. Its error says what that was: calls,
	// and the handlers, hooks or codecs that had not returned. Of hooks it is returned
	// again until they have; else Close again does nothing and returns nil.
	io.Closer
	Sessions
	// SetTLSConfig sets the configuration for listening and dialling. After the
	// first Listen, Dial or ServeConn it changes nothing and returns ErrOpened.
	SetTLSConfig(*tls.Config) error
	// SetTLSConfigFromFile is SetTLSConfig with the result of NewTLSConfigFromFile.
	SetTLSConfigFromFile(certFile, keyFile string, insecureSkipVerifyForClient ...bool) error
	// TLSConfig returns the configuration that was set, nil if none was.
	TLSConfig() *tls.Config
	// PluginContainer holds the plugins that all routes share.
	PluginContainer() *PluginContainer
	// Handlers returns the handlers that are registered now, by name, a CALL's before a
	// PUSH's of the same name, and those for unknown CALLs, PUSHes and streams last.
	Handlers() iter.Seq[*Handler]
	// Adjust changes settings while the peer works: change gets the present ones, and what
	// it leaves in them is in force from then on. It must not call Adjust.
	Adjust(change func(*Live))
	// Stats returns what the peer has refused and dropped so far. It may be called
	// concurrently, and costs a dozen loads.
	Stats() PeerStats
}

// Live is the part of a PeerConfig that Peer.Adjust can change while the peer works. The
// fields mean what they mean there, and 0 has the same defaults.
type Live struct {
	DefaultSessionAge  time.Duration // of sessions that begin later
	DefaultContextAge  time.Duration // of sessions that begin later
	DefaultCallTimeout time.Duration // of calls that begin later
	MaxHandlers        int
	SlowCometDuration  time.Duration
	AccessLog          bool
	PrintDetail        bool
	CountTime          bool // of messages that begin later
}

// Sessions gives access to a peer's sessions that are ready or redialling.
type Sessions interface {
	// CountSession returns the number of sessions.
	CountSession() int
	// GetSession returns the session with this id. If there is none the
	// Session is nil.
	GetSession(id string) (Session, bool)
	// RangeSession calls f for each session until f returns false. f may call any
	// method, Close included.
	RangeSession(f func(Session) bool)
}

// Server is the listening side of a peer.
type Server interface {
	// Listen listens on the configured address, serves in the background, and returns.
	// It also logs the error that it returns. Without a protoFunc, connections speak
	// the peer's protocol. It may
	// be called again for other addresses only if the configured port is 0.
	Listen(protoFunc ...ProtoFunc) error
	// ListenAndServe is Listen, but blocks until the peer is closed. It always
	// returns an error, ErrListenClosed after Close.
	ListenAndServe(protoFunc ...ProtoFunc) error
	// Addrs returns the addresses that the peer listens on, with the real ports.
	Addrs() []net.Addr
	// Listening returns, for each address that the peer listens on, what a client or a
	// registry needs to know.
	Listening() []Listening
	// ServeConn starts a session on a connection accepted elsewhere, TLS included. It runs
	// the PostAccept hooks first. If a hook refuses the connection, or the peer is closed,
	// it closes conn, logs why, and returns nil. See also ServeConnWith of Peer.
	ServeConn(conn net.Conn, protoFunc ...ProtoFunc) Session
}

// Listening describes an address that a peer listens on.
type Listening struct {
	Addr      net.Addr // with the real port; its IP may be the unspecified one
	Network   string   // the name of the Network, such as "tcp"
	Protocols []string // the names of the protocols: one, or those recognised by the first bytes
	TLS       bool     // the peer has a TLS configuration
}

// ConnFacts is what is known about a connection that it cannot tell itself, for example
// by the gateway or the web server that has accepted it. Zero fields are not known.
type ConnFacts struct {
	// Remote is the address of the other end, where that of the connection is a
	// gateway's. RemoteAddr, IP, the session's default ID and the log use it, and
	// PeerConfig.TrustedProxies.
	Remote net.Addr

	// RealIP is what RealIP of a context returns, whatever X-Real-IP says.
	RealIP string

	// TLS is the TLS state towards the other end, where TLS ends before this process.
	TLS *tls.ConnectionState

	// Read holds bytes that were read from the connection already: the protocol begins
	// with them. The engine copies them.
	Read []byte

	// Swap holds values that are stored in the session's Swap before PostDial,
	// PostRedial or PostAccept runs.
	Swap map[any]any
}

// Dialer is the dialling side of a peer.
type Dialer interface {
	// Dial connects and returns the ready session. On failure the Session is
	// nil and the error is 105 (CodeDialFailed), or that of a PostDial hook. ":9090"
	// is a port of the local host; on unix networks addr is a path.
	Dial(addr string, protoFunc ...ProtoFunc) (Session, *Rerror)
	// DialContext is Dial, but fails when ctx ends.
	DialContext(ctx context.Context, addr string, protoFunc ...ProtoFunc) (Session, *Rerror)
}

// Router registers handlers. Peers and groups are Routers. A registration panics,
// with an error that says why, for a handler with a wrong signature, for a route that is
// taken, and for one that no message can reach: a service method is a URI reference, and
// its path selects the route.
type Router interface {
	// SubRoute returns a group whose routes begin with prefix and share plugins.
	SubRoute(prefix string, plugin ...Plugin) SubRouter
	// RouteCall registers the methods of a struct that embeds CallCtx, and
	// returns their service methods. The struct's name is that of its type, for a
	// generic type without the type arguments: Math[int] is Math.
	RouteCall(ctrl any, plugin ...Plugin) []string
	// RouteCallFunc registers a function or a method expression.
	RouteCallFunc(fn any, plugin ...Plugin) string
	// RoutePush registers the methods of a struct that embeds PushCtx.
	RoutePush(ctrl any, plugin ...Plugin) []string
	// RoutePushFunc registers a function or a method expression.
	RoutePushFunc(fn any, plugin ...Plugin) string
	// SetUnknownCall sets the handler of all CALLs without a route. A peer has one,
	// whichever group sets it; a later one replaces it.
	SetUnknownCall(fn func(UnknownCallCtx) (any, *Rerror), plugin ...Plugin)
	// SetUnknownPush is SetUnknownCall for PUSHes.
	SetUnknownPush(fn func(UnknownPushCtx) *Rerror, plugin ...Plugin)

	routeGroup() *group
}

// SubRouter is a group of routes.
type SubRouter interface {
	Router
	// Root returns the router of the peer.
	Root() Router
	// ToRouter returns the group as a Router.
	ToRouter() Router
}

// BaseSession is a session that has ended: the argument of PostDisconnect.
type BaseSession interface {
	Logger
	Peer() Peer
	// ID returns the id, which is unique among the peer's sessions. Unless SetID has
	// set it, it is the remote address of an accepted session and the first local
	// address of a dialled one; a redial does not change it.
	ID() string
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// ConnectionState returns the TLS state of the session's connection, with the
	// certificates of the peer; nil without TLS. A connection that ModifySocket or a
	// Network has wrapped must have a method ConnectionState of its own, or NetConn.
	ConnectionState() *tls.ConnectionState
	// Swap returns the map for values of the user's; redials keep it.
	Swap() *Swap
	// CloseReason returns why the session ended, nil while it has not.
	CloseReason() *CloseReason
}

// Caller makes calls: a session, or a client that chooses one of several. Invoke and
// InvokeInto take it. Call is that of CtxSession; it may be called concurrently.
type Caller interface {
	Call(serviceMethod string, arg, result any, setting ...MessageSetting) CallCmd
}

// Pusher sends pushes, as a session does. Push is that of CtxSession; it may be called
// concurrently.
type Pusher interface {
	Push(serviceMethod string, arg any, setting ...MessageSetting) *Rerror
}

// CtxSession is a session in a handler or a hook of a message. It is a Caller and a Pusher.
type CtxSession interface {
	Logger
	ID() string
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// ConnectionState is the TLS state of the present connection; nil without TLS.
	ConnectionState() *tls.ConnectionState
	Swap() *Swap
	// CloseNotify returns a channel that is closed when the session takes no more
	// calls: on Close, and when the connection breaks and is not redialled.
	CloseNotify() <-chan struct{}
	// Health reports whether the session takes calls: it is ready or redials.
	Health() bool
	// Call sends a CALL and waits for the reply, the end of the context of
	// WithContext, or the end of the session, whichever is first. The reply is decoded
	// into what result points to, or dropped if that is nil. Call must not be called
	// in a hook that runs in the reader.
	Call(serviceMethod string, arg, result any, setting ...MessageSetting) CallCmd
	// AsyncCall sends a CALL and returns. The finished CallCmd is sent to
	// callCmdChan, which must be buffered (AsyncCall panics otherwise); nil means a
	// new channel that only the engine has. If the channel is full, the command waits
	// for room, at most until the session ends; then it is dropped, with a WARNING.
	// arg is not read after AsyncCall has returned.
	AsyncCall(serviceMethod string, arg, result any, callCmdChan chan<- CallCmd, setting ...MessageSetting) CallCmd
	// Push sends a PUSH. nil means that the session will send it, in order; not that
	// the peer has received it. Push waits for room in the outgoing batch, or
	// for a redial, until the context of WithContext ends. Errors: 102, 104, 408,
	// 499, and those of PreWritePush hooks.
	Push(serviceMethod string, arg any, setting ...MessageSetting) *Rerror
	// SessionAge is how long a connection of the session may live; 0 is unlimited.
	SessionAge() time.Duration
	// ContextAge is how long a handler may take; 0 is unlimited.
	ContextAge() time.Duration
	// Queued returns how many messages, and bytes of them, are queued for writing or
	// wait for a redial.
	Queued() (messages, bytes int)
}

// Session is a connection between two peers, over which both call and push. It is safe
// for concurrent use.
type Session interface {
	CtxSession
	Peer() Peer
	// SetID changes the id. A session of the peer that has this id is closed, as by
	// CloseWith with the code 409.
	SetID(id string)
	// SetSessionAge changes the session age, counted from now.
	SetSessionAge(time.Duration)
	// SetContextAge changes the context age of handlers that begin later.
	SetContextAge(time.Duration)
	// SetPushPolicy changes what happens to PUSHes for which there is no room, from now
	// on; "" is PeerConfig.PushPolicy. The error says that p is no policy.
	SetPushPolicy(p PushPolicy) error
	// Queue returns what waits to be written, and what the policy has dropped. It may be
	// called at any time, and costs a lock.
	Queue() Queue
	// ControlFD calls f with the file descriptor of the connection. It returns
	// syscall.EINVAL if there is none, net.ErrClosed after the session's end.
	ControlFD(f func(fd uintptr)) error
	// Close stops new calls, waits at most CloseTimeout for the pending ones
	// and for the batch, and returns nil, or an error that says how many calls
	// it cut off. Handlers that run may still reply for the rest of that time.
	// Close may be called anywhere, also in a handler of the session.
	Close() error
	// CloseWith is Close that tells the other side why. There the code, the message and
	// the reason of rerr are in the text and in the chain of causes of CloseReason and
	// of the errors of calls, which keep their code 102: tp.Code(CloseReason()) and
	// errors.Is(err, rerr.Err()) find them. The codes 401, 403 and 409 end its
	// redialling, so that the session does not come back. Protocols that cannot say
	// it (all but raw in its own dialect), and peers of v5, v7 and older releases, see a
	// session that was closed. A rerr that is nil or has code 0 makes it a Close.
	CloseWith(rerr *Rerror) error
	// Drain is Close that waits for handlers as well, until ctx ends; then it
	// cuts off what is left and returns ctx's error, which names the handlers. Called in a handler of the
	// session it waits for that one too: bound it, or use Close.
	Drain(ctx context.Context) error
	CloseReason() *CloseReason
}

// Queue is what a session has accepted and has not written yet.
type Queue struct {
	Messages int
	Bytes    int           // WriteBound at most, without what the reading goroutine adds
	Age      time.Duration // how long the oldest message waits, about; 0: the network takes all at once, or there is no connection
	Dropped  uint64        // PUSHes that the policy has dropped or refused, since the session began
}

// Breaker is implemented by the sessions of this package, for code that learns before
// the network does that a connection is dead.
type Breaker interface {
	// Break closes the present connection as if the network had failed with cause, and
	// reports whether there was one. Pending calls, and those made until the session
	// has noticed, end with 102. A dialled session redials if it is configured to; any
	// other ends. The errors of calls and contexts wrap the CloseReason, which has
	// SideNetwork and cause. Break waits only for the Close of the connection, and may
	// be called anywhere.
	Break(cause error) bool
}

// PreSession is a session that is being prepared: in PostDial, PostRedial and
// PostAccept, before its reader starts. The methods that send and receive work
// only there; elsewhere they fail with code 1. No hooks run for their messages.
type PreSession interface {
	Logger
	Peer() Peer
	ID() string
	// SetID sets the id that the session takes once all hooks have accepted it.
	SetID(id string)
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// ConnectionState is the TLS state of the fresh connection; nil without TLS.
	ConnectionState() *tls.ConnectionState
	Swap() *Swap
	// Context ends with the time the hooks have, with the peer, and with the context
	// of DialContext. It has the values of that one, on a redial too. Outside of the
	// hooks it is context.Background().
	Context() context.Context
	ControlFD(f func(fd uintptr)) error
	// ModifySocket replaces the connection or its protocol by the results of fn; nil
	// keeps the present one. Bytes already read are read again from the new
	// connection.
	ModifySocket(fn func(conn net.Conn) (modifiedConn net.Conn, newProtoFunc ProtoFunc))
	GetProtoFunc() ProtoFunc
	SessionAge() time.Duration
	ContextAge() time.Duration
	SetSessionAge(time.Duration)
	SetContextAge(time.Duration)

	// Send sends a message with a new sequence number; WithMtype sets its type.
	Send(serviceMethod string, body any, rerr *Rerror, setting ...MessageSetting) *Rerror
	// Receive reads one message. Its error is that of reading, not that of the message.
	Receive(newBody NewBodyFunc, setting ...MessageSetting) (Message, *Rerror)
	// PreSend is Send with a message type.
	PreSend(mtype byte, serviceMethod string, body any, rerr *Rerror, setting ...MessageSetting) *Rerror
	// PreReceive is Receive, but sets an error of reading as the Rerror of the message.
	PreReceive(newBody NewBodyFunc, ctx ...context.Context) Message
	// PreCall sends a CALL and reads its reply into reply. CALLs and PUSHes that
	// come before the reply are kept, and handled in order once the session is
	// ready; all together may be as large as one message.
	PreCall(serviceMethod string, arg, reply any, setting ...MessageSetting) *Rerror
	// PreReply sends the reply to req, with its sequence number.
	PreReply(req Message, body any, rerr *Rerror, setting ...MessageSetting) *Rerror
	// RawPush sends a PUSH.
	RawPush(serviceMethod string, arg any, setting ...MessageSetting) *Rerror
}

// CallCmd is a call, pending or finished. It is safe for concurrent use.
type CallCmd interface {
	Logger
	// TracePeer returns the peer; false for a call of NewFakeCallCmd.
	TracePeer() (Peer, bool)
	// TraceSession returns the session; false for a call of NewFakeCallCmd.
	TraceSession() (Session, bool)
	Context() context.Context
	// Output returns the message that was sent.
	Output() Message
	// Rerror returns the error of the finished call, nil before. It does not wait.
	Rerror() *Rerror
	// Done returns a channel that is closed when the call is finished.
	Done() <-chan struct{}
	// Reply waits for the end and returns result and error.
	Reply() (any, *Rerror)
	// InputBodyCodec waits for the end and returns the codec of the reply.
	InputBodyCodec() byte
	// InputMeta waits for the end and returns the reply's metadata; never nil.
	InputMeta() *Meta
	// CostTime waits for the end and returns the time the call took; 0 without CountTime.
	CostTime() time.Duration
}

// PreCtx is the part of all contexts that is known before a message is.
type PreCtx interface {
	Logger
	Peer() Peer
	// Session is the session of the message, and a [Session]: ctx.Session().(tp.Session)
	// has Close, SetID and the rest.
	Session() CtxSession
	// IP returns the remote address with its port, such as "10.0.0.7:53412";
	// net.SplitHostPort gives the address alone.
	IP() string
	// RealIP returns the metadata X-Real-IP, unchanged, if a trusted proxy has sent it,
	// else IP.
	RealIP() string
	// ConnectionState returns the TLS state of the connection on which the message is
	// received or sent; nil without TLS. See BaseSession.
	ConnectionState() *tls.ConnectionState
	// Swap returns a map that begins as a copy of the session's, and ends with this
	// exchange. Store values that are to stay in Session().Swap().
	Swap() *Swap
	// Context returns a context that ends with the handler, its deadline, or the
	// session, whose CloseReason is then its cause. A hook that runs before the
	// handler adds values to it by tp.WithContext(ctx)(c.Input()), with a ctx made
	// from c.Input().Context(), so that the values of earlier hooks stay.
	Context() context.Context
}

// WriteCtx is the context of an outgoing message.
type WriteCtx interface {
	PreCtx
	// Output is the message. It has its sequence number. The service method of a REPLY
	// is that of the request, and never sent.
	Output() Message
	Rerror() *Rerror
}

// InputCtx is the common part of the contexts of incoming messages.
type InputCtx interface {
	PreCtx
	Seq() int32
	// PeekMeta returns a metadata value, nil if there is none. It is valid until the
	// handler returns.
	PeekMeta(key string) []byte
	VisitMeta(f func(key, value []byte))
	// CopyMeta returns a copy of the metadata, which may be kept.
	CopyMeta() *Meta
	ServiceMethod() string
	// ResetServiceMethod replaces the service method. In a header hook it changes the
	// route of the message.
	ResetServiceMethod(string)
	// UriObject returns the parsed service method. Changing it in a header hook
	// changes the route of the message.
	UriObject() *url.URL
	// Path is UriObject().Path.
	Path() string
	// Query is the query of the service method.
	Query() url.Values
}

// ReadCtx is the context of an incoming message.
type ReadCtx interface {
	InputCtx
	// Input is the message. In the PreRead…Body hooks its Body is what the encoded body
	// will be decoded into: the handler's argument, or the result; no hook may keep it.
	// SetBody puts another value there: then it is for the plugin's PostRead…Body hook
	// to fill the argument or result. UnmarshalBody replaces the encoded body.
	Input() Message
	Rerror() *Rerror
}

// PushCtx is the context of a PUSH handler, valid until it returns. The results of
// Session and Context, and the decoded argument, may be kept.
type PushCtx interface {
	InputCtx
	GetBodyCodec() byte
}

// CallCtx is the context of a CALL handler, valid until it returns. The results of
// Session and Context, and the decoded argument, may be kept.
type CallCtx interface {
	InputCtx
	Input() Message
	Output() Message
	GetBodyCodec() byte
	// ReplyBodyCodec returns the codec of the reply's body.
	ReplyBodyCodec() byte
	SetBodyCodec(id byte)
	AddMeta(key, value string)
	SetMeta(key, value string)
	// AddXferPipe adds filters to the reply's pipe. It panics for an unknown id.
	AddXferPipe(filterID ...byte)
}

// UnknownPushCtx is the context of the handler of PUSHes without a route.
type UnknownPushCtx interface {
	InputCtx
	GetBodyCodec() byte
	// InputBodyBytes returns the encoded body, which belongs to the handler for ever.
	InputBodyBytes() []byte
	// Bind decodes the body into v, and returns the id of the body's codec.
	Bind(v any) (codecID byte, err error)
}

// UnknownCallCtx is the context of the handler of CALLs without a route.
type UnknownCallCtx interface {
	UnknownPushCtx
	SetBodyCodec(id byte)
	AddMeta(key, value string)
	SetMeta(key, value string)
	AddXferPipe(filterID ...byte)
}
