package thriftproto

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// setBody hands the body over as it is.
func (p *proto) setBody(m socket.Message, f *message) error {
	if p.form == structForm {
		m.SetBodyCodec(codec.Thrift)
	} else {
		m.SetBodyCodec(codecOf(f.values[tpCodec]))
	}
	body := f.body
	switch {
	case f.kind == thriftException:
		body = nil
	case p.form == structForm:
		if len(body) == 1 && body[0] == stop {
			body = nil // the struct without fields is what no body is written as
		}
	default:
		if len(body) < 4 {
			return bad("body", "has no length")
		}
		n := binary.BigEndian.Uint32(body)
		if body = body[4:]; uint64(n) != uint64(len(body)) {
			return bad("body", "of %d bytes, %d are left", n, len(body))
		}
		if ids := f.values[tpPipe]; len(ids) > 0 {
			var err error
			if body, err = p.in.Unfilter(m, ids, body); err != nil {
				return err
			}
		}
	}
	if err := m.UnmarshalBody(body); err != nil {
		return &FieldError{Proto: errName, Field: "body", Err: err, Whole: true}
	}
	return nil
}

// codecOf returns the codec that a header names: a byte, which the older ages
// write as UTF-8 from 128 on.
func codecOf(v []byte) byte {
	if len(v) == 0 {
		return codec.NilCodecID
	}
	if r, n := utf8.DecodeRune(v); n == len(v) && r <= math.MaxUint8 {
		return byte(r)
	}
	return v[0]
}
