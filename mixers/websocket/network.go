package websocket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

func init() {
	tp.RegisterNetwork(newNetwork("ws", "tcp", Options{}))
	tp.RegisterNetwork(newNetwork("wss", "tcp", Options{}))
}

// Network returns the network ws with options, for PeerConfig.Net. With a TLS configuration
// it is wss. A peer dials, listens, redials and drains over it as over tcp.
//
// A dialled connection offers one sub-protocol, that of the protocol of the peer or of
// Dial: teleport.raw for raw, teleport.json for json, teleport.pb for protobuf, and
// teleport.NAME for another with the name NAME, whose frames are the messages. A protocol
// of NewWsProtoFunc has no name: it offers none, and a server takes the client for one of
// v5 or v7. A listening peer knows them all.
func Network(o Options) *tp.Network {
	n := newNetwork("ws", "tcp", o)
	return &n
}

// newNetwork returns a network over the network base.
func newNetwork(name, base string, o Options) tp.Network {
	n := network{name: name, base: base, options: o}
	return n.network()
}

// network is the network of a client, or of a server.
type network struct {
	name, base string
	options    Options

	// pages serves a request that does not ask for the Path of the options; it may be nil.
	// It owns the connection then.
	pages func(conn net.Conn)
}

func (n *network) network() tp.Network {
	return tp.Network{Name: n.name, Dial: n.dial, Listen: n.listen, Handshake: n.handshake, Resume: n.resume}
}

var errNoTLS = errors.New("websocket: the network wss needs a TLS configuration: see SetTLSConfig of the peer")

// check returns an error for a peer that cannot work.
func (n *network) check(cfg *tls.Config) (tp.Network, error) {
	if n.name == "wss" && cfg == nil {
		return tp.Network{}, errNoTLS
	}
	if err := n.options.check(); err != nil {
		return tp.Network{}, err
	}
	return tp.LookupNetwork(n.base)
}

func (n *network) dial(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
	base, err := n.check(d.TLS)
	if err != nil {
		return nil, err
	}
	d.Network = n.base
	conn, err := base.Dial(ctx, d)
	if err == nil && n.options.Resume != nil {
		conn = &configured{conn, d}
	}
	return conn, err
}

func (n *network) listen(ctx context.Context, l tp.ListenConfig) (net.Listener, error) {
	base, err := n.check(l.TLS)
	if err != nil {
		return nil, err
	}
	l.Network = n.base
	lis, err := base.Listen(ctx, l)
	if r, ok := n.options.Resume.(listening); ok && err == nil {
		lis = r.Listener(lis, l)
	}
	return lis, err
}

func (n *network) handshake(ctx context.Context, h *tp.Handshake) error {
	if h.Dialed {
		return n.dialed(ctx, h)
	}
	return n.accepted(ctx, h)
}

// dialed is the handshake of a client.
func (n *network) dialed(ctx context.Context, h *tp.Handshake) error {
	sub := subProtocolOf(h.Proto)
	if n.options.Resume != nil {
		return n.dialStream(ctx, h, sub)
	}
	if sub.New == nil {
		rest, _, err := n.options.clientHandshake(h.Conn, hostOf(h.Addr), originOf(h.Conn, n.options.path()), "")
		h.Facts.Read = rest
		return answered(err)
	}
	if !isToken(sub.Name) {
		return notToken(sub)
	}
	rest, control, err := n.options.clientHandshake(h.Conn, hostOf(h.Addr), "", sub.Name)
	h.Facts.Read, h.Proto = rest, newProtoFunc(link{name: sub.Name, control: control}, sub.New)
	return answered(err)
}

// answered turns the refusals that end redialling into errors with these codes.
func answered(err error) error {
	var a *AnswerError
	if errors.As(err, &a) && (a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden) {
		return tp.NewRerror(int32(a.Status), tp.CodeText(int32(a.Status)), a.Error()).WithCause(err).Err()
	}
	return err
}

// hostOf returns the value of the header Host for an address that was dialled.
func hostOf(addr string) string {
	if strings.HasPrefix(addr, ":") {
		return "localhost" + addr
	}
	return addr
}

// originOf returns the Origin that clients of v5 and v7 send.
func originOf(conn net.Conn, path string) string {
	return "ws://" + conn.LocalAddr().String() + (&url.URL{Path: path}).EscapedPath()
}

// subProtocolOf returns the sub-protocol that a protocol is, without a function if it is one
// of NewWsProtoFunc. Of several protocols on one port it is the first.
func subProtocolOf(pf socket.ProtoFunc) SubProtocol {
	p := pf(closedConn{})
	switch p.(type) {
	case *wsProto, *appender:
		return SubProtocol{}
	}
	_, name := p.Version()
	if _, ok := p.(socket.FrameAppender); !ok {
		// That of socket.AnyProto has nothing to recognise here, and cannot append.
		if known, err := socket.LookupProto(name); err == nil {
			pf = known.New
		}
	}
	switch name = "teleport." + name; name {
	case "teleport.protobuf":
		return builtIn(SubPb)
	case SubJSON:
		return builtIn(SubJSON)
	}
	return SubProtocol{name, pf}
}

// builtIn is the sub-protocol of that name.
func builtIn(name string) SubProtocol {
	for _, s := range subProtocols {
		if s.Name == name {
			return s
		}
	}
	return SubProtocol{}
}

// closedConn is what a protocol is made for to learn its name.
type closedConn struct{}

func (closedConn) Read([]byte) (int, error)  { return 0, io.EOF }
func (closedConn) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// lingerTime is how long a refused client may take to read why.
const lingerTime = time.Second

// errPage is the error of a handshake whose connection was handed to a web server.
var errPage = fmt.Errorf("websocket: the request is for a page: %w", io.EOF)

// accepted is the handshake of a server.
func (n *network) accepted(ctx context.Context, h *tp.Handshake) error {
	head, rest, err := readHead(&requestReader{r: h.Conn})
	if err != nil {
		if errors.Is(err, errHead) {
			n.refuse(h.Conn, &refusal{status: http.StatusRequestHeaderFieldsTooLarge, text: err.Error()})
		}
		return err
	}
	r, err := parseRequest(head)
	if err != nil {
		err = fmt.Errorf("websocket: request %.60q: %w", head, err)
		n.refuse(h.Conn, bad(err.Error()))
		return err
	}
	if r.URL.Path != n.options.path() || n.pages != nil && !isUpgrade(r) {
		if n.pages != nil {
			n.pages(&readConn{Conn: h.Conn, rest: append(head, rest...)})
			h.Conn = noClose{h.Conn}
			return errPage
		}
		no := &refusal{status: http.StatusNotFound, text: fmt.Sprintf("the path is %.100q", n.options.path())}
		n.refuse(h.Conn, no)
		return no
	}
	r.RemoteAddr = h.Conn.RemoteAddr().String()
	r.TLS = tlsState(h.Conn)
	o, own := n.ownSubProtocols(h)
	u, no := o.upgrade(r.WithContext(ctx), h.Peer)
	if no != nil {
		n.refuse(h.Conn, no)
		return no
	}
	if _, err := h.Conn.Write(u.appendAnswer(nil)); err != nil {
		return err
	}
	h.Facts.Read, h.Facts.Swap = rest, u.values
	if h.Trusted {
		h.Facts.RealIP = forwardedFor(r)
	}
	if u.sub != nil || own {
		h.Proto = u.proto(o.Proto)
	}
	if u.resumes {
		return o.acceptStream(ctx, h)
	}
	return nil
}

// ownSubProtocols returns the options with the protocol of the peer among the sub-protocols;
// own is false if that is one of NewWsProtoFunc, which clients without a sub-protocol get.
func (n *network) ownSubProtocols(h *tp.Handshake) (o Options, own bool) {
	o = n.options
	p := subProtocolOf(h.Proto)
	if own = p.New != nil; own {
		o.SubProtocols = append(o.SubProtocols[:len(o.SubProtocols):len(o.SubProtocols)], p)
	}
	return o, own
}

// parseRequest parses the head of a request.
func parseRequest(head []byte) (*http.Request, error) {
	b := parsers.Get().(*parser)
	defer parsers.Put(b)
	r, err := http.ReadRequest(b.reader(head))
	if err != nil {
		return nil, err
	}
	for name := range r.Header {
		if !isToken(name) { // which http.ReadRequest leaves to http.Server
			return nil, fmt.Errorf("%.60q is no name of a header", name)
		}
	}
	return r, nil
}

// refuse answers a request with a refusal, and waits until the client has closed the
// connection: to close it with bytes unread would reset it, and the client could lose the
// answer.
func (n *network) refuse(conn net.Conn, r *refusal) {
	conn.SetDeadline(time.Now().Add(lingerTime))
	if _, err := conn.Write(r.append(nil)); err != nil {
		return
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		io.CopyN(io.Discard, conn, maxHead)
	}
}

// requestReader reads a request. It fails as soon as it sees that it is none.
type requestReader struct {
	r     io.Reader
	begin []byte // what has arrived, until the method is known
	known bool
}

// maxMethod is the longest method of a request.
const maxMethod = 16

func (r *requestReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if r.known || n == 0 {
		return n, err
	}
	r.begin = append(r.begin, b[:n]...)
	for i, c := range r.begin {
		if c == ' ' && i > 0 {
			r.known, r.begin = true, nil
			return n, err
		}
		if c < 'A' || c > 'Z' || i == maxMethod {
			return n, notRequest(r.begin)
		}
	}
	return n, err
}

// notRequest is the error of a connection that does not begin with a request.
func notRequest(begin []byte) error {
	if err := socket.TLSRecord(begin); err != nil {
		return fmt.Errorf("websocket: %w", err)
	}
	like := ""
	if l := socket.LooksLike(begin); l != "" {
		like = ", which looks like " + l
	}
	return fmt.Errorf("websocket: the connection begins with %.32q%s, and not with a request of HTTP: %w", begin, like, socket.ErrUnsupportedProto)
}

// readConn is a connection of which some bytes have been read already.
type readConn struct {
	net.Conn
	rest []byte
}

func (c *readConn) Read(b []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// noClose is a connection that somebody else closes.
type noClose struct{ net.Conn }

func (noClose) Close() error { return nil }
