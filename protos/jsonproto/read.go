package jsonproto

import (
	"encoding/binary"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// Unpack reads one frame. The body it hands over is valid until the next call,
// if the message does not own it.
func (p *jsonProto) Unpack(m socket.Message) error {
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
	d := document{text: p.text[:0]}
	err = d.parse(payload)
	if p.text = d.text[:0]; cap(p.text) > framing.OwnFrom {
		p.text = nil
	}
	if err != nil {
		return err
	}
	p.speech.Settle(d.dialect())
	if err := d.Fill(m); err != nil {
		return bad("body", "", err)
	}
	free := p.in.Owned() // nobody else will use the memory that the body is in
	if d.unescaped {
		free = p.text == nil
	}
	if free {
		framing.Own(m)
	}
	return nil
}
