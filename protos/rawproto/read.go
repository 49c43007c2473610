package rawproto

import (
	"encoding/binary"
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// Repeatable returns true: see socket.Repeatable.
func (p *rawProto) Repeatable() bool { return true }

// Unpack reads one frame. The body it hands over is valid until the next call,
// if the message does not own it.
func (p *rawProto) Unpack(m socket.Message) error {
	head, err := p.In.Head(4)
	if err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head)
	if size < uint32(V5.header()) {
		return belowHeader(int(size), V5)
	}
	frame, err := p.In.Frame(m, uint64(size))
	if err != nil {
		return err
	}
	d, err := p.layout(frame)
	if err != nil {
		return err
	}
	payload, err := p.In.Payload(m, frame[d.header()-1:])
	if err != nil {
		return err
	}
	var f framing.Fields
	if p.Settled() == 0 && d != Seed {
		d, err = fiveOrSeven(payload, &f)
	} else {
		err = parse(&f, payload, d)
	}
	if err != nil {
		return err
	}
	p.Settle(d)
	f.Own = p.In.Owned()
	if err := f.Fill(m); err != nil {
		return errs.Bad("body", "", err)
	}
	return nil
}

// layout returns the dialect by which the frame's header is read; V5 also stands for
// V7 while the dialect is not settled.
func (p *rawProto) layout(frame []byte) (Dialect, error) {
	d := p.Settled()
	if d == 0 {
		d = V5
		if len(frame) > 4 && frame[4] == version {
			d = Seed
		}
	}
	if d > V7 {
		return d, errs.NoDialect(uint8(d))
	}
	// In V5 and V7 it would be the number of filters, 114: more than anybody has.
	if seed := frame[4] == version; seed != (d == Seed) {
		return d, errs.Lost("version", fmt.Sprintf("byte %#02x is not of the dialect %v", frame[4], d))
	}
	if len(frame) < d.header() {
		return d, belowHeader(len(frame), d)
	}
	return d, nil
}
