package thriftproto

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// The layout of a frame.
const (
	start     = 4 + 2 + 2 + 4 + 2 // bytes before the headers: size, magic, flags, sequence, size of the headers
	maxLength = 0x3fffffff        // the largest size THeader has
	strict    = 0x8001_0000       // with the type of a message
)

const magic = "\x0f\xff"

// Types of a message in Thrift.
const (
	thriftCall      = 1
	thriftReply     = 2
	thriftException = 3
	thriftOneway    = 4
)

// typeOf returns Thrift's type of a message.
func typeOf(mtype byte) (uint32, error) {
	switch mtype {
	case socket.TypeCall, socket.TypeAuthCall:
		return thriftCall, nil
	case socket.TypeReply, socket.TypeAuthReply:
		return thriftReply, nil
	case socket.TypePush, socket.TypeControl, socket.TypeData:
		return thriftOneway, nil
	}
	return 0, refused("message type", "%d is not carried", mtype)
}

// AppendFrame appends the frame of m to dst. It may be called concurrently.
func (p *proto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	out, answered, err := p.appendFrame(dst, m)
	if err != nil {
		return dst, err
	}
	size := len(out) - len(dst)
	if size-4 > maxLength {
		return dst, fmt.Errorf("thrift: message of %d bytes: %w", size, socket.ErrSizeLimit)
	}
	if err := m.SetSize(uint32(size)); err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(out[len(dst):], uint32(size-4))
	if answered {
		p.calls.done(m.Seq())
	}
	return out, nil
}

// appendFrame leaves the size open; answered says that it is the reply to a call
// that is remembered. On an error the slice it returns may hold anything.
func (p *proto) appendFrame(dst []byte, m socket.Message) (out []byte, answered bool, err error) {
	d := p.Current()
	if !framing.Has(dialects, d) {
		return dst, false, framing.Errors(errName).NoDialect(uint8(d))
	}
	if p.form == structForm {
		if err := fitsStruct(m); err != nil {
			return dst, false, err
		}
	}
	kind, err := typeOf(m.Mtype())
	if err != nil {
		return dst, false, err
	}
	name := m.ServiceMethod()
	if m.Mtype() == socket.TypeReply {
		if called, ok := p.calls.name(m.Seq()); ok {
			name, answered = called, true
			if m.Rerror().HasError() {
				kind = thriftException
			}
		}
	}

	dst = append(dst, 0, 0, 0, 0, magic[0], magic[1], 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Seq()))
	order := p.orders[d]
	if m.Mtype() > socket.TypePush {
		order = append(order[:len(order):len(order)], tpType)
	}
	if dst, err = appendHeaders(dst, m, order, d); err != nil {
		return dst, false, err
	}

	dst = binary.BigEndian.AppendUint32(dst, strict|kind)
	if len(name) > math.MaxInt32 {
		return dst, false, refused("service method", "of %d bytes is longer than %d", len(name), math.MaxInt32)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(name)))
	dst = append(dst, name...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Seq()))
	switch {
	case kind == thriftException:
		dst = appendException(dst, m.Rerror())
	case p.form == structForm:
		dst, err = appendStruct(dst, m)
	default:
		dst, err = p.appendBinary(dst, m)
	}
	return dst, answered, err
}

// fitsStruct returns an error if the struct form cannot carry the message.
func fitsStruct(m socket.Message) error {
	if n := m.XferPipe().Len(); n > 0 {
		return refused("pipe", "of %d filters: the struct form supports no transfer pipe", n)
	}
	switch id := m.BodyCodec(); {
	case id == codec.NilCodecID:
		m.SetBodyCodec(codec.Thrift)
	case id != codec.Thrift && m.Body() != nil:
		return refused("body codec", "%q: in the struct form it must be thrift", id)
	}
	return nil
}

// appendStruct appends the body as it is, and for none the struct without fields.
func appendStruct(dst []byte, m socket.Message) ([]byte, error) {
	at := len(dst)
	dst, err := m.AppendBody(dst)
	if err == nil && len(dst) == at {
		if m.Mtype() == socket.TypeData { // both sides count the bytes of a stream
			return dst, refused("body", "of DATA is empty: in the struct form it must be a struct")
		}
		dst = append(dst, stop)
	}
	return dst, err
}

// appendBinary appends the body as a binary value, through the pipe.
func (p *proto) appendBinary(dst []byte, m socket.Message) ([]byte, error) {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	var err error
	if m.XferPipe().Len() == 0 {
		dst, err = m.AppendBody(dst)
	} else {
		dst, err = p.out.Filter(dst, m, m.AppendBody)
	}
	if err != nil {
		return dst, err
	}
	// A length that does not fit is far over the frame's.
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst, nil
}
