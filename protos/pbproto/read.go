package pbproto

import (
	"encoding/binary"
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// Unpack reads one frame. The body it hands over is valid until the next call,
// if the message does not own it.
func (p *pbProto) Unpack(m socket.Message) error {
	head, err := p.in.Head(4)
	if err != nil {
		return err
	}
	// On the wire the size is without its own four bytes.
	frame, err := p.in.Frame(m, 4+uint64(binary.BigEndian.Uint32(head)))
	if err != nil {
		return err
	}
	payload, err := p.in.Payload(m, frame[4:])
	if err != nil {
		return err
	}
	var f fields
	if err := f.parse(payload); err != nil {
		return err
	}
	d, err := p.layout(&f)
	if err != nil {
		return err
	}
	if err := f.fill(m, d); err != nil {
		return err
	}
	if p.in.Owned() {
		framing.Own(m)
	}
	return nil
}

// layout returns the dialect by which the fields are read, and settles it by the
// first frame.
func (p *pbProto) layout(f *fields) (Dialect, error) {
	d := p.speech.Reads()
	if d == 0 {
		var err error
		if d, err = f.dialect(); err != nil {
			return d, err
		}
		p.speech.Settle(d)
	}
	if !d.valid() {
		return d, noDialect(d)
	}
	if err := f.fits(d); err != nil {
		if !p.heard && f.fits(d.other()) == nil {
			// All that will come is of the other dialect.
			return d, &FieldError{Proto: Name, Field: "dialect", Fault: fmt.Sprintf("of the peer is %v, want %v", d.other(), d)}
		}
		return d, err
	}
	p.heard = true
	return d, nil
}
