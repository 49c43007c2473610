package websocket

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
)

// NewServeHandler returns a handler for a web server of net/http, which makes its
// connections sessions of the peer. handshake may be nil. The protoFunc is the sub-protocol
// of clients that name none, without it the JSON layout of v5 and v7; teleport.json,
// teleport.pb and teleport.raw are known by name.
func NewServeHandler(peer tp.Peer, handshake Handshake, protoFunc ...tp.ProtoFunc) http.Handler {
	o := Options{Handshake: handshake}
	if len(protoFunc) > 0 {
		o.Proto = protoFunc[0]
	}
	return NewHandler(peer, o)
}

// NewJSONServeHandler is NewServeHandler with the JSON layout of v5 and v7.
func NewJSONServeHandler(peer tp.Peer, handshake Handshake) http.Handler {
	return NewServeHandler(peer, handshake, NewJSONSubProtoFunc())
}

// NewPbServeHandler is NewServeHandler with the protobuf layout of v5 and v7.
func NewPbServeHandler(peer tp.Peer, handshake Handshake) http.Handler {
	return NewServeHandler(peer, handshake, NewPbSubProtoFunc())
}

// NewJSONSubProtoFunc returns the sub-protocol of v5 and v7 in JSON.
func NewJSONSubProtoFunc() tp.ProtoFunc { return jsonproto.NewUnframedProtoFunc() }

// NewPbSubProtoFunc returns the sub-protocol of v5 and v7 in protobuf.
func NewPbSubProtoFunc() tp.ProtoFunc { return pbproto.NewUnframedProtoFunc() }

// NewHandler is NewServeHandler with all options. It panics if they are invalid.
func NewHandler(peer tp.Peer, o Options) http.Handler {
	if err := o.check(); err != nil {
		panic(err)
	}
	proxies, _ := parseProxies(o.TrustedProxies)
	return &handler{peer, o, proxies}
}

type handler struct {
	peer    tp.Peer
	options Options
	proxies []netip.Prefix
}

// answerTimeout bounds the write of the answer, whose bytes fit into an empty buffer of any
// socket.
const answerTimeout = 10 * time.Second

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u, no := h.options.upgrade(r, h.peer)
	if no != nil {
		if no.header[0] != "" {
			w.Header().Set(no.header[0], no.header[1])
		}
		w.Header().Set("Connection", "close")
		http.Error(w, no.text, no.status)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil { // it is not of HTTP/1, or something has wrapped w
		http.Error(w, "this web server cannot hand a connection over: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if c, ok := conn.(*readConn); ok && len(c.rest) == 0 {
		conn = c.Conn
	}
	facts := tp.ConnFacts{Swap: u.values}
	if n := buffered.Reader.Buffered(); n > 0 {
		facts.Read, _ = buffered.Reader.Peek(n)
	}
	if contains(h.proxies, conn.RemoteAddr()) {
		facts.RealIP = forwardedFor(r)
	}
	conn.SetDeadline(time.Now().Add(answerTimeout)) // in place of the server's
	if _, err := conn.Write(u.appendAnswer(nil)); err != nil {
		conn.Close()
		return
	}
	conn.SetDeadline(time.Time{})
	if u.resumes {
		if conn = h.accept(r, conn, &facts); conn == nil {
			return
		}
	}
	if _, rerr := h.peer.ServeConnWith(conn, facts, u.proto(h.options.Proto)); rerr != nil {
		tp.Debugf("websocket: %s was refused: %s", r.RemoteAddr, rerr)
	}
}

// accept returns the stream that begins with the connection; nil if that goes on with
// another one, or was refused.
func (h *handler) accept(r *http.Request, conn net.Conn, facts *tp.ConnFacts) net.Conn {
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	defer cancel()
	stream, err := h.options.Resume.Accept(ctx, newCarrier(conn, facts.Read, false), *facts)
	if err != nil {
		tp.Debugf("websocket: %s was refused: %v", r.RemoteAddr, err)
		conn.Close()
	}
	facts.Read = nil
	return stream
}
