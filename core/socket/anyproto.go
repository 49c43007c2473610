package socket

import (
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/xfer"
)

const (
	// recogniseMax is the largest number of bytes by which a protocol is recognised:
	// the largest first frame whose filters are undone for it.
	recogniseMax = 1 << 20
	// recogniseTime is the time for them after the first byte, if the connection sets
	// no other.
	recogniseTime = 10 * time.Second
)

// recogniser is a connection that sets the time to recognise a protocol.
type recogniser interface{ RecogniseTime() time.Duration }

// AnyProto makes a protocol that becomes the first of the named ones whose Recognise
// matches the first bytes that arrive, at most 1 MiB of them, within ten seconds of
// the first byte or the time in [Options]. Until then it writes as the first name.
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

// CheckProto returns an error if no connection can use the protocol that pf makes:
// a name given to [AnyProto] is unknown. It calls pf once, for a connection that is
// closed already.
func CheckProto(pf ProtoFunc) error {
	near, far := net.Pipe()
	near.Close()
	far.Close()
	if a, ok := NewConn(near, pf, Options{}).proto.(*anyProto); ok {
		return a.err
	}
	return nil
}

// switcher is a Proto that becomes another one.
type switcher interface{ current() Proto }

type anyProto struct {
	rw     io.ReadWriter
	peek   PeekReader
	list   []Protocol
	err    error
	proto  atomic.Pointer[Proto] // the first until one was recognised
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
		longest := recogniseTime
		if r, ok := a.rw.(recogniser); ok && r.RecogniseTime() > 0 {
			longest = r.RecogniseTime()
		}
		d.SetReadDeadline(time.Now().Add(longest))
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
				need = want // the order counts: this one must be decided first
				break
			}
			if match {
				if i > 0 {
					proto := p.New(a.rw)
					a.proto.Store(&proto)
				}
				a.chosen.Store(true)
				return nil
			}
		}
		if need == 0 || need > recogniseMax {
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

// FirstPayload is for the Recognise of protocols whose frames name the filters of
// their payload. The first frame has size bytes, of which prefix has arrived; the
// filters' ids are prefix[from:to], and the payload is what follows. The result is
// the payload as it was before the filters.
//
// need is the number of bytes required; 0: all have arrived. An error that wraps
// ErrUnsupported of package xfer, or ErrSizeLimit for a frame above 1 MiB, means
// that the payload cannot be known; any other, that this is no such frame.
func FirstPayload(prefix []byte, from, to, size int) (payload []byte, need int, err error) {
	switch {
	case from > to || to > size:
		return nil, 0, fmt.Errorf("socket: filters in bytes %d to %d of a frame of %d: %w", from, to, size, io.ErrUnexpectedEOF)
	case len(prefix) < to:
		return nil, to, nil
	}
	var pipe xfer.XferPipe
	if err := pipe.Append(prefix[from:to]...); err != nil {
		return nil, 0, err
	}
	switch {
	case size > recogniseMax:
		return nil, 0, fmt.Errorf("socket: first frame of %d bytes: %w", size, ErrSizeLimit)
	case len(prefix) < size:
		return nil, size, nil
	}
	payload, err = pipe.AppendUnpack(nil, prefix[to:size], int(min(uint64(MessageSizeLimit()), math.MaxInt)))
	return payload, 0, err
}

func (a *anyProto) names() string {
	names := make([]string, len(a.list))
	for i, p := range a.list {
		names[i] = p.Name
	}
	return strings.Join(names, ", ")
}
