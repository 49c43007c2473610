package rawproto

import (
	"encoding/binary"
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// Unpack reads one frame. The body it hands over is valid until the next call,
// if the message does not own it.
func (p *rawProto) Unpack(m socket.Message) error {
	head, err := p.in.Head(4)
	if err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head)
	if size < uint32(V5.header()) {
		return belowHeader(int(size), V5)
	}
	frame, err := p.in.Frame(m, uint64(size))
	if err != nil {
		return err
	}
	d, err := p.layout(frame)
	if err != nil {
		return err
	}
	payload, err := p.in.Payload(m, frame[d.header()-1:])
	if err != nil {
		return err
	}
	var f framing.Fields
	if p.speech.Reads() == 0 && d != Seed {
		d, err = older(payload, &f)
	} else {
		err = parse(&f, payload, d)
	}
	if err != nil {
		return err
	}
	p.speech.Settle(d)
	if err := f.Fill(m); err != nil {
		return bad("body", "", err)
	}
	if p.in.Owned() {
		framing.Own(m)
	}
	return nil
}

// layout returns the dialect by which the frame's header is read; V5 stands for
// both older ones while it is not settled.
func (p *rawProto) layout(frame []byte) (Dialect, error) {
	d := p.speech.Reads()
	if d == 0 {
		d = V5
		if len(frame) > 4 && frame[4] == version {
			d = Seed
		}
	}
	if !d.valid() {
		return d, noDialect(d)
	}
	// An older age would mean 114 filters by it: more than anybody has.
	if seed := frame[4] == version; seed != (d == Seed) {
		return d, lost("version", fmt.Sprintf("byte %#02x is not of the dialect %v", frame[4], d))
	}
	if len(frame) < d.header() {
		return d, belowHeader(len(frame), d)
	}
	return d, nil
}
