package socket

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// recogniseTime is the time in which a protocol is recognised, if the connection sets
// no other.
const recogniseTime = 10 * time.Second

// recogniser is a connection that sets the time to recognise a protocol.
type recogniser interface{ RecogniseTime() time.Duration }

// AnyProto makes a protocol that becomes the first of the named ones whose Recognise
// matches the first bytes that arrive, within ten seconds of the first byte or the time
// in [Options]. They are at most 1 MiB, and at most the limit of a frame. Until then it
// writes as the first name.
// No match is an error that shows the bytes, or that matches [ErrTLS], and closes the
// connection. The names are looked up when a connection begins; if one is unknown,
// everything done on the connection fails. Listen of a peer looks them up too, and
// fails by itself: see [CheckProto].
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
			a.proto.Store(&first)
		}
		return a
	}
}

// ProtoNames returns the names of the protocols that pf speaks: for [AnyProto] those it
// was given, for others that of Version. The error says why no connection can use it: a
// name given to AnyProto is unknown. ProtoNames calls pf once, for a connection that is
// closed already.
func ProtoNames(pf ProtoFunc) ([]string, error) {
	near, far := net.Pipe()
	near.Close()
	far.Close()
	switch p := NewConn(near, pf, Options{}).proto.(type) {
	case *anyProto:
		names := make([]string, len(p.list))
		for i := range p.list {
			names[i] = p.list[i].Name
		}
		return names, p.err
	case nil:
		return nil, nil // pf is wrong; each connection fails
	default:
		_, name := p.Version()
		return []string{name}, nil
	}
}

// CheckProto returns the error of [ProtoNames].
func CheckProto(pf ProtoFunc) error {
	_, err := ProtoNames(pf)
	return err
}

// switcher is a Proto that becomes another one.
type switcher interface{ current() Proto }

type anyProto struct {
	rw     io.ReadWriter
	peek   PeekReader
	list   []Protocol
	err    error
	proto  atomic.Pointer[Proto] // the first until one was recognised
	at     int                   // of the one that was recognised, in list; written before chosen
	chosen atomic.Bool           // set by Unpack
}

func (a *anyProto) current() Proto {
	if p := a.proto.Load(); p != nil {
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

// CarriesControl passes the question on, once the peer's protocol is known.
func (a *anyProto) CarriesControl() bool {
	c, ok := a.current().(ControlCarrier)
	return ok && a.chosen.Load() && c.CarriesControl()
}

// Abandons passes the question on, once the peer's protocol is known.
func (a *anyProto) Abandons() bool {
	p, ok := a.current().(Abandoner)
	return ok && a.chosen.Load() && p.Abandons()
}

// CarriesBye passes the question on, once the peer's protocol is known.
func (a *anyProto) CarriesBye() bool {
	c, ok := a.current().(ByeCarrier)
	return ok && a.chosen.Load() && c.CarriesBye()
}

// AppendFarewell passes the request on, once the peer's protocol is known.
func (a *anyProto) AppendFarewell(dst []byte, r Reason) []byte {
	if p, ok := a.current().(Parter); ok && a.chosen.Load() {
		return p.AppendFarewell(dst, r)
	}
	return dst
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
	if !a.chosen.Load() {
		if err := a.recognise(m.Limit()); err != nil {
			return err
		}
	}
	return a.current().Unpack(m)
}

func (a *anyProto) recognise(limit uint32) error {
	if a.peek == nil {
		return fmt.Errorf("socket: AnyProto needs a connection that can be peeked at: %w", ErrUnsupportedProto)
	}
	if d, ok := a.rw.(interface{ SetReadDeadline(time.Time) error }); ok {
		longest := recogniseTime
		if r, ok := a.rw.(recogniser); ok && r.RecogniseTime() > 0 {
			longest = r.RecogniseTime()
		}
		d.SetReadDeadline(time.Now().Add(longest))
		defer d.SetReadDeadline(time.Time{})
	}
	keeper, _ := a.rw.(Keeper)
	first := newFirstFrame(limit, keeper)
	most := int(min(limit, recogniseMax))
	for n, i := 1, 0; ; { // the protocols before i have been ruled out
		prefix, err := a.peek.Peek(n)
		if err != nil {
			return err
		}
		if more := a.peek.Buffered(); more > len(prefix) {
			if prefix, err = a.peek.Peek(min(more, most)); err != nil {
				return err
			}
		}
		need := 0
		for ; i < len(a.list); i++ {
			match, want := first.recognise(&a.list[i], prefix)
			if want > len(prefix) {
				need = want // the order counts: this one must be decided first
				break
			}
			if match {
				if i > 0 {
					proto := a.list[i].New(a.rw)
					a.proto.Store(&proto)
				}
				a.at = i
				a.chosen.Store(true)
				return nil
			}
		}
		switch {
		case need > most:
			return fmt.Errorf("socket: %d bytes are required to recognise protocol %s, over the limit of %d: %w", need, a.list[i].Name, most, ErrSizeLimit)
		case need == 0 && first.over != nil:
			return first.over
		case need == 0:
			if err := TLSRecord(prefix); err != nil {
				return fmt.Errorf("socket: %w", err)
			}
			like := ""
			if l := LooksLike(prefix); l != "" {
				like = ", which looks like " + l
			}
			return fmt.Errorf("socket: none of the protocols %s begins with %q%s: %w", a.names(), prefix[:min(len(prefix), firstMost)], like, ErrUnsupportedProto)
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
