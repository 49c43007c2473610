package thriftproto

import (
	"encoding/binary"
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// lead is the number of bytes that contain the size and show that this is a frame.
const lead = 4 + 2

// Repeatable returns true: see socket.Repeatable.
func (p *proto) Repeatable() bool { return true }

// Unpack reads one frame. The body it hands over is valid until the next call,
// if the message does not own it.
func (p *proto) Unpack(m socket.Message) error {
	head, err := p.in.Head(lead)
	if err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(head)
	if length < start-4 || length > maxLength || string(head[4:]) != magic {
		return noFrame(p.in.Arrived(head), length)
	}
	// On the wire the size is without its own four bytes.
	frame, err := p.in.Frame(m, 4+uint64(length))
	if err != nil {
		return err
	}
	if err := p.decode(frame, m); err != nil {
		return err
	}
	if p.in.Owned() {
		framing.Own(m)
	}
	return nil
}

// noFrame returns why these bytes, at least lead of them, do not begin a frame.
func noFrame(head []byte, length uint32) error {
	if err := socket.TLSRecord(head); err != nil {
		return fmt.Errorf("%s: %w", errName, err)
	}
	switch unframed := length&0xffff_0000 == strict; {
	case unframed, head[4] == 0x80 && head[5] == 1:
		return refused("frame", "without headers: the peer must use Thrift's THeader transport")
	case string(head[4:lead]) != magic:
		like := ""
		if l := socket.LooksLike(head); l != "" {
			like = ": it looks like " + l
		}
		return refused("frame", "begins with %#04x, and not with THeader's 0x0fff%s", head[4:lead], like)
	case length > maxLength:
		return refused("size", "of %d bytes is over THeader's %d", length, maxLength)
	}
	return refused("size", "of %d bytes is below the header's %d", length, start-4)
}

// message is a frame taken apart; its slices are parts of the frame.
type message struct {
	headers
	kind byte
	name []byte
	seq  int32
	body []byte // what is behind the beginning of Thrift's message
}

func (f *message) parse(frame []byte) error {
	n := 4 * int(binary.BigEndian.Uint16(frame[start-2:]))
	b := frame[start:]
	if n > len(b) {
		return bad("headers", "of %d bytes are over the frame's end", n)
	}
	if err := f.headers.parse(b[:n]); err != nil {
		return err
	}
	b = b[n:]
	if len(b) < 4+4 {
		return bad("message", "of %d bytes has no beginning", len(b))
	}
	version := binary.BigEndian.Uint32(b)
	if version&0xffff_ff00 != strict {
		return bad("message", "begins with %#08x, want the version 0x8001", version)
	}
	f.kind = byte(version)
	length := binary.BigEndian.Uint32(b[4:])
	b = b[8:]
	if uint64(length)+4 > uint64(len(b)) {
		return bad("service method", "of %d bytes is over the frame's end", length)
	}
	f.name, b = b[:length], b[length:]
	f.seq, f.body = int32(binary.BigEndian.Uint32(b)), b[4:]
	return nil
}

// mtype returns the type of the message.
func (f *message) mtype() (byte, error) {
	if v := f.values[tpType]; v != nil {
		switch {
		case string(v) == "4" && f.kind == thriftCall:
			return socket.TypeAuthCall, nil
		case string(v) == "5" && f.kind == thriftReply:
			return socket.TypeAuthReply, nil
		case string(v) == "6" && f.kind == thriftOneway:
			return socket.TypeControl, nil
		case string(v) == "7" && f.kind == thriftOneway:
			return socket.TypeData, nil
		}
		return 0, bad("message type", "%q is not one of Thrift's type %d", v, f.kind)
	}
	switch f.kind {
	case thriftCall:
		return socket.TypeCall, nil
	case thriftReply, thriftException:
		return socket.TypeReply, nil
	case thriftOneway, 0: // v5 and v7 write 0 for types that are not Thrift's, and read it so
		return socket.TypePush, nil
	}
	return 0, bad("message type", "%d is not known", f.kind)
}

// decode makes the message of a whole frame.
func (p *proto) decode(frame []byte, m socket.Message) error {
	var f message
	if err := f.parse(frame); err != nil {
		return err
	}
	mtype, err := f.mtype()
	if err != nil {
		return err
	}
	// A peer of the other form would answer no call.
	if other := f.values[tpCodec] != nil; other == (p.form == structForm) && f.kind != thriftException {
		if other {
			return refused("form", "of the peer is thrift-binary, want thrift-struct")
		}
		return refused("form", "of the peer is thrift-struct, want thrift-binary")
	}
	m.SetMtype(mtype)
	m.SetSeq(f.seq)
	m.SetServiceMethodBytes(f.name)
	f.setMeta(m)
	m.SetRerror(f.rerror(m, mtype))
	if f.values[tpStatus] == nil && m.Meta().Len() > 0 {
		m.Meta().Del(socket.MetaReplyError)
	}
	if err := p.setBody(m, &f); err != nil {
		return err
	}
	p.learn(m, &f)
	return nil
}

// learn notes how to answer the peer: in its dialect or, if it sends none of the
// project's headers, with the name of the call.
func (p *proto) learn(m socket.Message, f *message) {
	if f.some {
		p.Settle(f.dialect())
	} else if p.form == structForm && m.Mtype() == socket.TypeCall {
		p.calls.add(f.seq, m.ServiceMethod())
	}
}

// dialect returns the dialect of a peer that sends the project's headers.
func (f *message) dialect() Dialect {
	if f.values[tpStatus] != nil {
		return V7
	}
	return V5
}

// setMeta sets the metadata. That of a peer that sends none of the project's headers
// is the headers it sent.
func (f *message) setMeta(m socket.Message) {
	meta := m.Meta()
	if v := f.values[tpMeta]; len(v) > 0 || meta.Len() > 0 {
		meta.ParseBytes(v)
	}
	if !f.some && f.others {
		eachHeader(f.block, func(key, value []byte) { meta.AddBytesKV(key, value) })
	}
}

// rerror returns the error that a reply carries.
func (f *message) rerror(m socket.Message, mtype byte) *socket.Rerror {
	if !framing.IsReply(mtype) {
		return nil
	}
	var rerr *socket.Rerror
	if v := f.values[tpStatus]; v != nil {
		rerr = framing.ParseStatus(v)
	} else {
		rerr = socket.NewRerrorFromMeta(m.Meta())
	}
	if rerr == nil && f.kind == thriftException {
		rerr = exceptionError(f.body)
	}
	return rerr
}
