package socket

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/outbox"
	"github.com/teleport-go/teleport/core/xfer"
)

// wire is what a Proto reads from and writes to.
type wire struct{ c *Conn }

var (
	_ PeekReader   = wire{}
	_ BufferWriter = wire{}
	_ Sider        = wire{}
	_ Emitter      = wire{}
	_ Keeper       = wire{}
	_ reserver     = wire{}
)

// Read is for protocols that do not peek. They may read ahead into memory of
// their own, so from the first Read on only they know whether to wait.
func (w wire) Read(p []byte) (int, error) {
	if a := w.c.ahead.Load(); a != nil && a.now != nil {
		return a.readRest(p)
	}
	w.c.reads = true
	w.c.in.SetFrameTimeout(0) // where a message begins is not known any more
	n, err := w.c.in.Read(p)
	if err == nil {
		err = w.hasRead(n)
	}
	return n, err
}

// readFree is how many bytes of a message a protocol may read by itself before they
// count.
const readFree = 64 << 10

// hasRead counts n bytes more that the protocol has read of the message: it collects them
// in memory of its own, unless it says by Keep how much that is.
func (w wire) hasRead(n int) error {
	c := w.c
	c.read = uint32(min(uint64(c.read)+uint64(n), math.MaxUint32))
	if c.keeps || c.read <= readFree {
		return nil
	}
	return c.in.Keep(int(min(c.read, math.MaxInt32)))
}

func (w wire) Discard(n int) (int, error) {
	if a := w.c.ahead.Load(); a != nil {
		return w.discardAhead(a, n)
	}
	return w.c.in.Discard(n)
}

// discardAhead is Discard for a connection that has read ahead.
func (w wire) discardAhead(a *ahead, n int) (int, error) {
	if a.now != nil {
		return a.discard(n)
	}
	a.discarded(n)
	return w.c.in.Discard(n)
}

func (w wire) Buffered() int {
	if a := w.c.ahead.Load(); a != nil && a.now != nil {
		return len(a.rest)
	}
	return w.c.in.Buffered()
}

func (w wire) Dialed() bool { return w.c.dialed }

// Keep counts memory of the message being read.
func (w wire) Keep(n int) error {
	w.c.keeps = true
	return w.c.in.Keep(n)
}

// unpackMore is the reservation after unpackFree; the next is the limit of the message. More
// steps would leave more behind: the work of each is thrown away.
const unpackMore = 4 << 20

// unpack is documented at Unpack. It reserves the memory before the filters take it: a
// filter whose output is larger than the reservation is run again with a larger one.
func (w wire) unpack(f Unpacker, dst, src []byte, max int) ([]byte, error) {
	if w.c.most > 0 {
		if out, err, done := w.unpackAhead(f, dst, src, max); done {
			return out, err
		}
	}
	for limit := min(unpackFree, max); ; {
		if limit > unpackFree {
			if err := w.c.in.Reserve(limit); err != nil {
				return dst, err
			}
		}
		out, err := f.AppendUnpack(dst, src, limit)
		if err != nil && limit < max && errors.Is(err, xfer.ErrTooLarge) {
			if limit < unpackMore {
				limit = min(unpackMore, max)
			} else {
				limit = max
			}
			continue
		}
		if limit > unpackFree {
			w.c.in.Reserved(cap(out))
		}
		return out, err
	}
}

// unpackAhead is unpack for a connection that may read ahead. If done is false the filters
// must run now.
func (w wire) unpackAhead(f Unpacker, dst, src []byte, max int) (out []byte, err error, done bool) {
	c := w.c
	pipe, ok := f.(*xfer.XferPipe)
	if !ok {
		return nil, nil, false
	}
	a := c.ahead.Load()
	switch {
	case a == nil:
		if pipe.Remote() {
			c.beginAhead()
		}
		return nil, nil, false // nothing was known of the frame when it was read
	case a.now != nil:
		return a.now.result(dst, src, max)
	case !a.reading || !a.putsOff(pipe, src, max):
		return nil, nil, false
	}
	a.putOff = true
	return dst, errPutOff, true
}

// SetReadDeadline bounds the reads of an Unpack.
func (w wire) SetReadDeadline(t time.Time) error { return w.c.in.SetReadDeadline(t) }

// RecogniseTime is how long AnyProto may take.
func (w wire) RecogniseTime() time.Duration { return w.c.recognise }

func (w wire) Peek(n int) ([]byte, error) {
	if a := w.c.ahead.Load(); a != nil {
		return w.peekAhead(a, n)
	}
	b, err := w.c.in.Peek(n)
	w.c.peeked = endOf(b)
	return b, err
}

// peekAhead is Peek for a connection that has read ahead.
func (w wire) peekAhead(a *ahead, n int) ([]byte, error) {
	if a.now != nil {
		return a.peek(n)
	}
	b, err := w.c.in.Peek(n)
	w.c.peeked = endOf(b)
	a.peeked, a.frame = b, nil
	return b, err
}

// Emit is documented at Emitter. Any goroutine may call it.
func (w wire) Emit(b []byte) error {
	out, err := w.c.out.BeginNow()
	if err != nil {
		return err
	}
	w.c.out.Commit(append(out, b...))
	w.c.out.Flush(outbox.NoBlock)
	return nil
}

// Write appends to the frame of the Pack under way.
func (w wire) Write(p []byte) (int, error) {
	f := w.c.frame
	if f == nil {
		return 0, fmt.Errorf("socket: write outside of Pack: %w", io.ErrClosedPipe)
	}
	if len(f)+len(p) <= cap(f) && len(p) > 0 && &p[0] == &f[:len(f)+1][len(f)] {
		w.c.frame = f[:len(f)+len(p)] // it came from AvailableBuffer
		return len(p), nil
	}
	w.c.frame = append(f, p...)
	return len(p), nil
}

// AvailableBuffer returns an empty slice with room for at least 4 KiB.
func (w wire) AvailableBuffer() []byte {
	f := w.c.frame
	if cap(f)-len(f) < 4<<10 {
		g := bufpool.Get(2*len(f) + 4<<10)
		g = append(g, f...)
		bufpool.Put(f)
		w.c.frame, f = g, g
	}
	return f[len(f):]
}
