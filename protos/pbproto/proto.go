// Package pbproto is the protobuf protocol: each message, header and body, is a
// protocol buffers message behind four bytes of length.
//
// It has two dialects, of which the older ages speak one each: [V5] and [V7]. They
// number the fields differently. What a connection speaks is settled by the
// first frame that arrives on it; until then it is V5, or the dialect that
// [NewPbProtoFunc] was given.
package pbproto

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
	ID   byte = 'p'
	Name      = "protobuf"
)

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewPbProtoFunc(), Recognise: recognise})
}

// NewPbProtoFunc returns the protocol. Without a dialect a connection speaks V5
// until it has heard something, then what it heard.
//
// With one, an accepted connection does the same but begins with that dialect; a
// dialled one speaks and reads no other. Further dialects are ignored.
func NewPbProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	var named Dialect
	if len(dialect) > 0 {
		named = dialect[0]
	}
	return func(rw io.ReadWriter) socket.Proto {
		p := &pbProto{in: framing.NewReader(Name, rw), out: framing.NewWriter(Name, rw)}
		p.speech.Begin(rw, named, V5)
		return p
	}
}

type pbProto struct {
	in     framing.Reader
	out    framing.Writer
	speech framing.Speech[Dialect]
	heard  bool // Unpack's: a frame of the settled dialect has arrived
}

var (
	_ socket.FrameAppender = (*pbProto)(nil)
	_ socket.Hinter        = (*pbProto)(nil)
)

// Version returns ID and Name.
func (p *pbProto) Version() (byte, string) { return ID, Name }

func (p *pbProto) dialect() Dialect { return p.speech.Speaks() }

// Hint guesses that the peer is of the other age.
func (p *pbProto) Hint() string {
	if !p.speech.Dialed() || p.dialect() != V5 {
		return ""
	}
	return "the peer closed after the first frame: eRPC v7? use pbproto.V7 to dial it"
}

// Pack writes the frame of m with one Write.
func (p *pbProto) Pack(m socket.Message) error { return p.out.Pack(p, m) }

// AppendFrame appends the frame of m to dst. It may be called concurrently.
func (p *pbProto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	d := p.dialect()
	if !d.valid() {
		return dst, noDialect(d)
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

func noDialect(d Dialect) error { return fmt.Errorf("protobuf: no such dialect: %d", d) }
