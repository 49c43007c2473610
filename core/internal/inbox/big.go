package inbox

import "github.com/teleport-go/teleport/core/internal/bufpool"

// wholeFrom says that a buffer for a whole frame is taken when one of so many parts of it
// has arrived.
const wholeFrom = 4

// peekBig is Peek for a frame with a buffer of its own.
func (r *Reader) peekBig(n int) ([]byte, error) {
	if err := r.collect(n); err != nil {
		have := len(r.big) - r.off
		if r.big == nil {
			return r.buf[r.r:r.w], cut(err, r.w-r.r)
		}
		return r.big[r.off:len(r.big):len(r.big)], cut(err, have)
	}
	r.owned = n > bigFrame
	end := r.off + n
	if end == len(r.big) {
		return r.big[r.off:], nil // with its capacity: the caller owns the buffer after the Discard
	}
	return r.big[r.off:end:end], nil
}

// collect reads until n bytes are in big, and never beyond them, so that
// no bytes of the next frame are in the buffer that the caller gets.
func (r *Reader) collect(n int) error {
	if r.big == nil {
		if err := r.startBig(n); err != nil {
			return err
		}
	}
	for len(r.big)-r.off < n {
		if r.w > r.r { // a packet holds more than this frame
			if err := r.moveToBig(n); err != nil {
				return err
			}
			continue
		}
		if r.packets {
			if err := r.fill(mayWait); err != nil {
				return err
			}
			continue
		}
		if err := r.growBig(n); err != nil {
			return err
		}
		end := min(cap(r.big), r.off+n)
		got, err := r.read(r.big[len(r.big):end], mayWait)
		r.big = r.big[:len(r.big)+got]
		if err != nil {
			return err
		}
	}
	return r.account.condemned()
}

// startBig makes the frame's own buffer and moves the buffered bytes into it.
func (r *Reader) startBig(n int) error {
	have := r.w - r.r
	size := min(n, floor(max(r.size, 2*have)))
	if r.packets { // packets are read into the usual buffer first
		size = min(n, max(have, bigFrame))
	}
	if err := r.account.set(r.kept + capacity(size)); err != nil {
		return err
	}
	b := take(size)
	r.big = append(b, r.buf[r.r:r.w]...)
	r.off, r.given = 0, false
	r.release()
	return nil
}

// growBig makes room for at least one byte more.
func (r *Reader) growBig(n int) error {
	if len(r.big) < cap(r.big) {
		return nil
	}
	have := r.big[r.off:]
	size := min(n, floor(2*len(have)))
	if len(have) >= n/wholeFrom {
		size = n // each copy leaves garbage behind
	}
	if err := r.account.set(r.kept + cap(r.big) + capacity(size)); err != nil { // both, while one is copied
		return err
	}
	b := append(take(size), have...)
	if !r.given {
		bufpool.Put(r.big)
	}
	r.big, r.off, r.given = b, 0, false
	return r.account.set(r.kept + capacity(size))
}

// moveToBig moves bytes of the usual buffer to the frame that they belong to.
func (r *Reader) moveToBig(n int) error {
	if err := r.growBig(n); err != nil {
		return err
	}
	end := min(cap(r.big), r.off+n)
	got := copy(r.big[len(r.big):end], r.buf[r.r:r.w])
	r.big = r.big[:len(r.big)+got]
	r.r += got
	return nil
}

// compact moves the bytes left in big, which are few, to the front of the usual buffer.
func (r *Reader) compact() {
	rest := len(r.big) - r.off
	b := whole(take(max(r.size, rest+r.w-r.r)))
	n := copy(b, r.big[r.off:])
	n += copy(b[n:], r.buf[r.r:r.w])
	r.release()
	r.buf, r.w = b, n
	r.dropBig()
}

// dropBig drops the frame's own buffer. If it belongs to the caller by now its bytes are
// those of the message, until TakeMemory.
func (r *Reader) dropBig() {
	if r.big == nil {
		return
	}
	if r.given {
		r.account.handOver(int64(r.kept))
	}
	r.big, r.off, r.given = nil, 0, false
	r.account.set(r.kept)
}

// Keep counts n bytes for the present frame, until EndFrame: memory that the caller
// needs beside the buffers of the Reader, because it collects the frame itself. It
// replaces the number of the last call. The caller calls it before it takes the memory;
// if the error is not nil the limit of Memory is exceeded, and the Reader fails with it.
// Up to 64 KiB do not count.
func (r *Reader) Keep(n int) error {
	if r.kept = n; n <= bigFrame {
		r.kept = 0
	}
	return r.account.set(r.kept + cap(r.big))
}

// Reserve counts n bytes that the caller is about to make of the present frame, until
// TakeMemory, beside what has arrived. It waits until others have released so many. It
// replaces the number of the last call.
func (r *Reader) Reserve(n int) error { return r.account.reserve(int64(n)) }

// Reserved says that what was reserved has become n bytes, more or fewer.
func (r *Reader) Reserved(n int) { r.account.adjust(int64(n)) }

// TakeMemory returns how many bytes of Memory the message has that was read last: its frame
// if that was over 64 KiB, and what Reserve has counted. The caller has them from now on.
func (r *Reader) TakeMemory() int64 { return r.account.take() }

// DropMemory gives back what TakeMemory would return.
func (r *Reader) DropMemory() {
	if r.account.reserved != 0 {
		r.account.drop()
	}
}
