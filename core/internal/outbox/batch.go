package outbox

import "github.com/teleport-go/teleport/core/internal/bufpool"

// A segment is a full buffer: a large frame, or many small ones.
type segment struct {
	b    []byte
	msgs int
}

// A batch holds frames in order: the segments, then the tail. While it is filled, the
// Writer's lock guards it; while it is written, it belongs to the flusher.
type batch struct {
	segs     []segment
	tail     []byte // small frames one after the other; its own buffer
	tailMsgs int
	msgs     int // of segs and tail together
}

// writing is a batch while it is written. After that, pos may be that of the batch before,
// until swap: segs is empty then, and off 0, or the Writer has ended.
type writing struct {
	batch
	pos  int // segments written
	off  int // bytes written of segs[pos], or of the tail
	done int // messages written and not yet counted
}

// size returns the number of bytes of a batch that is not being written.
func (b *batch) size() uint64 {
	n := len(b.tail)
	for _, s := range b.segs {
		n += len(s.b)
	}
	return uint64(n)
}

func (b *batch) empty() bool { return len(b.segs) == 0 && len(b.tail) == 0 }

// grow returns the tail with room for n bytes more. A new buffer has at least hint
// bytes, but the hint counts only up to maxHint.
func (b *batch) grow(n, hint int) []byte {
	if cap(b.tail)-len(b.tail) >= n {
		return b.tail
	}
	size := max(2*cap(b.tail), len(b.tail)+n, 2*minFree, min(hint, maxHint))
	tail := append(bufpool.Get(size)[:0], b.tail...)
	recycle(b.tail)
	b.tail = tail
	return tail
}

// commit takes over t, the tail with one message appended.
func (b *batch) commit(t []byte) {
	if &t[0] != &b.tail[:1][0] {
		recycle(b.tail) // the appender needed a larger buffer
	}
	b.tail = t
	b.tailMsgs++
	b.msgs++
	if len(t) >= sealAt {
		b.seal()
	}
}

// segment appends a frame without copying it.
func (b *batch) segment(frame []byte) {
	b.seal()
	b.segs = append(b.segs, segment{frame, 1})
	b.msgs++
}

func (b *batch) seal() {
	if len(b.tail) == 0 {
		return
	}
	b.segs = append(b.segs, segment{b.tail, b.tailMsgs})
	b.tail, b.tailMsgs = nil, 0
}

// next returns the bytes to write next, none when all are written.
func (b *writing) next() []byte {
	if b.pos < len(b.segs) {
		return b.segs[b.pos].b[b.off:]
	}
	return b.tail[b.off:]
}

// advance notes that the first n bytes of next have been written.
func (b *writing) advance(n int) {
	b.off += n
	if len(b.next()) > 0 {
		return
	}
	b.off = 0
	if b.pos < len(b.segs) {
		s := &b.segs[b.pos]
		recycle(s.b)
		b.done += s.msgs
		*s = segment{}
		b.pos++
		return
	}
	b.done += b.tailMsgs
	b.tailMsgs = 0
	b.tail = b.tail[:0]
}

// reset makes a batch that is written ready to be filled again. It keeps the tail's
// buffer unless that is too large.
func (b *batch) reset() {
	segs, tail := b.segs[:0], b.tail[:0]
	if cap(segs) > 8 {
		segs = nil
	}
	if cap(tail) > maxKept {
		recycle(tail)
		tail = nil
	}
	*b = batch{segs: segs, tail: tail}
}

func (b *writing) reset() {
	b.batch.reset()
	b.pos, b.off, b.done = 0, 0, 0
}

// discard drops the frames that have not been written, and the buffers.
func (b *batch) discard() {
	if len(b.segs) > 0 {
		for _, s := range b.segs {
			recycle(s.b)
		}
		clear(b.segs)
		b.reset()
	}
	b.giveBack()
	b.tailMsgs, b.msgs = 0, 0
}

// giveBack returns the buffer of an empty tail to the pool.
func (b *batch) giveBack() {
	recycle(b.tail)
	b.tail = nil
}
