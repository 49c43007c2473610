package pbproto

import (
	"encoding/binary"
	"io"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// This file holds messages without a frame, for a carrier of messages such as WebSocket:
// each is a message of the carrier.

// fieldPipe is the field of the ids of the filters, in an unframed message.
const fieldPipe = 7

// NewUnframedProtoFunc returns the protocol of the protobuf messages that v5 and v7 send
// over WebSocket. They are those of V5, and the ids of the filters, which only the body
// goes through, are in field 7.
//
// Unpack takes all that is buffered for one message, so the io.ReadWriter must be a
// [socket.PeekReader] that ends with the message, as package websocket has it.
func NewUnframedProtoFunc() socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		return &unframed{rw, framing.NewReader(Name, rw), framing.NewWriter(Name, rw)}
	}
}

type unframed struct {
	rw  io.ReadWriter
	in  framing.Reader
	out framing.Writer
}

var (
	_ socket.FrameAppender = (*unframed)(nil)
	_ socket.Carrier       = (*unframed)(nil)
)

// Version returns ID and Name.
func (*unframed) Version() (byte, string) { return ID, Name }

// AppendState and Restore are those of a socket.Carrier: each message stands for itself.
func (*unframed) AppendState(dst []byte) ([]byte, error) { return dst, nil }

// Restore takes the empty state.
func (*unframed) Restore(state []byte) error {
	if len(state) > 0 {
		return errs.NoState(state)
	}
	return nil
}

// Pack writes the message with one Write.
func (p *unframed) Pack(m socket.Message) error { return p.out.Pack(p, m) }

// AppendFrame appends the message to dst. It may be called concurrently.
func (p *unframed) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	out := appendHead(dst, m, V5)
	room := varintLen(bodyGuess(m.Body()))
	out, at := open(out, 6, room)
	out, err := p.out.Filter(out, m, m.AppendBody)
	if err != nil {
		return dst, err
	}
	out = shut(out, at, room)
	if pipe := m.XferPipe(); pipe.Len() > 0 {
		out = binary.AppendUvarint(append(out, fieldPipe<<3|byte(length)), uint64(pipe.Len()))
		out = pipe.AppendIDs(out)
	}
	if _, err := p.out.Size(m, len(out)-len(dst)); err != nil {
		return dst, err
	}
	return out, nil
}

// Unpack reads one message. The body it hands over is valid until the next call, if the
// message does not own it.
func (p *unframed) Unpack(m socket.Message) error {
	var b []byte // none is a message whose fields are all zero
	var err error
	if r, ok := p.rw.(socket.PeekReader); ok && r.Buffered() > 0 {
		if b, err = p.in.Frame(m, uint64(r.Buffered())); err != nil {
			return err
		}
	}
	var f fields
	if err := f.parse(b); err != nil {
		return err
	}
	if err := f.fits(V5); err != nil {
		return err
	}
	if f.kind[fieldPipe] != absent && f.kind[fieldPipe] != length {
		return wrongType(fieldPipe, f.kind[fieldPipe], length)
	}
	own := false
	if pipe := f.bytes[fieldPipe]; len(pipe) > 0 {
		if f.bytes[6], err = p.in.Unfilter(m, pipe, f.bytes[6]); err != nil {
			return err
		}
		own = p.in.Owned()
	}
	return f.fill(m, V5, own)
}
