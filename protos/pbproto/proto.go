// Package pbproto is the protobuf protocol: each message, header and body, is a
// protocol buffers message behind four bytes of length.
//
// It has two dialects, which number the fields differently: [V5] is that of Teleport
// v5, and [V7] that of eRPC v6 and v7. The first frame that arrives on a connection
// settles its dialect; until then it is V5, or the dialect that [NewPbProtoFunc] was
// given.
package pbproto

import (
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

// format describes the frames.
var format = framing.Format[Dialect]{
	ID:            ID,
	Name:          Name,
	Dialects:      dialects,
	AppendPayload: appendPayload,
	Begins:        begins,
	Hint: "the peer closed the connection without an answer to the first frame: " +
		"if it is of v7, dial it with pbproto.V7; if it uses TLS, set a TLS configuration; " +
		"if it uses another protocol, dial it with that",
}

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewPbProtoFunc(), Recognise: recognise})
}

// NewPbProtoFunc returns the protocol. Without a dialect a connection writes V5
// until a frame has arrived, and then the dialect of that frame.
//
// With one, an accepted connection does the same but begins with that dialect; a
// dialled one writes and reads no other. Further dialects are ignored.
func NewPbProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	named := framing.Named(dialect)
	return func(rw io.ReadWriter) socket.Proto {
		p := new(pbProto)
		p.Init(&format, rw, named)
		return p
	}
}

type pbProto struct {
	framing.Proto[Dialect]
	received bool // Unpack's: a frame of the settled dialect has arrived
}

var (
	_ socket.FrameAppender = (*pbProto)(nil)
	_ socket.Hinter        = (*pbProto)(nil)
	_ socket.Carrier       = (*pbProto)(nil)
	_ socket.ByeCarrier    = (*pbProto)(nil)
)

// CarriesBye reports whether the peer may be one of this project: those write V5.
func (p *pbProto) CarriesBye() bool { return p.Current() == V5 }

// Restore is that of a socket.Carrier: a settled dialect is one of which a frame has arrived,
// on a connection that was accepted, and only such are handed over.
func (p *pbProto) Restore(state []byte) error {
	err := p.Proto.Restore(state)
	p.received = p.Settled() != 0
	return err
}

// Pack writes the frame of m with one Write.
func (p *pbProto) Pack(m socket.Message) error { return p.Out.Pack(p, m) }

// AppendFrame appends the frame of m to dst. It may be called concurrently.
func (p *pbProto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	d := p.Current()
	if m.XferPipe().Len() > 0 || d > V7 {
		return p.Proto.AppendFrame(dst, m)
	}
	out, err := appendPayload(append(dst, 0, 0, 0, 0, 0), m, d) // size, number of filters
	if err != nil {
		return dst, err
	}
	if err := p.Finish(out, len(dst), m); err != nil {
		return dst, err
	}
	return out, nil
}
