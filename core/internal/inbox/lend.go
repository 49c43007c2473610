package inbox

import (
	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/poison"
)

// This file holds what one Reader gets from another: its buffer, or bytes that have arrived.

// Lend gives the Reader a buffer from TakeEmpty of another one, so that it takes none from
// the pool. It may be nil.
func (r *Reader) Lend(b []byte) {
	if r.buf == nil && len(b) == r.size {
		r.buf = b
	} else if b != nil {
		bufpool.Put(b)
	}
}

// TakeEmpty is ReleaseIfEmpty, but returns the buffer if it is of the usual size; else nil,
// and for unixpacket, whose buffers are large.
func (r *Reader) TakeEmpty() (b []byte) {
	if r.Buffered() > 0 || len(r.buf) != r.size || r.packets || poison.On() {
		r.ReleaseIfEmpty()
		return nil
	}
	b, r.buf, r.r, r.w = r.buf, nil, 0, 0
	return b
}

// TakeBuffered removes and returns the buffered bytes, to hand them to another
// connection; nil if there are none. The caller owns them.
func (r *Reader) TakeBuffered() []byte {
	r.owned = false
	n := r.Buffered()
	if n == 0 {
		return nil
	}
	rest := make([]byte, 0, n)
	rest = append(rest, r.big[r.off:]...)
	rest = append(rest, r.buf[r.r:r.w]...)
	r.consume(n)
	return rest
}

// AppendBuffered appends the buffered bytes to dst, and leaves them where they are.
func (r *Reader) AppendBuffered(dst []byte) []byte {
	dst = append(dst, r.big[r.off:]...)
	return append(dst, r.buf[r.r:r.w]...)
}

// Unread puts a copy of b in front of what is read from the connection. It is called
// before anything else.
func (r *Reader) Unread(b []byte) {
	if len(b) > 0 {
		r.buf = whole(take(max(r.size, len(b))))
		r.w = copy(r.buf, b)
	}
}
