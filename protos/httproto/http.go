// Package httproto frames messages as HTTP/1.1: a CALL is a request, its REPLY
// the response. Programs of any kind can call (net/http, curl, browsers), and so
// can peers of the older ages; a PUSH, which has no response, cannot be sent.
//
// A request that carries X-Seq, as those of peers do, is one of many under way
// and is answered whenever its handler is done. One without it is answered before
// the next one of its kind is handled. Importing the package, or calling
// NewHTTProtoFunc, sets nothing but the name "http".
package httproto

import (
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/socket"
)

// Id and name of the protocol.
const (
	ID   byte = 'h'
	Name      = "http"
)

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewHTTProtoFunc(), Recognise: recognise})
}

// Dialect is an older age whose way of writing is used. They differ in the
// User-Agent of requests and in the keys of an error: code, message, reason or
// code, msg, cause. Both are read from everybody.
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

// NewHTTProtoFunc returns the protocol, to be given to Dial or Listen. Without a
// dialect requests are V5's; further dialects are ignored. An accepted
// connection takes the dialect of the first peer's request it reads.
func NewHTTProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	speaks := V5
	if len(dialect) > 0 && dialect[0] != 0 {
		speaks = dialect[0]
	}
	return func(rw io.ReadWriter) socket.Proto {
		p := &httpProto{rw: rw}
		p.room, _ = rw.(socket.BufferWriter)
		p.emit, _ = rw.(socket.Emitter)
		if in, ok := rw.(socket.PeekReader); ok {
			p.in = in
		} else {
			p.in = &peeker{r: rw}
		}
		if s, ok := rw.(socket.Sider); ok {
			p.dialed = s.Dialed()
		}
		p.speaks.Store(uint32(speaks))
		return p
	}
}

// httpProto is the protocol on one connection.
type httpProto struct {
	rw     io.ReadWriter
	in     socket.PeekReader   // rw, or a buffer before it
	room   socket.BufferWriter // rw, if it is one
	emit   socket.Emitter      // rw, if it is one
	dialed bool

	speaks atomic.Uint32 // a Dialect: that of requests
	peer   atomic.Uint32 // a Dialect: that of the peer's requests; 0 while it is not known
	ended  atomic.Bool   // a response has said that it is the last

	mu      sync.Mutex       // guards what follows
	open    map[int32]origin // by the number that stands for an X-Seq
	last    int32            // such number: negative, as no peer's X-Seq is
	waiting uint64           // bytes of these requests
	calls

	// The rest belongs to who calls Unpack.
	head    head   // of the message that is read
	closing bool   // nothing more is read
	body    []byte // a body that came in chunks
	plain   []byte // a body that came compressed
	name    []byte // of a header
	query   socket.Meta
}

// origin is what the response to a request has to know of it.
type origin struct {
	seq    int32 // its X-Seq, if it had one
	hasSeq bool
	close  bool    // the connection ends with the response
	keep   bool    // HTTP/1.0 has to be told that it does not
	size   uint32  // of the request
	head   bool    // no body is sent
	gzip   bool    // the client takes gzip
	sender Dialect // by the User-Agent; 0 for a client that is no peer

	status int    // not 0: what the protocol itself has to say
	allow  string // Allow of the response
}

// calls matches responses without X-Seq, as servers that are no peers send them.
// They can only be told apart while there is one CALL under way.
type calls struct {
	echo    bool // a response had its X-Seq: nothing needs to be counted
	pending int
	seq     int32 // of the last CALL
}

var (
	_ socket.FrameAppender = (*httpProto)(nil)
	_ socket.Ender         = (*httpProto)(nil)
)

// Version returns 'h' and "http".
func (p *httpProto) Version() (byte, string) { return ID, Name }

// Ended reports whether a response with "Connection: close" was packed.
func (p *httpProto) Ended() bool { return p.ended.Load() }

// opened keeps what the response needs, and returns the number for it; false if
// too much waits for a response: a thousand requests, or a message's limit of
// bytes. One that is the last is always taken.
func (p *httpProto) opened(o origin, limit uint32) (seq int32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.open)
	if !o.close && n > 0 && (n >= maxOpen || p.waiting+uint64(o.size) > uint64(limit)) {
		return 0, false
	}
	p.waiting += uint64(o.size)
	if p.open == nil {
		p.open = make(map[int32]origin)
	}
	for taken := true; taken; _, taken = p.open[p.last] {
		if p.last--; p.last >= 0 { // below the smallest
			p.last = -1
		}
	}
	p.open[p.last] = o
	return p.last, true
}

// idle reports whether no request without X-Seq waits for its response.
func (p *httpProto) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open) == 0
}

// origin returns what a response has to know.
func (p *httpProto) origin(seq int32) (o origin, ok bool) {
	if seq >= 0 {
		return origin{seq: seq, hasSeq: true, gzip: true, sender: Dialect(p.peer.Load())}, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok = p.open[seq]
	return o, ok
}

// answered forgets a request, whose response is complete.
func (p *httpProto) answered(seq int32, o origin) {
	if seq < 0 {
		p.mu.Lock()
		delete(p.open, seq)
		p.waiting -= uint64(o.size)
		p.mu.Unlock()
	}
	if o.close {
		p.ended.Store(true)
	}
}

// called counts a CALL.
func (p *httpProto) called(seq int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.echo {
		p.pending++
		p.seq = seq
	}
}

// oldest returns the seq of the last CALL, and how many wait for a response that
// will not say it; one of them has got it now.
func (p *httpProto) oldest() (seq int32, pending int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pending = p.pending
	if p.echo {
		pending = 0
	}
	p.pending = max(p.pending-1, 0)
	return p.seq, pending
}

// echoed notes that the other side says which request a response belongs to.
func (p *httpProto) echoed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.echo = true
}

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
