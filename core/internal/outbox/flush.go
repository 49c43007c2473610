package outbox

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

const (
	maxPacket = 32 << 10 // one write to a unixpacket connection

	// A plain write is cut into chunks, to see its progress. They grow while the
	// network is quick and shrink when it is slow: a TLS connection cannot be used
	// after a write that timed out, however much of it was written.
	minChunk   = 4 << 10
	firstChunk = 64 << 10
	maxChunk   = 256 << 10
)

// errAgain says that the network takes no more bytes at the moment.
var errAgain = errors.New("outbox: write would block")

// Flush writes what has been accepted, unless another goroutine writes already: that
// will write it. The caller writes at most what was accepted before the call; the rest,
// and what the network does not take at once, is written by a goroutine of the Writer's
// own, which ends when nothing is left. On a connection without raw access (TLS, a
// pipe) a caller without NoBlock waits for the network, as long as that makes progress
// within Config.WriteTimeout.
//
// Flush returns no error: failures are reported only by Config.Fail.
func (w *Writer) Flush(mode Mode) {
	// The flusher sees a commit made before this load before it clears the flag.
	if w.flushing.Load() {
		if mode&Yield != 0 && !w.yield.Load() {
			w.yield.Store(true)
		}
		return
	}
	w.mu.Lock()
	if w.flushing.Load() || w.err != nil || w.in.empty() {
		w.mu.Unlock()
		return
	}
	if mode&Later != 0 || !w.raw.usable() && mode&NoBlock != 0 {
		w.yield.Store(mode&Yield != 0)
		w.start()
		w.mu.Unlock()
		return
	}
	w.flushing.Store(true)
	if mode&Yield != 0 {
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
	w.swap()
	w.mu.Unlock()

	n, err := w.write(!w.raw.usable())
	if err == errAgain {
		w.blocked()
		w.mu.Lock()
		w.account(n)
		w.mu.Unlock()
		go w.flushAll()
		return
	}
	if !w.finish(n, err) {
		go w.flushAll()
	}
}

// Cork promises that the caller flushes soon, until it calls Uncork. Other goroutines
// that see the Writer corked may leave their flush to it: then all their frames become
// one write. Calling Cork again changes nothing.
func (w *Writer) Cork() {
	if !w.corked.Load() {
		w.corked.Store(true)
	}
}

// Corked reports whether a frame that was accepted before the call is flushed by the
// goroutine that has corked the Writer.
func (w *Writer) Corked() bool { return w.corked.Load() }

// Uncork ends Cork, and flushes without waiting for the network.
func (w *Writer) Uncork() {
	if w.corked.Load() {
		w.corked.Store(false)
		w.Flush(NoBlock)
	}
}

// start starts a goroutine that flushes if there is something to flush and no
// goroutine does. Called with the lock.
func (w *Writer) start() {
	if w.flushing.Load() || w.err != nil || w.in.empty() {
		return
	}
	w.flushing.Store(true)
	go w.flushAll()
}

// flushAll writes until nothing is left. It runs on the Writer's own goroutine, which
// becomes the flusher in place of the caller.
func (w *Writer) flushAll() {
	for {
		n, err := w.write(true)
		if w.finish(n, err) {
			return
		}
		if w.yield.Load() {
			w.yield.Store(false)
			runtime.Gosched()
		}
		w.mu.Lock()
		w.swap()
		w.mu.Unlock()
	}
}

// swap takes the filled batch to be written, and leaves the written one, with its
// buffer, to be filled next. Called with the lock, by the flusher.
func (w *Writer) swap() {
	w.out.reset()
	w.in, w.out.batch = w.out.batch, w.in
	w.hint = len(w.out.tail)
	w.outMsgs = w.out.msgs
	if w.waiting != nil {
		w.swapped()
	}
}

// finish counts the last n written bytes and reports whether the flushing has
// ended: nothing is left, or it cannot be written. If it has, the caller is not the
// flusher any more.
func (w *Writer) finish(n int, err error) (ended bool) {
	w.mu.Lock()
	w.account(n)
	if err == nil && w.err == nil && !w.in.empty() {
		w.mu.Unlock()
		return false
	}
	failed := err != nil && w.err == nil
	if failed {
		if isTimeout(err) {
			err = w.stalled()
		}
		w.refuse(err)
	}
	w.out.discard()
	if w.in.empty() && w.in.tail != nil {
		w.in.giveBack()
	}
	if w.waiting != nil {
		w.swapped()
		w.forgetWaiting()
	}
	w.yield.Store(false)
	w.flushing.Store(false)
	if w.ended != nil {
		close(w.ended)
		w.ended = nil
	}
	w.mu.Unlock()
	if failed && w.cfg.Fail != nil {
		w.cfg.Fail(err)
	}
	return true
}

// forgetWaiting drops what goroutines need that wait, if none does. Called with the lock.
func (w *Writer) forgetWaiting() {
	if p := w.waiting; w.plain == nil && p.room.first == nil && p.drained.first == nil && p.bulk.first == nil && p.refused == nil {
		p.calmDown()
		w.waiting = nil
	}
}

// account counts n written bytes and wakes the goroutines that wait for them. Called
// with the lock, by the flusher.
func (w *Writer) account(n int) {
	done := w.out.done
	w.out.done = 0
	if w.err != nil {
		return // these messages are counted as discarded
	}
	w.outMsgs -= done
	if w.used -= n; w.used <= 0 {
		w.giveBack()
	}
	w.written += uint64(n)
	if w.waiting == nil {
		return
	}
	for t := w.waiting.drained.first; t != nil && t.mark <= w.written; t = t.next {
		t.signal()
	}
	if t := w.waiting.bulk.first; t != nil && t.mark <= w.written {
		t.signal()
	}
	w.wake()
}

// write writes out until all is written, until an error, or, without wait, until the
// network takes no more (errAgain). It returns how many written bytes are not yet
// accounted for.
func (w *Writer) write(wait bool) (n int, err error) {
	for b := w.out.next(); len(b) > 0; b = w.out.next() {
		if n > 0 {
			w.mu.Lock()
			w.account(n)
			w.mu.Unlock()
			n = 0
		}
		if w.packets {
			b = b[:min(len(b), maxPacket)]
		}
		switch {
		case !w.raw.usable():
			n, err = w.writePlain(b)
		case wait:
			n, err = w.writeWait(b)
		default:
			n, err = w.raw.write(w.conn, b, false)
			if err == nil && n < len(b) && !w.raw.mayTakeMore() {
				err = errAgain
			}
		}
		w.out.advance(n)
		if err != nil {
			break
		}
	}
	if p := w.plain; p != nil && p.armed {
		// A deadline that stays would later fail what others write, a key update of
		// TLS for example.
		p.armed = false
		w.conn.SetWriteDeadline(time.Time{})
	}
	return n, err
}

// writeWait writes a part of b, waiting for the network if it has to.
func (w *Writer) writeWait(b []byte) (int, error) {
	n, err := w.raw.write(w.conn, b, false)
	if err != errAgain {
		return n, err
	}
	w.blocked()
	n, err = w.waitRaw(b)
	w.conn.SetWriteDeadline(time.Time{}) // a later user of the connection would find it expired
	return n, err
}

// writePlain writes a part of b through the connection's own Write.
func (w *Writer) writePlain(b []byte) (int, error) {
	if w.plain == nil {
		w.plain = &plainWriter{chunk: firstChunk, progress: newProgressTimer(w.conn, w.cfg.WriteTimeout)}
	}
	p := w.plain
	b = b[:min(len(b), p.chunk)]
	w.blocked() // it may be for long
	begin := time.Now()
	switch {
	case p.progress != nil:
		p.progress.begin(begin)
		defer p.progress.end()
	case w.conn.SetWriteDeadline(begin.Add(w.cfg.WriteTimeout)) == nil:
		p.armed = true
	default:
		// The connection is closed, which Write will report, or has no deadlines:
		// then only closing the connection can end the write.
		timer := time.AfterFunc(w.cfg.WriteTimeout, w.failStalled)
		defer timer.Stop()
	}
	n, err := w.conn.Write(b)
	switch {
	case n < 0 || n > len(b):
		return 0, fmt.Errorf("outbox: %T wrote %d of %d bytes", w.conn, n, len(b))
	case n > 0 && isTimeout(err):
		err = nil // there was progress
	case n == 0 && err == nil:
		err = io.ErrShortWrite
	}
	if len(b) == p.chunk {
		switch took := time.Since(begin); {
		case took > w.cfg.WriteTimeout/4:
			p.chunk = max(p.chunk/2, minChunk)
		case took < w.cfg.WriteTimeout/16:
			p.chunk = min(p.chunk*2, maxChunk)
		}
	}
	return n, err
}

// failStalled fails the Writer during a write that nothing else can end.
func (w *Writer) failStalled() {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return
	}
	err := w.stalled()
	w.refuse(err)
	w.mu.Unlock()
	if w.cfg.Fail != nil {
		w.cfg.Fail(err)
	}
}

// stalled returns the error of a flush that timed out. Called with the lock.
func (w *Writer) stalled() error {
	return fmt.Errorf("%w: no progress for %v, %d bytes wait to be written", ErrStalled, w.cfg.WriteTimeout, w.used)
}

// isTimeout reports whether a deadline has caused err. A time-out of TCP itself is not
// one: then the connection is dead.
func isTimeout(err error) bool {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err != nil
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}
