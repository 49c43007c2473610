package pbproto

import (
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
)

// Repeatable returns true: see socket.Repeatable.
func (p *pbProto) Repeatable() bool { return true }

// Unpack reads one frame. The body it hands over is valid until the next call,
// if the message does not own it.
func (p *pbProto) Unpack(m socket.Message) error {
	payload, err := p.In.Next(m)
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
	return f.fill(m, d, p.In.Owned())
}

// layout returns the dialect by which the fields are read, and settles it by the
// first frame.
func (p *pbProto) layout(f *fields) (Dialect, error) {
	d := p.Settled()
	if d == 0 {
		var err error
		if d, err = f.dialect(); err != nil {
			return d, err
		}
		p.Settle(d)
	}
	if d > V7 {
		return d, errs.NoDialect(uint8(d))
	}
	if err := f.fits(d); err != nil {
		if !p.received && f.fits(d.other()) == nil {
			// All that will come is of the other dialect.
			return d, errs.Lost("dialect", fmt.Sprintf("of the peer is %v, want %v", d.other(), d))
		}
		return d, err
	}
	p.received = true
	return d, nil
}
