// Package rawproto is the default protocol: a binary frame of a few bytes
// around the body.
//
// It has three dialects. [Seed] is the project's own; [V5] and [V7] are those of
// Teleport v5 and of eRPC v6 and v7, so that their programs can be called and can
// call. The first frame that arrives on a connection settles its dialect; until then
// it is Seed, or the dialect that [NewRawProtoFunc] was given.
package rawproto

import (
	"io"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// Name is the name by which a configuration chooses the protocol.
const Name = "raw"

const (
	version  = 'r'       // byte 4 of a frame in the seed's layout
	version7 = 6         // the id of V7; it is not on the wire
	maxText  = 1<<8 - 1  // bytes of a field with one byte of length
	maxBlock = 1<<16 - 1 // bytes of a field with two bytes of length
)

// format describes the frames.
var format = framing.Format[Dialect]{
	ID:            version,
	Name:          Name,
	Dialects:      dialects,
	WholeSize:     true,
	AppendPayload: appendPayload,
	Begins:        func(first byte) bool { return first >= 1 && first <= maxSeqText },
	Hint: "the peer closed the connection without an answer to the first frame: " +
		"if it is of v5 or v7, dial it with rawproto.V5 or rawproto.V7; if it uses TLS, set a TLS configuration; " +
		"if it uses another protocol, dial it with that",
	// v5 and v7 take 'r' for the number of filters, and read their ids.
	HintAfter: 4 + 1 + version,
}

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewRawProtoFunc(), Recognise: recognise})
}

// NewRawProtoFunc returns the protocol. Without a dialect a connection writes Seed
// until a frame has arrived, and then the dialect of that frame.
//
// With one, an accepted connection does the same but begins with that dialect; a
// dialled one writes and reads no other. Further dialects are ignored.
func NewRawProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	named := framing.Named(dialect)
	return func(rw io.ReadWriter) socket.Proto {
		p := new(rawProto)
		p.Init(&format, rw, named)
		return p
	}
}

type rawProto struct{ framing.Proto[Dialect] }

var (
	_ socket.FrameAppender = (*rawProto)(nil)
	_ socket.Hinter        = (*rawProto)(nil)
	_ socket.Carrier       = (*rawProto)(nil)

	_ socket.ControlCarrier = (*rawProto)(nil)
)

// Version returns 'r' and "raw", in V7 6 and "raw".
func (p *rawProto) Version() (byte, string) {
	if p.Current() == V7 {
		return version7, Name
	}
	return p.Proto.Version()
}

// CarriesControl reports whether the dialect is Seed: peers of v5 and v7 close the
// connection on a message type that they do not know.
func (p *rawProto) CarriesControl() bool { return p.Current() == Seed }

// Pack writes the frame of m with one Write.
func (p *rawProto) Pack(m socket.Message) error { return p.Out.Pack(p, m) }

// AppendFrame appends the frame of m to dst. It may be called concurrently.
func (p *rawProto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	d := p.Current()
	if m.XferPipe().Len() > 0 || d > V7 {
		return p.Proto.AppendFrame(dst, m)
	}
	out := append(dst, 0, 0, 0, 0) // the size
	if d == Seed {
		out = append(out, version)
	}
	out, err := appendPayload(append(out, 0), m, d)
	if err != nil {
		return dst, err
	}
	if err := p.Finish(out, len(dst), m); err != nil {
		return dst, err
	}
	return out, nil
}
