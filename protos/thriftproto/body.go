package thriftproto

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
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
		if len(body) == 0 {
			return p.noStruct(m, f)
		}
		if len(body) == 1 && body[0] == stop && m.Mtype() != socket.TypeData {
			body = nil // no body is written as the struct without fields
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

// noStruct handles a message of the struct form that ends where its struct should
// begin. Of no body Thrift, v5 and v7 write at least the STOP, so the rest was lost:
// a call without its arguments is refused, a reply without its result is an error. A
// reply that carries an error has no use for a result.
func (p *proto) noStruct(m socket.Message, f *message) error {
	err := bad("body", "has no struct, not even one without fields")
	rerr := socket.NewRerror(socket.CodeBadMessage, socket.CodeText(socket.CodeBadMessage), err.Error())
	switch mtype := m.Mtype(); {
	case mtype == socket.TypeCall:
		p.learn(m, f)
		return &socket.Refusal{Rerror: rerr, Err: err}
	case framing.IsReply(mtype):
		if !m.Rerror().HasError() {
			m.SetRerror(rerr)
		}
		return m.UnmarshalBody(nil)
	}
	return err
}

// codecOf returns the codec that a header names: a byte, which v5 and v7 write as
// UTF-8 from 128 on.
func codecOf(v []byte) byte {
	if len(v) == 0 {
		return codec.NilCodecID
	}
	if r, n := utf8.DecodeRune(v); n == len(v) && r <= math.MaxUint8 {
		return byte(r)
	}
	return v[0]
}
