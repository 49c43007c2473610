// Package thriftproto carries messages in the frames of Apache Thrift's THeader
// transport, in Thrift's binary protocol.
//
// It has two forms, each a protocol of its own. The binary form takes any codec and
// any filters: the body is a binary value. The struct form is Thrift itself: the
// body is a struct in the place where Thrift has it, so that a client made by
// Thrift's own library can call a handler.
//
// Each has two dialects: [V5] is that of Teleport v5, and [V7] that of eRPC v7. They
// differ in the place of an error.
package thriftproto

import (
	"io"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// Ids and names of the two forms, as Version returns them; by the name a
// configuration chooses the protocol.
const (
	BinaryID   byte = 'b'
	BinaryName      = "thrift-binary"
	StructID   byte = 's'
	StructName      = "thrift-struct"
)

// form is which protocol it is, by its id.
type form byte

const (
	binaryForm = form(BinaryID)
	structForm = form(StructID)
)

func init() {
	socket.RegisterProto(socket.Protocol{Name: BinaryName, New: NewBinaryProtoFunc(), Recognise: recognises(binaryForm)})
	socket.RegisterProto(socket.Protocol{Name: StructName, New: NewStructProtoFunc(), Recognise: recognises(structForm)})
}

// NewBinaryProtoFunc returns the binary form. A connection writes V5, or the
// dialect named here, until a frame has arrived, and then the dialect of that frame; a
// dialled one of a named dialect keeps to it. Both dialects are always read. Further
// dialects are ignored.
func NewBinaryProtoFunc(dialect ...Dialect) socket.ProtoFunc { return newFunc(binaryForm, dialect) }

// NewStructProtoFunc returns the struct form; dialects are as for
// NewBinaryProtoFunc. Bodies must be thrift.TStructs and the body codec thrift;
// []byte is such a struct encoded. There are no filters. Pack refuses all else.
//
// The peer may be any program that uses Thrift over THeader. To one that sends
// none of the project's headers, a reply has the name of its call, and an error
// is a TApplicationException.
func NewStructProtoFunc(dialect ...Dialect) socket.ProtoFunc { return newFunc(structForm, dialect) }

func newFunc(f form, dialect []Dialect) socket.ProtoFunc {
	named := framing.Named(dialect)
	return func(rw io.ReadWriter) socket.Proto {
		p := &proto{
			form: f, orders: orders[f],
			in: framing.NewReader(errName, rw), out: framing.NewWriter(errName, rw),
		}
		p.Begin(rw, named, V5)
		return p
	}
}

type proto struct {
	form   form
	orders [V7 + 1][]header // of the headers, by dialect
	in     framing.Reader
	out    framing.Writer
	framing.Negotiation[Dialect]
	calls calls // of a peer that sends none of the project's headers
}

var (
	_ socket.FrameAppender = (*proto)(nil)
	_ socket.ByeCarrier    = (*proto)(nil)
	_ socket.Carrier       = (*proto)(nil)
)

// CarriesBye reports whether the peer may be one of this project: those write V5. In the
// struct form it may be a program that expects nothing but the replies to its calls.
func (p *proto) CarriesBye() bool { return p.form == binaryForm && p.Current() == V5 }

// AppendState is that of a socket.Carrier: the dialect. No call that was read waits for its
// reply then.
func (p *proto) AppendState(dst []byte) ([]byte, error) {
	return p.AppendDialect(append(dst, byte(p.form))), nil
}

// Restore takes the state of AppendState.
func (p *proto) Restore(state []byte) error {
	if len(state) == 3 && state[0] == byte(p.form) {
		if _, ok := p.RestoreDialect(state[1:], dialects); ok {
			return nil
		}
	}
	return framing.Errors(errName).NoState(state)
}

// Version returns the form's id and name.
func (p *proto) Version() (byte, string) {
	if p.form == structForm {
		return StructID, StructName
	}
	return BinaryID, BinaryName
}

// Pack writes the frame of m with one Write.
func (p *proto) Pack(m socket.Message) error { return p.out.Pack(p, m) }
