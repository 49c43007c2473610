// Package rawproto is the default protocol: a binary frame of a few bytes
// around the body.
//
// It has three dialects. [Seed] is the project's own; [V5] and [V7] are those
// of the older ages, so that their programs can be called and can call. What a
// connection speaks is settled by the first frame that arrives on it; until then
// it is Seed, or the dialect that [NewRawProtoFunc] was given.
package rawproto

import (
	"encoding/binary"
	"io"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// Name is the name by which a configuration chooses the protocol.
const Name = "raw"

const (
	version  = 'r'       // byte 4 of a frame in the seed's layout
	version7 = 6         // what V7 calls itself; it is not on the wire
	maxText  = 1<<8 - 1  // bytes of a field with one byte of length
	maxBlock = 1<<16 - 1 // bytes of a field with two bytes of length
)

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewRawProtoFunc(), Recognise: recognise})
}

// NewRawProtoFunc returns the protocol. Without a dialect a connection speaks
// Seed until it has heard something, then what it heard.
//
// With one, an accepted connection does the same but begins with that dialect; a
// dialled one speaks and reads no other. Further dialects are ignored.
func NewRawProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	var named Dialect
	if len(dialect) > 0 {
		named = dialect[0]
	}
	return func(rw io.ReadWriter) socket.Proto {
		p := &rawProto{in: framing.NewReader(Name, rw), out: framing.NewWriter(Name, rw)}
		p.speech.Begin(rw, named, Seed)
		return p
	}
}

type rawProto struct {
	in     framing.Reader
	out    framing.Writer
	speech framing.Speech[Dialect]
}

var (
	_ socket.FrameAppender = (*rawProto)(nil)
	_ socket.Hinter        = (*rawProto)(nil)
)

// Version returns 'r' and "raw", in V7 6 and "raw".
func (p *rawProto) Version() (byte, string) {
	if p.dialect() == V7 {
		return version7, Name
	}
	return version, Name
}

func (p *rawProto) dialect() Dialect { return p.speech.Speaks() }

// Hint guesses that the peer is of an older age.
func (p *rawProto) Hint() string {
	if !p.speech.Dialed() || p.dialect() != Seed {
		return ""
	}
	return "the peer closed after the first frame: an older age? use rawproto.V7 (or V5) to dial it"
}

// Pack writes the frame of m with one Write.
func (p *rawProto) Pack(m socket.Message) error { return p.out.Pack(p, m) }

// AppendFrame appends the frame of m to dst. It may be called concurrently.
func (p *rawProto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	d := p.dialect()
	if !d.valid() {
		return dst, noDialect(d)
	}
	out := append(dst, 0, 0, 0, 0) // the size
	if d == Seed {
		out = append(out, version)
	}
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
	binary.BigEndian.PutUint32(out[len(dst):], size)
	return out, nil
}
