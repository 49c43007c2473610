// Package jsonproto is the JSON protocol: each message, header and body, is a JSON
// document behind four bytes of length. The encoded body is a string in it.
//
// It has two dialects, of which the older ages speak one each: [V5] and [V7], which
// has a key for the error of a reply. Both are read on any connection. What one
// speaks is settled by the first frame that arrives on it; until then it is V5,
// or the dialect that [NewJSONProtoFunc] was given.
//
// Bodies of any bytes arrive as they were. Older peers escape nothing in them but
// quotes; the README tells how they are read.
package jsonproto

import (
	"encoding/binary"
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

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewJSONProtoFunc(), Recognise: recognise})
}

// NewJSONProtoFunc returns the protocol. Without a dialect a connection speaks V5
// until it has heard something, then what it heard.
//
// With one, an accepted connection does the same but begins with that dialect; a
// dialled one speaks no other. Further dialects are ignored.
func NewJSONProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	var named Dialect
	if len(dialect) > 0 {
		named = dialect[0]
	}
	return func(rw io.ReadWriter) socket.Proto {
		p := &jsonProto{in: framing.NewReader(Name, rw), out: framing.NewWriter(Name, rw)}
		p.speech.Begin(rw, named, V5)
		return p
	}
}

type jsonProto struct {
	in     framing.Reader
	out    framing.Writer
	speech framing.Speech[Dialect]
	text   []byte // Unpack's: strings of the document, unescaped
}

var _ socket.FrameAppender = (*jsonProto)(nil)

// Version returns ID and Name.
func (p *jsonProto) Version() (byte, string) { return ID, Name }

func (p *jsonProto) dialect() Dialect { return p.speech.Speaks() }

// Pack writes the frame of m with one Write.
func (p *jsonProto) Pack(m socket.Message) error { return p.out.Pack(p, m) }

// AppendFrame appends the frame of m to dst. It may be called concurrently.
func (p *jsonProto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	d := p.dialect()
	if !d.valid() {
		return dst, fmt.Errorf("json: no such dialect: %d", d)
	}
	out := append(dst, 0, 0, 0, 0) // the size
	var err error
	if m.XferPipe().Len() == 0 {
		out, err = appendPayload(append(out, 0), m, d)
	} else {
		out, err = p.out.Payload(out, m, func(b []byte) ([]byte, error) { return appendPayload(b, m, d) })
	}
	if err != nil {
		return dst, err
	}
	size, err := p.out.Size(m, len(out)-len(dst))
	if err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(out[len(dst):], size-4)
	return out, nil
}
