package jsonproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/teleport-go/teleport/core/socket"
)

// Unpack reads one frame. The body it hands over is valid until the next call,
// if the message does not own it.
func (p *jsonProto) Unpack(m socket.Message) error {
	m.XferPipe().Reset()
	if p.peek != nil {
		return p.unpackInPlace(m)
	}
	return p.unpackCopy(m)
}

func (p *jsonProto) unpackInPlace(m socket.Message) error {
	head, err := p.peek.Peek(4)
	if err != nil {
		return cutShort("size", len(head), 4, err)
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
		return fmt.Errorf("json: frame of %d bytes: %w", size, derr)
	}
	return err
}

func (p *jsonProto) unpackCopy(m socket.Message) error {
	if p.frame == nil {
		p.frame = make([]byte, 0, 4<<10)
	}
	head := p.frame[:4]
	if n, err := io.ReadFull(p.rw, head); err != nil {
		return cutShort("size", n, 4, err)
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
	return p.decode(frame, m)
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
	return fmt.Errorf("json: %s ended after %d of %d bytes: %w", field, n, size, err)
}

// frameSize returns the length of the frame, and tells it to the message before
// any memory is taken. On the wire it is without its own four bytes.
func frameSize(head []byte, m socket.Message) (int, error) {
	size := 4 + uint64(binary.BigEndian.Uint32(head))
	if size > min(maxSize, math.MaxInt) {
		return 0, fmt.Errorf("json: message of %d bytes: %w", size, socket.ErrSizeLimit)
	}
	return int(size), m.SetSize(uint32(size))
}

// decode makes the message of a whole frame.
func (p *jsonProto) decode(frame []byte, m socket.Message) error {
	if len(frame) < header {
		return bad("size", "of 0 bytes leaves no room for the number of filters", nil)
	}
	pipe, payload := m.XferPipe(), frame[header:]
	n := int(frame[header-1])
	if n > maxPipe {
		return bad("pipe", fmt.Sprintf("of %d filters is longer than %d", n, maxPipe), nil)
	}
	if n > len(payload) {
		return bad("pipe", fmt.Sprintf("of %d bytes is over the frame's end", n), nil)
	}
	// Whether nobody else will use the memory that the body is in.
	free := p.peek == nil && p.frame == nil
	if n > 0 {
		if err := pipe.Append(payload[:n]...); err != nil {
			return bad("pipe", "", err)
		}
		plain, err := pipe.AppendUnpack(p.plain[:0], payload[n:], limitOf(m))
		if err != nil {
			return bad("pipe", "", err)
		}
		payload, p.plain = plain, plain
		if free = cap(plain) > ownFrom; free {
			p.plain = nil
		}
	}
	d := document{text: p.text[:0]}
	err := d.parse(payload)
	if p.text = d.text[:0]; cap(p.text) > ownFrom {
		p.text = nil
	}
	if err != nil {
		return err
	}
	if !p.settled {
		p.settled = true
		p.speaks.Store(uint32(d.dialect()))
	}
	if err := d.fill(m); err != nil {
		return err
	}
	if d.unescaped {
		free = p.text == nil
	}
	if free {
		own(m)
	}
	return nil
}

// own tells the message that the bytes of its body are nobody else's.
func own(m socket.Message) {
	if o, ok := m.(interface{ OwnBody() }); ok {
		o.OwnBody()
	}
}
