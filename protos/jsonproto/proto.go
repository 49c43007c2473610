// Package jsonproto is the JSON protocol: each message, header and body, is a JSON
// document behind four bytes of length. The encoded body is a string in it.
//
// It has two dialects: [V5] is that of Teleport v5, and [V7] that of eRPC v6 and v7,
// which has a key for the error of a reply. Both are read on any connection. The
// first frame that arrives on a connection settles what is written; until then it is
// V5, or the dialect that [NewJSONProtoFunc] was given.
//
// Bodies of any bytes arrive as they were. v5 and v7 escape nothing in them but
// quotes; the README describes how they are read.
package jsonproto

import (
	"bytes"
	"fmt"
	"io"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// ID and Name are what Version returns; by the name a configuration chooses the
// protocol.
const (
	ID   byte = 'j'
	Name      = "json"
)

// format describes the frames.
var format = framing.Format[Dialect]{ID: ID, Name: Name, Dialects: dialects, AppendPayload: appendPayload, Begins: begins}

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewJSONProtoFunc(), Recognise: recognise})
}

// NewJSONProtoFunc returns the protocol. Without a dialect a connection writes V5
// until a frame has arrived, and then the dialect of that frame.
//
// With one, an accepted connection does the same but begins with that dialect; a
// dialled one writes no other. Further dialects are ignored.
func NewJSONProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	named := framing.Named(dialect)
	return func(rw io.ReadWriter) socket.Proto {
		p := new(jsonProto)
		p.Init(&format, rw, named)
		p.keeper, _ = rw.(socket.Keeper)
		return p
	}
}

type jsonProto struct {
	framing.Proto[Dialect]
	keeper socket.Keeper // the connection, if it accounts for memory
	text   []byte        // Unpack's: strings of the document, unescaped
}

var (
	_ socket.FrameAppender = (*jsonProto)(nil)
	_ socket.ByeCarrier    = (*jsonProto)(nil)
	_ socket.Carrier       = (*jsonProto)(nil)
)

// CarriesBye reports whether the peer may be one of this project: those write V5.
func (p *jsonProto) CarriesBye() bool { return p.Current() == V5 }

// Repeatable returns true: see socket.Repeatable.
func (p *jsonProto) Repeatable() bool { return true }

// Unpack reads one frame. The body it hands over is valid until the next call,
// if the message does not own it.
func (p *jsonProto) Unpack(m socket.Message) error {
	payload, err := p.In.Next(m)
	if err != nil {
		return err
	}
	if err := keep(p.keeper, payload); err != nil {
		return err
	}
	d := document{text: p.text[:0]}
	err = d.parse(payload)
	if p.text = d.text[:0]; cap(p.text) > framing.OwnFrom {
		p.text = nil
	}
	if err != nil {
		return err
	}
	p.Settle(d.dialect())
	d.Own = p.In.Owned()
	if d.unescaped {
		d.Own = p.text == nil // the body is in text, which is not used again
	}
	if err := d.Fill(m); err != nil {
		return framing.Errors(Name).Bad("body", "", err)
	}
	return nil
}

// keep accounts for a large payload with escapes, which is unescaped beside it.
func keep(keeper socket.Keeper, payload []byte) error {
	if len(payload) <= framing.OwnFrom || bytes.IndexByte(payload, '\\') < 0 {
		return nil
	}
	return keepTwice(keeper, payload)
}

// keepTwice accounts for a payload and as many bytes beside it.
func keepTwice(keeper socket.Keeper, payload []byte) error {
	if keeper == nil {
		return nil
	}
	if err := keeper.Keep(2 * len(payload)); err != nil {
		return fmt.Errorf("%s: document of %d bytes: %w", Name, len(payload), err)
	}
	return nil
}
