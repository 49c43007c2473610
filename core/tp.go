package tp

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"time"
)

// Peer is one end of communication: it may listen, dial, or both, and either
// way its sessions call, push, and serve its routes. All its methods are safe
// for concurrent use; routes are best registered before the first Listen or Dial.
type Peer interface {
	EarlyPeer
	Server
	Dialer
}

// EarlyPeer is a Peer whose network is not open yet, as PostNewPeer sees it.
type EarlyPeer interface {
	BasePeer
	Router
	// Router returns the root of the peer's routes.
	Router() Router
}

// BasePeer is what is common to a peer at any age.
type BasePeer interface {
	// Close closes listeners, then drains all sessions within CloseTimeout, also those
	// that drain already, and cuts off what is left. Its error says what that was: calls,
	// and the handlers, hooks or codecs that had not returned. Of hooks it is returned
	// again until they have; else Close again does nothing and returns nil.
	io.Closer
	Sessions
	// SetTLSConfig sets the configuration for listening and dialling. After the
	// first Listen or Dial it changes nothing and is an error.
	SetTLSConfig(*tls.Config) error
	// SetTLSConfigFromFile reads certificate and key (PEM). After the first
	// Listen or Dial it is an error.
	SetTLSConfigFromFile(certFile, keyFile string, insecureSkipVerifyForClient ...bool) error
	// TLSConfig returns what was set, nil if nothing was.
	TLSConfig() *tls.Config
	// PluginContainer holds the plugins that all routes share.
	PluginContainer() *PluginContainer
}

// Sessions is the view on a peer's live sessions.
type Sessions interface {
	// CountSession is the number of ready (or redialling) sessions.
	CountSession() int
	// GetSession returns the session with this id. If there is none the
	// Session is nil.
	GetSession(id string) (Session, bool)
	// RangeSession calls f for each session until it returns false. f may do
	// anything, closing included.
	RangeSession(f func(Session) bool)
}

// Server is the listening side of a peer.
type Server interface {
	// Listen binds the configured address, serves in the background, and
	// returns. An error is logged as well. Without a protoFunc connections speak the peer's protocol. It may
	// be called again for other addresses only if the configured port is 0.
	Listen(protoFunc ...ProtoFunc) error
	// ListenAndServe is Listen that blocks until the peer is closed; it always
	// returns an error, ErrListenClosed after Close.
	ListenAndServe(protoFunc ...ProtoFunc) error
	// Addrs are the addresses listened on, ports resolved.
	Addrs() []net.Addr
	// ServeConn makes a session of a connection accepted elsewhere. It runs
	// PostAccept first; nil if that refused it (the log says why).
	ServeConn(conn net.Conn, protoFunc ...ProtoFunc) Session
}

// Dialer is the dialling side of a peer.
type Dialer interface {
	// Dial connects and returns the ready session. On failure the Session is
	// nil and the error is 105, or what a PostDial hook said. ":9090" is a port
	// of the local host; on unix networks addr is a path.
	Dial(addr string, protoFunc ...ProtoFunc) (Session, *Rerror)
	// DialContext is Dial that gives up when ctx ends.
	DialContext(ctx context.Context, addr string, protoFunc ...ProtoFunc) (Session, *Rerror)
}

// Router takes handlers. Peers and groups are Routers. Registration panics with
// words on a handler of a wrong shape, on a route taken twice, and on one that no
// message can reach: a service method is a URI reference, and its path leads to the
// route.
type Router interface {
	// SubRoute returns a group whose routes begin with prefix and share plugins.
	SubRoute(prefix string, plugin ...Plugin) SubRouter
	// RouteCall registers the methods of a struct that embeds CallCtx, and
	// returns the service methods they got. The struct's name is that of its type,
	// of a generic one without the type arguments: Math[int] is Math.
	RouteCall(ctrl any, plugin ...Plugin) []string
	// RouteCallFunc registers a function or a method expression.
	RouteCallFunc(fn any, plugin ...Plugin) string
	// RoutePush registers the methods of a struct that embeds PushCtx.
	RoutePush(ctrl any, plugin ...Plugin) []string
	// RoutePushFunc registers a function or a method expression.
	RoutePushFunc(fn any, plugin ...Plugin) string
	// SetUnknownCall sets the handler of all CALLs without a route of their
	// own: one a peer, whichever group it is set through.
	SetUnknownCall(fn func(UnknownCallCtx) (any, *Rerror), plugin ...Plugin)
	// SetUnknownPush is the same for PUSHes.
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

// BaseSession is a session as PostDisconnect sees it.
type BaseSession interface {
	Logger
	Peer() Peer
	// ID is unique among the peer's sessions. Unless set it is the remote
	// address of an accepted session and the first local address of a dialled one;
	// a redial does not change it.
	ID() string
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// ConnectionState is the TLS state of the session's connection, the certificates of
	// the peer included; nil without TLS. Connections that ModifySocket or a Network has
	// wrapped show it by a method ConnectionState of their own, or by NetConn.
	ConnectionState() *tls.ConnectionState
	// Swap holds what the user keeps with the session; it survives redials.
	Swap() *Swap
	// CloseReason says why the session ended; nil while it has not.
	CloseReason() *CloseReason
}

// CtxSession is a session as a handler sees it.
type CtxSession interface {
	Logger
	ID() string
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// ConnectionState is the TLS state of the present connection; nil without TLS.
	ConnectionState() *tls.ConnectionState
	Swap() *Swap
	// CloseNotify is closed when the session takes no more calls: on Close and
	// on a break that no redial will mend.
	CloseNotify() <-chan struct{}
	// Health reports whether calls are taken: ready or redialling.
	Health() bool
	// Call sends a CALL and waits for the reply, the context of WithContext, or
	// the end of the session, whichever is first. result is a pointer the reply
	// is decoded into, or nil. It must not be called in a hook that runs in the
	// reader.
	Call(serviceMethod string, arg, result any, setting ...MessageSetting) CallCmd
	// AsyncCall sends a CALL and returns. The finished CallCmd is sent to
	// callCmdChan, which must be buffered (it panics otherwise); nil means a
	// channel of its own. While that is full the command waits beside it, at most
	// until the session's end; then it is dropped, with a WARN. arg is not read
	// after AsyncCall has returned.
	AsyncCall(serviceMethod string, arg, result any, callCmdChan chan<- CallCmd, setting ...MessageSetting) CallCmd
	// Push sends a PUSH. nil means that the session has accepted it, in order;
	// not that the peer has got it. It waits for room in the outgoing batch, or
	// for a redial, until the context of WithContext ends. Errors: 102, 104, 408,
	// 499, and what a PreWritePush hook said.
	Push(serviceMethod string, arg any, setting ...MessageSetting) *Rerror
	// SessionAge is the life time of a session's connection; 0 is unlimited.
	SessionAge() time.Duration
	// ContextAge is how long a handler may take; 0 is unlimited.
	ContextAge() time.Duration
	// Queued is what was accepted for sending and has not been written, and what
	// waits for a redial.
	Queued() (messages, bytes int)
}

// Session is a connection with all it can do. Safe for concurrent use.
type Session interface {
	CtxSession
	Peer() Peer
	// SetID changes the id. A live session that has it is closed.
	SetID(id string)
	// SetSessionAge changes the age, counted from now.
	SetSessionAge(time.Duration)
	// SetContextAge changes the age of handlers that begin later.
	SetContextAge(time.Duration)
	// ControlFD calls f with the file descriptor; syscall.EINVAL where there is
	// none, net.ErrClosed after the end.
	ControlFD(f func(fd uintptr)) error
	// Close stops new calls, waits at most CloseTimeout for the pending ones
	// and for the batch, and returns nil, or an error that says how many calls
	// it cut off. Handlers that run may still reply for the rest of that time.
	// It may be called anywhere, in a handler of the session too.
	Close() error
	// Drain is Close that waits for handlers as well, until ctx ends; then it
	// cuts off what is left and returns ctx's error, which names the handlers. Called in a handler of the
	// session it waits for that one too: bound it, or use Close.
	Drain(ctx context.Context) error
	CloseReason() *CloseReason
}

// Breaker is what the sessions of this package are besides, for who knows better
// than the network that a connection is dead.
type Breaker interface {
	// Break gives the present connection up as if the network had failed with
	// cause, and reports whether there was one: pending calls, and those made until
	// the session has noticed, end with 102; a dialled session redials if it may,
	// any other ends. The cause is that of the CloseReason, of SideNetwork, which
	// calls and contexts wrap. It waits for nothing but the connection's own Close,
	// and may be called anywhere.
	Break(cause error) bool
}

// PreSession is a session that is being prepared: in PostDial, PostRedial and
// PostAccept, before its reader runs. The methods that send and receive work
// only there; elsewhere they fail with code 1. They bypass all hooks.
type PreSession interface {
	Logger
	Peer() Peer
	ID() string
	// SetID claims the id once all hooks have passed.
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
	// ModifySocket may replace the connection or its protocol; nil keeps what
	// there is. Bytes already read go to the new connection.
	ModifySocket(fn func(conn net.Conn) (modifiedConn net.Conn, newProtoFunc ProtoFunc))
	GetProtoFunc() ProtoFunc
	SessionAge() time.Duration
	ContextAge() time.Duration
	SetSessionAge(time.Duration)
	SetContextAge(time.Duration)

	// Send sends a message with a new sequence number; WithMtype sets its type.
	Send(serviceMethod string, body any, rerr *Rerror, setting ...MessageSetting) *Rerror
	// Receive reads one message. Its error is that of reading, not the message's.
	Receive(newBody NewBodyFunc, setting ...MessageSetting) (Message, *Rerror)
	// PreSend is Send of a given type.
	PreSend(mtype byte, serviceMethod string, body any, rerr *Rerror, setting ...MessageSetting) *Rerror
	// PreReceive is Receive whose error is the Rerror of the message.
	PreReceive(newBody NewBodyFunc, ctx ...context.Context) Message
	// PreCall sends a CALL and reads its reply into reply. CALLs and PUSHes that
	// come before the reply are kept, and handled in order once the session is
	// ready; all together may be as large as one message.
	PreCall(serviceMethod string, arg, reply any, setting ...MessageSetting) *Rerror
	// PreReply answers req, with its sequence number.
	PreReply(req Message, body any, rerr *Rerror, setting ...MessageSetting) *Rerror
	// RawPush sends a PUSH.
	RawPush(serviceMethod string, arg any, setting ...MessageSetting) *Rerror
}

// CallCmd is a call under way. Safe for concurrent use.
type CallCmd interface {
	Logger
	// TracePeer returns the peer; false for a fake.
	TracePeer() (Peer, bool)
	// TraceSession returns the session; false for a fake.
	TraceSession() (Session, bool)
	Context() context.Context
	// Output is the message sent.
	Output() Message
	// Rerror is the error of the finished call; nil before. It does not wait.
	Rerror() *Rerror
	// Done is closed when the call is finished.
	Done() <-chan struct{}
	// Reply waits for the end and returns result and error.
	Reply() (any, *Rerror)
	// InputBodyCodec waits for the end and returns the codec of the reply.
	InputBodyCodec() byte
	// InputMeta waits for the end and returns the reply's metadata; never nil.
	InputMeta() *Meta
	// CostTime waits for the end; 0 without CountTime.
	CostTime() time.Duration
}

// PreCtx is what every moment of a message sees.
type PreCtx interface {
	Logger
	Peer() Peer
	// Session is the session of the message, and a [Session]: ctx.Session().(tp.Session)
	// has Close, SetID and the rest.
	Session() CtxSession
	// IP is the remote address with its port, such as "10.0.0.7:53412"; the address
	// alone is of net.SplitHostPort.
	IP() string
	// RealIP is the metadata X-Real-IP, as it is, if a trusted proxy sent it, else IP.
	RealIP() string
	// ConnectionState is the TLS state of the connection that the message came by or
	// goes out on; nil without TLS. See BaseSession.
	ConnectionState() *tls.ConnectionState
	// Swap begins as a copy of the session's, and ends with this exchange: what is
	// stored here is gone after it. What is to stay is stored in Session().Swap().
	Swap() *Swap
	// Context ends with the handler, its deadline, or the session, whose
	// CloseReason is then its cause. A hook gives it values, those of ctx, by
	// tp.WithContext(ctx)(c.Input()): before the handler runs, each around the last
	// (ctx is made from c.Input().Context()).
	Context() context.Context
}

// WriteCtx is a message on its way out.
type WriteCtx interface {
	PreCtx
	// Output is the message. It has its sequence number. The service method of a REPLY
	// is that of the request, and never sent.
	Output() Message
	Rerror() *Rerror
}

// InputCtx is what contexts of incoming messages have in common.
type InputCtx interface {
	PreCtx
	Seq() int32
	// PeekMeta returns a metadata value, nil if there is none; valid until the
	// handler returns.
	PeekMeta(key string) []byte
	VisitMeta(f func(key, value []byte))
	// CopyMeta returns a copy to keep.
	CopyMeta() *Meta
	ServiceMethod() string
	// ResetServiceMethod replaces the service method; in a header hook that
	// reroutes the message.
	ResetServiceMethod(string)
	// UriObject is the parsed service method; changing it in a header hook
	// reroutes the message.
	UriObject() *url.URL
	// Path is UriObject().Path.
	Path() string
	// Query is the query of the service method.
	Query() url.Values
}

// ReadCtx is a message on its way in.
type ReadCtx interface {
	InputCtx
	// Input is the message. In the PreRead…Body hooks its Body is what the encoded body
	// will be decoded into: the handler's argument, or the result; no hook may keep it.
	// SetBody puts another value there: then it is for the plugin's PostRead…Body hook
	// to fill the argument or result. UnmarshalBody replaces the encoded body.
	Input() Message
	Rerror() *Rerror
}

// PushCtx is what a PUSH handler sees, valid until it returns. Session(),
// Context() and the decoded argument may be kept.
type PushCtx interface {
	InputCtx
	GetBodyCodec() byte
}

// CallCtx is what a CALL handler sees, valid until it returns. Session(),
// Context() and the decoded argument may be kept.
type CallCtx interface {
	InputCtx
	Input() Message
	Output() Message
	GetBodyCodec() byte
	// ReplyBodyCodec is the codec the reply will have.
	ReplyBodyCodec() byte
	SetBodyCodec(id byte)
	AddMeta(key, value string)
	SetMeta(key, value string)
	// AddXferPipe adds filters to the reply's pipe. It panics for an unknown id.
	AddXferPipe(filterID ...byte)
}

// UnknownPushCtx is what the handler of unknown PUSHes sees.
type UnknownPushCtx interface {
	InputCtx
	GetBodyCodec() byte
	// InputBodyBytes is the encoded body; the handler's for ever.
	InputBodyBytes() []byte
	// Bind decodes the body into v.
	Bind(v any) (codecID byte, err error)
}

// UnknownCallCtx is what the handler of unknown CALLs sees.
type UnknownCallCtx interface {
	UnknownPushCtx
	SetBodyCodec(id byte)
	AddMeta(key, value string)
	SetMeta(key, value string)
	AddXferPipe(filterID ...byte)
}
