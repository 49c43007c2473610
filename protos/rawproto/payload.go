package rawproto

import (
	"encoding/binary"
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// FieldError is a frame that cannot be read, or a message that does not fit
// into one. If the whole frame has been read, so that the connection can go on,
// it matches [socket.ErrBadMessage].
type FieldError = framing.FieldError

const errs = framing.Errors(Name)

func overEnd(field string, n int) error { return errs.OverEnd(field, uint64(n)) }

func belowHeader(size int, d Dialect) error {
	return errs.Lost("size", fmt.Sprintf("of %d bytes is below the header's %d", size, d.header()))
}

func tooLong(field string, n, limit int) error {
	return errs.Lost(field, fmt.Sprintf("of %d bytes is longer than %d", n, limit))
}

// appendPayload appends what goes through the pipe. On an error the slice it returns
// may hold anything.
func appendPayload(dst []byte, message socket.Message, d Dialect) ([]byte, error) {
	m := socket.EnvelopeOf(message)
	at := len(dst)
	dst = append(dst, 0)
	dst = appendSeq(dst, m.Seq())
	dst[at] = byte(len(dst) - at - 1)
	method := m.ServiceMethod()
	if len(method) > maxText {
		return dst, tooLong("service method", len(method), maxText)
	}
	dst = append(dst, m.Mtype(), byte(len(method)))
	dst = append(dst, method...)

	if d != V7 && m.Meta().Len() == 0 && m.Rerror() == nil {
		return m.AppendBody(append(dst, 0, 0, m.BodyCodec()))
	}
	dst, err := appendBlocks(dst, m, d)
	if err != nil {
		return dst, err
	}
	return m.AppendBody(append(dst, m.BodyCodec()))
}

// appendBlocks appends the status, if the dialect has it, and the metadata.
func appendBlocks(dst []byte, m *socket.Envelope, d Dialect) (_ []byte, err error) {
	if d == V7 {
		at := len(dst)
		if dst, err = block16(framing.AppendStatus(append(dst, 0, 0), m), at, "status"); err != nil {
			return dst, err
		}
	}
	at := len(dst)
	dst = append(dst, 0, 0)
	if d == V7 {
		dst = m.Meta().AppendBytes(dst)
	} else {
		dst = framing.AppendMeta(dst, m)
	}
	return block16(dst, at, "metadata")
}

// block16 writes the length of the block that begins at dst[at], two bytes.
func block16(dst []byte, at int, field string) ([]byte, error) {
	n := len(dst) - at - 2
	if n > maxBlock {
		return dst, tooLong(field, n, maxBlock)
	}
	binary.BigEndian.PutUint16(dst[at:], uint16(n))
	return dst, nil
}

// parse takes a payload of the dialect apart.
func parse(f *framing.Fields, b []byte, d Dialect) error {
	*f = framing.Fields{HasStatus: d == V7}
	seq, b, err := cut8(b, "seq")
	if err != nil {
		return err
	}
	var ok bool
	if f.Seq, ok = parseSeq(seq); !ok {
		return errs.Bad("seq", fmt.Sprintf("%q is not a 32-bit number in base 36", seq), nil)
	}
	if len(b) == 0 {
		return overEnd("message type", 1)
	}
	f.Mtype, b = b[0], b[1:]
	if f.ServiceMethod, b, err = cut8(b, "service method"); err != nil {
		return err
	}
	if d == V7 {
		if f.Status, b, err = cut16(b, "status"); err != nil {
			return err
		}
	}
	if f.Meta, b, err = cut16(b, "metadata"); err != nil {
		return err
	}
	if len(b) == 0 {
		return overEnd("body codec", 1)
	}
	f.Codec, f.Body = b[0], b[1:]
	return nil
}

func cut8(b []byte, field string) (text, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, overEnd("length of the "+field, 1)
	}
	n := int(b[0])
	if b = b[1:]; n > len(b) {
		return nil, nil, overEnd(field, n)
	}
	return b[:n], b[n:], nil
}

func cut16(b []byte, field string) (text, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, overEnd("length of the "+field, 2)
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > len(b) {
		return nil, nil, overEnd(field, n)
	}
	return b[:n], b[n:], nil
}
