package httproto

import (
	"io"

	"github.com/teleport-go/teleport/core/socket"
)

// peeker makes a socket.PeekReader of a reader that is none. It reads ahead.
type peeker struct {
	r   io.Reader
	buf []byte // what was read
	at  int    // and of it, used up
	err error  // that came with bytes, for the next read
}

var _ socket.PeekReader = (*peeker)(nil)

const (
	firstBuffer = 4 << 10
	maxEmpty    = 100 // reads of nothing, without an error
)

func (p *peeker) Buffered() int { return len(p.buf) - p.at }

func (p *peeker) Peek(n int) ([]byte, error) {
	for p.Buffered() < n {
		if err := p.fill(); err != nil {
			if err == io.EOF && p.Buffered() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return p.buf[p.at:], err
		}
	}
	return p.buf[p.at : p.at+n : p.at+n], nil
}

func (p *peeker) Discard(n int) (int, error) {
	for left := n; ; {
		skip := min(left, p.Buffered())
		p.at += skip
		if left -= skip; left == 0 {
			return n, nil
		}
		if err := p.fill(); err != nil {
			return n - left, err
		}
	}
}

func (p *peeker) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.Buffered() == 0 {
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.buf[p.at:])
	p.at += n
	return n, nil
}

// fill reads once. The buffer is at most about twice what has arrived.
func (p *peeker) fill() error {
	if p.err != nil {
		err := p.err
		p.err = nil
		return err
	}
	have := p.Buffered()
	if have == 0 && cap(p.buf) > keepMax {
		p.buf = nil
	}
	switch {
	case have == 0:
		p.buf, p.at = p.buf[:0], 0
	case len(p.buf) == cap(p.buf) && have <= cap(p.buf)/2:
		p.buf, p.at = p.buf[:copy(p.buf, p.buf[p.at:])], 0
	}
	if len(p.buf) == cap(p.buf) {
		grown := make([]byte, have, max(2*have, firstBuffer))
		copy(grown, p.buf[p.at:])
		p.buf, p.at = grown, 0
	}
	for range maxEmpty {
		n, err := p.r.Read(p.buf[len(p.buf):cap(p.buf)])
		p.buf = p.buf[:len(p.buf)+n]
		if n > 0 {
			p.err = err
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}
