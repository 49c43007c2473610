package websocket

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"

	tp "github.com/teleport-go/teleport/core"
)

// Server is a peer that listens for WebSocket, and can serve pages on the same port.
type Server struct {
	tp.Peer
	network *network
	pages   pages
	proxies []netip.Prefix // PeerConfig.TrustedProxies
}

// errNetwork is the error of v5 and v7.
//
//lint:ignore ST1005 the text is that of v5 and v7, which users search for
var errNetwork = fmt.Errorf("Invalid network config, refer to the following: tcp, tcp4, tcp6")

// base returns the network below WebSocket.
func base(cfg *tp.PeerConfig) string {
	switch cfg.Network {
	case "", "ws", "wss":
		return "tcp"
	case "tcp", "tcp4", "tcp6":
		return cfg.Network
	}
	panic(errNetwork)
}

// NewServer returns a server for the URLs with the path rootPath. cfg.Network is tcp, tcp4,
// tcp6, or ws, which is tcp. It panics for any other, and for all that tp.NewPeer panics
// for.
func NewServer(rootPath string, cfg tp.PeerConfig, globalLeftPlugin ...tp.Plugin) *Server {
	s := &Server{network: &network{name: "ws", base: base(&cfg), options: Options{Path: rootPath}}}
	n := s.network.network()
	cfg.Network, cfg.Net = "", &n
	s.Peer = tp.NewPeer(cfg, globalLeftPlugin...)
	s.proxies, _ = parseProxies(cfg.TrustedProxies) // which NewPeer has checked
	return s
}

// SetOptions sets the options, but the path stays that of NewServer. It is called before
// Listen or ListenAndServe, which return an error for invalid ones.
func (s *Server) SetOptions(o Options) {
	o.Path = s.network.options.Path
	s.network.options = o
}

// SetHandshake sets Options.Handshake. It is called before Listen or ListenAndServe.
func (s *Server) SetHandshake(handshake Handshake) { s.network.options.Handshake = handshake }

// Handle registers a handler for requests that are not for WebSocket, as http.ServeMux
// does. It is called before Listen or ListenAndServe.
func (s *Server) Handle(pattern string, handler http.Handler) {
	s.pages.mux.Handle(pattern, handler)
	s.network.pages = func(conn net.Conn) { s.pages.serve(conn, http.HandlerFunc(s.upgrade)) }
}

// upgrade handles a request for WebSocket that came behind another request of the
// connection.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != s.network.options.path() {
		http.NotFound(w, r)
		return
	}
	(&handler{s.Peer, s.network.options, s.proxies}).ServeHTTP(w, r)
}

// HandleFunc is Handle for a function.
func (s *Server) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	s.Handle(pattern, http.HandlerFunc(handler))
}

// Listen is that of tp.Peer. The protoFunc is the sub-protocol of clients that name none,
// without it that of SetOptions, or the JSON layout of v5 and v7.
func (s *Server) Listen(protoFunc ...tp.ProtoFunc) error {
	return s.Peer.Listen(s.proto(protoFunc))
}

// ListenAndServe is that of tp.Peer; for the protoFunc see Listen.
func (s *Server) ListenAndServe(protoFunc ...tp.ProtoFunc) error {
	return s.Peer.ListenAndServe(s.proto(protoFunc))
}

// ListenAndServeJSON is ListenAndServe with the JSON layout of v5 and v7.
func (s *Server) ListenAndServeJSON() error { return s.ListenAndServe(NewJSONSubProtoFunc()) }

// ListenAndServeProtobuf is ListenAndServe with the protobuf layout of v5 and v7.
func (s *Server) ListenAndServeProtobuf() error { return s.ListenAndServe(NewPbSubProtoFunc()) }

func (s *Server) proto(protoFunc []tp.ProtoFunc) tp.ProtoFunc {
	if len(protoFunc) > 0 && protoFunc[0] != nil {
		s.network.options.Proto = protoFunc[0]
	}
	return NewWsProtoFunc(s.network.options.Proto)
}

// Close closes the peer and the connections that pages are served on.
func (s *Server) Close() error {
	s.pages.close()
	return s.Peer.Close()
}
