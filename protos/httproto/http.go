// Package httproto frames messages as HTTP/1.1: a CALL is a request, its REPLY
// the response. Programs of any kind can call (net/http, curl, browsers), and so
// can peers of v5 and v7; a PUSH, which has no response, cannot be sent.
//
// A request that carries X-Seq, as those of peers do, is one of many under way
// and is answered whenever its handler is done. One without it is answered before
// the next one of its kind is handled. Importing the package, or calling
// NewHTTProtoFunc or New, sets nothing but the name "http".
package httproto

import (
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/socket"
)

// ID and Name of the protocol.
const (
	ID   byte = 'h'
	Name      = "http"
)

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewHTTProtoFunc(), Recognise: recognise})
}

// Dialect is the version whose way of writing is used. They differ in the
// User-Agent of requests and in the keys of an error: code, message, reason or
// code, msg, cause. Both are read, whatever the dialect.
type Dialect byte

const (
	V5 Dialect = 1 + iota // Teleport v5
	V7                    // eRPC v6 and v7
)

const (
	agentV5 = "teleport-httproto/1.1"
	agentV7 = "erpc-httproto/1.1"
)

// String returns "v5" or "v7".
func (d Dialect) String() string {
	switch d {
	case V5:
		return "v5"
	case V7:
		return "v7"
	}
	return "dialect " + strconv.Itoa(int(d))
}

func (d Dialect) valid() bool { return d == V5 || d == V7 }

// ofAgent returns the dialect of a peer with this User-Agent, 0 for all others.
func ofAgent(agent []byte) Dialect {
	switch string(agent) {
	case agentV5:
		return V5
	case agentV7:
		return V7
	}
	return 0
}

const (
	maxHead    = 64 << 10 // bytes of a request or status line and its headers, and of trailers
	maxHeaders = 1000     // lines of these
	maxOpen    = 1000     // requests without X-Seq that wait for their response
)

// Config is what a program can choose about the protocol. The zero value is what
// NewHTTProtoFunc() chooses.
type Config struct {
	// Dialect is that of requests until the connection has read one of a peer;
	// 0 is V5.
	Dialect Dialect

	// Codecs are the ids of the body codecs that requests may use. A request
	// whose body is of another type, or of none, is answered with 415 and not
	// handled. If it is empty, every body is taken: one whose type names no codec
	// reaches handlers that take bytes, and is 415 for all others.
	Codecs []byte

	// Status returns the HTTP status for the code of an error, from 400 to 599 or
	// 299; whatever else it returns, 0 for example, stands for the status that the
	// package chooses. It decides neither for peers of v5 and v7, which get 299,
	// nor for requests that the protocol itself refuses, nor for those that a
	// session refuses because it drains (503). It is called concurrently, while a
	// session writes, and must not use one.
	Status func(code int32) int
}

// NewHTTProtoFunc returns the protocol, to be given to Dial or Listen. Without a
// dialect requests are V5's; further dialects are ignored. An accepted
// connection takes the dialect of the first peer's request it reads.
func NewHTTProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	var cfg Config
	if len(dialect) > 0 {
		cfg.Dialect = dialect[0]
	}
	return New(cfg)
}

// New is NewHTTProtoFunc for a program that chooses more than the dialect.
func New(cfg Config) socket.ProtoFunc {
	if cfg.Dialect == 0 {
		cfg.Dialect = V5
	}
	cfg.Codecs = slices.Clone(cfg.Codecs)
	return func(rw io.ReadWriter) socket.Proto {
		p := &httpProto{rw: rw, cfg: &cfg}
		p.room, _ = rw.(socket.BufferWriter)
		p.emit, _ = rw.(socket.Emitter)
		p.keeper, _ = rw.(socket.Keeper)
		if in, ok := rw.(socket.PeekReader); ok {
			p.in = in
		} else {
			p.in = &peeker{r: rw}
		}
		if s, ok := rw.(socket.Sider); ok {
			p.dialed = s.Dialed()
		}
		p.dialect.Store(uint32(cfg.Dialect))
		return p
	}
}

// Register registers the protocol with this configuration under a name of its own, for
// PeerConfig.Protocols, which lists protocols of one port by name; for init, or before
// the first Listen of the peer. Like socket.RegisterProto it panics if the name is
// taken. The name "http" stays that of the zero Config.
func Register(name string, cfg Config) {
	socket.RegisterProto(socket.Protocol{Name: name, New: New(cfg), Recognise: recognise})
}

// httpProto is the protocol on one connection.
type httpProto struct {
	rw  io.ReadWriter
	cfg *Config

	in     socket.PeekReader   // rw, or a buffer before it
	room   socket.BufferWriter // rw, if it is one
	emit   socket.Emitter      // rw, if it is one
	keeper socket.Keeper       // rw, if it is one
	dialed bool                // rw says so

	dialect atomic.Uint32 // a Dialect: that of requests
	peer    atomic.Uint32 // a Dialect: that of the peer's requests; 0 while it is not known
	heard   atomic.Bool   // the first line of a message has been read
	ended   atomic.Bool   // a response with "Connection: close" was packed

	mu    sync.Mutex // guards what follows
	turns turns
	calls calls

	// The rest belongs to the goroutine that calls Unpack.
	head    head   // of the message that is read
	closing bool   // nothing more is read
	body    []byte // a body that was put together
	plain   []byte // a body that came compressed
	name    []byte // of a header
	query   socket.Meta
}

var (
	_ socket.FrameAppender = (*httpProto)(nil)
	_ socket.Ender         = (*httpProto)(nil)
	_ socket.ByeCarrier    = (*httpProto)(nil)
	_ socket.Abandoner     = (*httpProto)(nil)
	_ socket.Carrier       = (*httpProto)(nil)
)

// CarriesBye reports whether the client may be a peer of this project: those send the
// User-Agent of V5, and an X-Seq by which a response is known. One that has asked nothing
// yet gets a response that every client understands.
func (p *httpProto) CarriesBye() bool {
	return !p.dialed && !p.ended.Load() && (Dialect(p.peer.Load()) == V5 || !p.heard.Load())
}

// Abandons reports whether this is the server: a client that hangs up has no other way to
// say that it waits for no response.
func (p *httpProto) Abandons() bool { return !p.dialed }

// Version returns 'h' and "http".
func (p *httpProto) Version() (byte, string) { return ID, Name }

// Ended reports whether a response with "Connection: close" was packed.
func (p *httpProto) Ended() bool { return p.ended.Load() }

// maxMethod is the longest method that recognise knows.
const maxMethod = 16

// recognise looks for a method in capital letters and a space, or for "HTTP/1.".
func recognise(prefix []byte) (match bool, need int) {
	const response = "HTTP/1."
	n := min(len(prefix), len(response))
	if n > 4 && string(prefix[:n]) == response[:n] {
		return n == len(response), missing(n, len(response))
	}
	for i, c := range prefix {
		switch {
		case c == ' ' && i >= 3:
			return true, 0
		case c < 'A' || c > 'Z' || i >= maxMethod:
			return false, 0
		}
	}
	return false, len(prefix) + 1
}

func missing(have, want int) int {
	if have < want {
		return want
	}
	return 0
}
