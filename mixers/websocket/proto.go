package websocket

import (
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
	"github.com/teleport-go/teleport/protos/jsonproto"
)

// ID and Name are what Version of the protocol returns.
const (
	ID   byte = 'w'
	Name      = "websocket"
)

// Texter is a protocol whose frames are UTF-8 text: they travel in text messages, which
// is what a script in a browser receives as a string. Those of other protocols travel in
// binary messages.
type Texter interface{ Text() bool }

// NewWsProtoFunc returns the protocol of a connection on which the handshake is over: each
// frame of the sub-protocol is a message of RFC 6455. The sub-protocol may be any
// protocol; without one it is the JSON layout of v5 and v7. Further ones are ignored.
//
// Messages arrive in fragments too, as text or binary. A message is written in one frame.
func NewWsProtoFunc(subProto ...socket.ProtoFunc) socket.ProtoFunc {
	sub := jsonproto.NewUnframedProtoFunc()
	if len(subProto) > 0 && subProto[0] != nil {
		sub = subProto[0]
	}
	return newProtoFunc(link{}, sub)
}

// link is what the handshake has found out about a connection.
type link struct {
	name    string // by which the client has chosen the sub-protocol; "": it has named none
	control bool   // both sides have said that they read CONTROL
	stream  bool   // the frames are in a stream of Options.Resume
}

// newProtoFunc is NewWsProtoFunc for a connection about which more is known.
func newProtoFunc(l link, sub socket.ProtoFunc) socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		p := new(appender) // a part of it is used if the sub-protocol cannot append: few cannot
		p.init(rw, l, sub)
		var ok bool
		if p.app, ok = p.sub.(socket.FrameAppender); ok {
			return p
		}
		return &p.wsProto
	}
}

func (p *wsProto) init(rw io.ReadWriter, l link, sub socket.ProtoFunc) {
	p.rw, p.in, p.op, p.link = rw, framing.NewReader(Name, rw), opBinary, l
	p.message.p = p
	p.peek, _ = rw.(socket.PeekReader)
	if s, ok := rw.(socket.Sider); ok {
		p.server, p.client = !s.Dialed(), s.Dialed()
		p.masks = p.client && !l.stream
	}
	p.sub = sub(&p.message)
	if t, ok := p.sub.(Texter); ok && t.Text() {
		p.op = opText
	}
}

// wsProto wraps a sub-protocol. Unpack owns its state but what is marked.
type wsProto struct {
	rw   io.ReadWriter
	peek socket.PeekReader // rw, if it is one
	sub  socket.Proto      // set once
	link link              // set once
	in   framing.Reader
	op   byte // of the messages that are written; set once

	// The side of the connection, set once: a client masks, a server does not. In tests
	// without an engine it may be neither; then either is read, and nothing is masked. In a
	// stream nothing is: the frames of its connections are.
	server, client, masks bool

	left atomic.Bool   // a close frame was sent; set by any goroutine
	code atomic.Uint32 // the close code that fits what Unpack has read last; 0: none

	message message // what the sub-protocol reads and writes
	total   uint64  // of the frames of a fragmented message that have arrived
	first   byte    // opcode of the first one of them
	joined  []byte  // their payloads, until Unpack returns
	ended   error   // of every further Unpack: a close frame has arrived, or Unpack has failed
}

var (
	_ socket.ControlCarrier = (*wsProto)(nil)
	_ socket.Parter         = (*wsProto)(nil)
	_ socket.Carrier        = (*wsProto)(nil)
	_ socket.Interruptible  = (*wsProto)(nil)
	_ socket.FrameAppender  = (*appender)(nil)
)

// Version returns ID and Name.
func (p *wsProto) Version() (byte, string) { return ID, Name }

// CarriesControl reports whether both sides have said so in the handshake, or else asks the
// sub-protocol. A page cannot say so in its handshake: a script written by hand does not
// expect CONTROL, and one with teleport.js sends the first.
func (p *wsProto) CarriesControl() bool {
	c, ok := p.sub.(socket.ControlCarrier)
	return p.link.control || ok && c.CarriesControl()
}

// errLeft is the error of a message after the close frame.
var errLeft = fmt.Errorf("websocket: a close frame was sent, after which no message may follow: %w", io.ErrClosedPipe)

// Pack is for a sub-protocol that cannot append: it writes its frame into p.message.
func (p *wsProto) Pack(m socket.Message) error {
	const room = maxHeader
	p.message.out = append(p.message.out[:0], make([]byte, room)...)
	if err := p.sub.Pack(m); err != nil {
		return err
	}
	frame, err := p.finish(p.message.out, 0, room, m)
	if cap(p.message.out) > framing.OwnFrom {
		p.message.out = nil // one large message must not stay in memory
	}
	if err != nil {
		return err
	}
	_, err = p.rw.Write(frame)
	return err
}

// finish makes the frame that begins at out[at] of a payload that begins room bytes behind
// that, and returns out. If the message or the connection refuses the frame it returns an
// error.
func (p *wsProto) finish(out []byte, at, room int, m socket.Message) ([]byte, error) {
	n := len(out) - at - room
	size := putSize(n, p.masks)
	if int64(size)+int64(n) > math.MaxUint32 {
		return out, fmt.Errorf("websocket: message of %d bytes: %w", n, socket.ErrSizeLimit)
	}
	if p.op == opText && !utf8.Valid(out[at+room:]) {
		return out, fmt.Errorf("websocket: the text message of %q is not UTF-8", m.ServiceMethod())
	}
	if p.left.Load() {
		return out, errLeft
	}
	if err := m.SetSize(uint32(size + n)); err != nil {
		return out, err
	}
	switch {
	case size < room:
		copy(out[at+size:], out[at+room:])
		out = out[:at+size+n]
	case size > room:
		var more [maxHeader]byte
		out = append(out, more[:size-room]...)
		copy(out[at+size:], out[at+room:at+room+n])
	}
	key := uint32(0)
	if p.masks {
		key = newKey()
		mask(out[at+size:], key)
	}
	putHeader(out[at:], p.op, n, key)
	return out, nil
}

// appender is a wsProto whose sub-protocol appends frames.
type appender struct {
	wsProto
	app socket.FrameAppender // sub
}

// Pack writes the frame of m with one Write.
func (p *appender) Pack(m socket.Message) error {
	w := framing.NewWriter(Name, p.rw)
	return w.Pack(p, m)
}

// AppendFrame appends the frame of m to dst. It may be called concurrently.
func (p *appender) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	var head [maxHeader]byte
	at, room := len(dst), putSize(length16, p.masks) // of most messages that are worth not to be moved
	out, err := p.app.AppendFrame(append(dst, head[:room]...), m)
	if err != nil {
		return dst, err
	}
	if out, err = p.finish(out, at, room, m); err != nil {
		return dst, err
	}
	return out, nil
}
