package socket

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// recogniseMax is how many bytes it may take to recognise a protocol.
	recogniseMax = 64 << 10
	// recogniseTime is how long they may take, once the first has come.
	recogniseTime = 10 * time.Second
)

// AnyProto speaks whichever of the named protocols the peer speaks: their
// Recognise functions are asked in order for the first bytes that arrive, at
// most 64 KiB of them, within ten seconds of the first. Until then the first
// name speaks. No match is an error that shows the bytes, and closes the
// connection. The names are looked up when a connection begins; an unknown one
// is the error of everything done on it.
func AnyProto(names ...string) ProtoFunc {
	return func(rw io.ReadWriter) Proto {
		a := &anyProto{rw: rw}
		a.peek, _ = rw.(PeekReader)
		if len(names) == 0 {
			a.err = fmt.Errorf("socket: AnyProto without names: %w", ErrUnsupportedProto)
		}
		for _, name := range names {
			p, err := LookupProto(name)
			if err == nil && p.Recognise == nil {
				err = fmt.Errorf("socket: protocol %q cannot be recognised: %w", name, ErrUnsupportedProto)
			}
			if err != nil {
				a.err = err
				return a
			}
			a.list = append(a.list, p)
		}
		if a.err == nil {
			first := a.list[0].New(rw)
			a.speaks.Store(&first)
		}
		return a
	}
}

// switcher is a Proto that becomes another one.
type switcher interface{ current() Proto }

type anyProto struct {
	rw     io.ReadWriter
	peek   PeekReader
	list   []Protocol
	err    error
	speaks atomic.Pointer[Proto] // what Pack uses: the first until one was recognised
	chosen bool                  // Unpack's
}

func (a *anyProto) current() Proto {
	if p := a.speaks.Load(); p != nil {
		return *p
	}
	return nil
}

func (a *anyProto) Version() (byte, string) {
	if p := a.current(); p != nil {
		return p.Version()
	}
	return 0, "any"
}

func (a *anyProto) Hint() string {
	if h, ok := a.current().(Hinter); ok {
		return h.Hint()
	}
	return ""
}

func (a *anyProto) Pack(m Message) error {
	if a.err != nil {
		return a.err
	}
	return a.current().Pack(m)
}

func (a *anyProto) Unpack(m Message) error {
	if a.err != nil {
		return a.err
	}
	if !a.chosen {
		if err := a.recognise(); err != nil {
			return err
		}
	}
	return a.current().Unpack(m)
}

func (a *anyProto) recognise() error {
	if a.peek == nil {
		return fmt.Errorf("socket: AnyProto needs a connection that can be peeked at: %w", ErrUnsupportedProto)
	}
	if d, ok := a.rw.(interface{ SetReadDeadline(time.Time) error }); ok {
		d.SetReadDeadline(time.Now().Add(recogniseTime))
		defer d.SetReadDeadline(time.Time{})
	}
	for n := 1; ; {
		prefix, err := a.peek.Peek(n)
		if err != nil {
			return err
		}
		if more := a.peek.Buffered(); more > len(prefix) {
			if prefix, err = a.peek.Peek(min(more, recogniseMax)); err != nil {
				return err
			}
		}
		need := 0
		for i, p := range a.list {
			match, want := p.Recognise(prefix)
			if want > len(prefix) {
				need = want // this one comes first: wait before asking those behind it
				break
			}
			if match {
				if i > 0 {
					proto := p.New(a.rw)
					a.speaks.Store(&proto)
				}
				a.chosen = true
				return nil
			}
		}
		if need == 0 || need > recogniseMax {
			return fmt.Errorf("socket: none of the protocols %s begins with %q: %w", a.names(), prefix[:min(len(prefix), 32)], ErrUnsupportedProto)
		}
		n = need
	}
}

func (a *anyProto) names() string {
	names := make([]string, len(a.list))
	for i, p := range a.list {
		names[i] = p.Name
	}
	return strings.Join(names, ", ")
}
