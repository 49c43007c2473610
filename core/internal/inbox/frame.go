package inbox

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// ErrFrameTimeout says that a frame has begun to arrive and does not go on.
var ErrFrameTimeout = errors.New("inbox: a message arrives too slowly")

// minRate is how many bytes a second of a frame have to arrive, beyond the time that
// every frame has.
const minRate = 1 << 10

// frameClock bounds the time in which a frame arrives: by a peer that sends a byte now
// and then a connection, and what it holds, would be occupied for ever.
type frameClock struct {
	longest time.Duration // of a frame, and more by its size; 0: no bound
	began   time.Time     // when the present frame was waited for first; zero: not yet
	limit   time.Time     // of SetReadDeadline
	armed   bool          // the connection has a deadline of the clock's
}

// SetFrameTimeout bounds the time in which a frame arrives, from its first wait on: d,
// and a second more for each KiB that has come; 0 is no bound. A frame that takes longer
// fails with ErrFrameTimeout. It needs EndFrame behind each frame.
func (r *Reader) SetFrameTimeout(d time.Duration) { r.frame.longest = max(d, 0) }

// SetReadDeadline bounds the reads of the connection until it is called again.
func (r *Reader) SetReadDeadline(t time.Time) error {
	r.frame.limit = t
	return r.conn.SetReadDeadline(t)
}

// EndFrame says that a frame was read, or given up.
func (r *Reader) EndFrame() {
	r.frame.began = time.Time{}
	if r.frame.armed {
		r.frame.armed = false
		r.conn.SetReadDeadline(r.frame.limit)
	}
}

// arm gives the connection a deadline before a wait in the middle of a frame.
func (r *Reader) arm() {
	f := &r.frame
	if f.longest == 0 {
		return
	}
	if f.began.IsZero() {
		f.began = time.Now()
	}
	at := f.due(r.Buffered())
	if !f.limit.IsZero() && f.limit.Before(at) {
		at = f.limit
	}
	f.armed = true
	r.conn.SetReadDeadline(at)
}

// due is when a frame of which so much has arrived must be there.
func (f *frameClock) due(arrived int) time.Time {
	return f.began.Add(f.longest + time.Duration(arrived)*time.Second/minRate)
}

// timeoutOf makes ErrFrameTimeout of a read that the clock has ended.
func (r *Reader) timeoutOf(err error) error {
	f := &r.frame
	if !f.armed || !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().Before(f.due(r.Buffered())) {
		return err
	}
	r.fatal = fmt.Errorf("%w: %d bytes of it in %v", ErrFrameTimeout, r.Buffered(), time.Since(f.began).Round(time.Millisecond))
	return r.fatal
}
