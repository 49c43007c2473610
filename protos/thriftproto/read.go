package thriftproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/teleport-go/teleport/core/socket"
)

// ownFrom is the size from which memory for one message passes to it; what is
// smaller is the connection's and used again.
const ownFrom = 64 << 10

// lead is how many bytes tell whether this is a frame, and its size.
const lead = 4 + 2

// Unpack reads one frame. The body it hands over is valid until the next call,
// if the message does not own it.
func (p *proto) Unpack(m socket.Message) error {
	m.XferPipe().Reset()
	if p.peek != nil {
		return p.unpackInPlace(m)
	}
	return p.unpackCopy(m)
}

func (p *proto) unpackInPlace(m socket.Message) error {
	head, err := p.peek.Peek(lead)
	if err != nil {
		return cutShort("size", len(head), lead, err)
	}
	size, err := frameSize(head, m)
	if err != nil {
		return err
	}
	frame, err := p.peek.Peek(size)
	if err != nil {
		return cutShort("frame", len(frame), size, err)
	}
	err = p.decode(frame, m)
	// The bytes stay where they are until the next Peek.
	if _, derr := p.peek.Discard(size); derr != nil {
		return fmt.Errorf("thrift: frame of %d bytes: %w", size, derr)
	}
	return err
}

func (p *proto) unpackCopy(m socket.Message) error {
	if p.frame == nil {
		p.frame = make([]byte, 0, 4<<10)
	}
	head := p.frame[:lead]
	if n, err := io.ReadFull(p.rw, head); err != nil {
		return cutShort("size", n, lead, err)
	}
	size, err := frameSize(head, m)
	if err != nil {
		return err
	}
	frame, err := readTo(p.rw, head, size)
	if err != nil {
		return err
	}
	p.frame = frame
	if len(frame) > ownFrom {
		p.frame = nil
	}
	if err = p.decode(frame, m); err == nil && p.frame == nil && m.XferPipe().Len() == 0 {
		own(m)
	}
	return err
}

// readTo reads until b has size bytes. Its memory is at most twice what has
// arrived, or what b has.
func readTo(r io.Reader, b []byte, size int) ([]byte, error) {
	for len(b) < size {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(2*len(b), size))
			copy(grown, b)
			b = grown
		}
		n, err := io.ReadFull(r, b[len(b):min(cap(b), size)])
		if b = b[:len(b)+n]; err != nil {
			return b, cutShort("frame", len(b), size, err)
		}
	}
	return b, nil
}

// cutShort is the error of a connection that ended, or failed, after n of size
// bytes: io.EOF only where no frame had begun.
func cutShort(field string, n, size int, err error) error {
	if errors.Is(err, io.EOF) {
		if n == 0 && field == "size" {
			return io.EOF
		}
		err = io.ErrUnexpectedEOF
	}
	if n == 0 && field == "size" {
		return err
	}
	return fmt.Errorf("thrift: %s ended after %d of %d bytes: %w", field, n, size, err)
}

// frameSize returns the length of the frame, and tells it to the message before
// any memory is taken. On the wire it is without its own four bytes.
func frameSize(head []byte, m socket.Message) (int, error) {
	length := binary.BigEndian.Uint32(head)
	switch unframed := length&0xffff_0000 == strict; {
	case unframed, head[4] == 0x80 && head[5] == 1:
		return 0, refused("frame", "without headers: the peer must use Thrift's THeader transport")
	case !bytes.HasPrefix(head[4:], magic):
		return 0, refused("frame", "begins with %#04x, and not with THeader's 0x0fff", head[4:lead])
	case length > maxLength:
		return 0, refused("size", "of %d bytes is over THeader's %d", length, maxLength)
	case length < start-4:
		return 0, refused("size", "of %d bytes is below the header's %d", length, start-4)
	}
	if uint64(length)+4 > math.MaxInt {
		return 0, fmt.Errorf("thrift: message of %d bytes: %w", uint64(length)+4, socket.ErrSizeLimit)
	}
	return int(length) + 4, m.SetSize(length + 4)
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
		}
		return 0, bad("message type", "%q is not one of Thrift's type %d", v, f.kind)
	}
	switch f.kind {
	case thriftCall:
		return socket.TypeCall, nil
	case thriftReply, thriftException:
		return socket.TypeReply, nil
	case thriftOneway, 0: // the older ages write 0 for types that are not Thrift's, and read it so
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
	// One frame of the other form, and no call would ever be answered.
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
	if p.form == structForm && mtype == socket.TypeCall && !f.some {
		p.calls.add(f.seq, m.ServiceMethod())
	}
	if !p.settled && f.some {
		p.settled = true
		d := V5
		if f.values[tpStatus] != nil {
			d = V7
		}
		p.speaks.Store(uint32(d))
	}
	return nil
}

// setMeta sets the metadata. Those of a peer that is none of ours are the headers
// it sent.
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
	if !isReply(mtype) {
		return nil
	}
	var rerr *socket.Rerror
	if v := f.values[tpStatus]; v != nil {
		rerr = statusError(v)
	} else {
		rerr = socket.NewRerrorFromMeta(m.Meta())
	}
	if rerr == nil && f.kind == thriftException {
		rerr = exceptionError(f.body)
	}
	return rerr
}

// own tells the message that the bytes of its body are nobody else's.
func own(m socket.Message) {
	if o, ok := m.(interface{ OwnBody() }); ok {
		o.OwnBody()
	}
}
