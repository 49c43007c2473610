package inbox

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"
)

// ErrFrameTimeout says that a frame has arrived in part, and the rest did not arrive in time.
var ErrFrameTimeout = errors.New("inbox: a message arrives too slowly")

// minRate is how many bytes of a frame must arrive per second, in addition to the time
// that every frame has.
const minRate = 1 << 10

// frameClock bounds the time in which a frame arrives: else a peer that sends a byte now
// and then could occupy a connection, and its memory, for ever.
type frameClock struct {
	longest time.Duration // of a frame, and more by its size; 0: no bound
	began   instant       // when the present frame was waited for first, if it is timed
	limit   instant       // of SetReadDeadline; 0: none
}

// instant is a time in nanoseconds since start: a third of the size of a time.Time. It
// may be negative, in tests with a clock of their own.
type instant int64

var start = time.Now()

// instantOf returns the instant of t, never 0.
func instantOf(t time.Time) instant {
	if d := t.Sub(start); d != 0 {
		return instant(d)
	}
	return 1
}

// time returns the zero time for 0, as for a deadline.
func (i instant) time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return start.Add(time.Duration(i))
}

// SetFrameTimeout bounds the time in which a frame arrives, from the first wait for it:
// d, and a second more for each KiB that has arrived; 0 means no bound. A frame that
// takes longer fails with ErrFrameTimeout. The caller must call EndFrame after each frame.
func (r *Reader) SetFrameTimeout(d time.Duration) { r.frame.longest = max(d, 0) }

// SetReadDeadline bounds the reads of the connection until it is called again.
func (r *Reader) SetReadDeadline(t time.Time) error {
	r.frame.limit = 0
	if !t.IsZero() {
		r.frame.limit = instantOf(t)
	}
	return r.conn.SetReadDeadline(t)
}

// EndFrame must be called when a frame was read or dropped. What Keep
// has counted is the message's from now on, until TakeMemory.
func (r *Reader) EndFrame() {
	if r.kept > 0 || r.timed {
		r.endFrame()
	}
}

// endFrame is a function of its own so that EndFrame is inlined.
func (r *Reader) endFrame() {
	if r.kept > 0 {
		r.kept = 0
		r.account.handOver(int64(cap(r.big)))
	}
	if r.timed {
		r.timed = false
		r.conn.SetReadDeadline(r.frame.limit.time())
	}
}

// arm gives the connection a deadline before a wait in the middle of a frame.
func (r *Reader) arm() {
	f := &r.frame
	if f.longest == 0 {
		return
	}
	if !r.timed {
		r.timed, f.began = true, instantOf(time.Now())
	}
	at := f.due(r.Buffered())
	if f.limit != 0 {
		at = min(at, f.limit)
	}
	r.conn.SetReadDeadline(at.time())
}

// due returns when the frame must have arrived, by the bytes that have arrived so far.
func (f *frameClock) due(arrived int) instant {
	at := f.began + instant(f.longest+time.Duration(arrived)*time.Second/minRate)
	if at < f.began {
		return math.MaxInt64
	}
	return at
}

// timeoutOf returns ErrFrameTimeout for a read that the clock has ended, else err.
func (r *Reader) timeoutOf(err error) error {
	f := &r.frame
	if !r.timed || !errors.Is(err, os.ErrDeadlineExceeded) || instantOf(time.Now()) < f.due(r.Buffered()) {
		return err
	}
	r.fatal = fmt.Errorf("%w: %d bytes of it in %v", ErrFrameTimeout, r.Buffered(), time.Since(f.began.time()).Round(time.Millisecond))
	return r.fatal
}
