// Package inbox implements the incoming half of one connection.
//
// A Reader returns frames in place: the bytes that have arrived lie in one pooled
// buffer, which an idle TCP or unix connection returns to the pool. A frame over 64 KiB
// is collected in a buffer of its own, which the caller may keep. Memory grows with the
// bytes that have arrived, never with an announced size.
package inbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/tlspoll"
)

const (
	defaultBuffer = 32 << 10
	maxBuffer     = 1 << 20
	bigFrame      = 64 << 10  // a frame over it gets a buffer of its own
	packetRoom    = 256 << 10 // room for one packet: the largest message of older peers
	maxEmptyReads = 100
	maxRead       = 1 << 30 // for one system call; some systems refuse more than 2^31-1
)

// ErrPacketTooLarge says that a packet of a unixpacket connection did not fit into
// the buffer. The rest of the packet is lost, so the connection cannot be used any more.
var ErrPacketTooLarge = errors.New("inbox: packet is too large")

var errNothing = errors.New("inbox: nothing has arrived")

// ErrNothing is in the error of a call that needs bytes that have not arrived, after SetEager.
var ErrNothing = errNothing

// ErrAgain is the error of a TryRead if nothing has arrived.
var ErrAgain = tlspoll.ErrAgain

// Config configures a Reader. The zero value is ready for use.
type Config struct {
	// Buffer is the size of the usual buffer in bytes, rounded up to a power of
	// two of 512 to 1 MiB. Default 32 KiB; a unixpacket connection has at least
	// 512 KiB.
	Buffer int
	// Memory bounds the frames over 64 KiB that have arrived in part, over all
	// Readers that share it. nil: no bound.
	Memory *Memory
	// OnMemoryExceeded is called once, when the limit of Memory is exceeded and this
	// Reader uses most of it; the error is ErrMemory with figures. It runs on the
	// goroutine of any Reader that shares the Memory: it should close the connection,
	// and must neither block nor use a Reader. The Reader fails with the same error.
	OnMemoryExceeded func(error)
	// AwaitMemory waits, on the Reader's goroutine, until blocked returns false, which it
	// asks again whenever Memory.Room is closed. It returns false if that took too long or
	// the connection was closed. nil: a Reader without room fails.
	AwaitMemory func(blocked func() bool) bool
	// BeforeWait is called before a call other than Wait waits for the network, because
	// it needs bytes that have not arrived. It may close the connection. It may be nil.
	BeforeWait func()
}

// Reader reads from one connection. One goroutine uses it.
//
// Errors are those of the connection. After an error of a read deadline no bytes are
// lost: the next call continues where the last one stopped.
type Reader struct {
	conn    net.Conn
	raw     syscall.RawConn       // nil: conn.Read
	try     func(fd uintptr)      // made once: a closure for each read would allocate
	tryWait func(fd uintptr) bool // try that is called again when something has arrived; nil before the first wait
	size    int                   // of the usual buffer, a power of two

	polls   bool // try uses TryRead, and raw only waits
	roams   bool // conn is Roaming, and raw is nil
	packets bool
	owned   bool // the last Peek's bytes are in big
	given   bool // a part of big has been discarded, and its caller may keep it
	short   bool // the last try got less than there was room for
	timed   bool // the time of the present frame runs; see frameClock
	eager   bool // see SetEager

	// The unread bytes are big[off:], then buf[r:w].
	buf  []byte // with len == cap; nil while it is in the pool
	r, w int
	big  []byte // a frame over 64 KiB that arrives; nil if none
	off  int

	pending error // returned with bytes; the next read reports it
	fatal   error // why reading has ended

	dst    []byte // where try reads to; nil: the usual buffer
	got    int    // bytes that try has read; -1: none had arrived
	gotErr error
	kept   int // see Keep

	beforeWait func()
	frame      frameClock
	account    account
}

// New returns a Reader of conn. It does not close conn.
//
// It reads through conn.Read, unless conn is a Pollable, a TLS connection of package
// tlspoll, or a *net.TCPConn or *net.UnixConn itself (not a type that embeds one, whose
// Read must be called): then it waits without a buffer.
func New(conn net.Conn, cfg Config) *Reader {
	r := new(Reader)
	r.Init(conn, cfg)
	return r
}

// Init initialises a zero Reader as New does.
func (r *Reader) Init(conn net.Conn, cfg Config) {
	r.conn, r.size, r.beforeWait = conn, defaultBuffer, cfg.BeforeWait
	if cfg.Buffer > 0 {
		r.size = capacity(min(cfg.Buffer, maxBuffer))
	}
	if a := conn.LocalAddr(); a != nil && a.Network() == "unixpacket" {
		r.packets = true
		r.size = max(r.size, 2*packetRoom) // room for a packet after a part of a frame
	}
	r.account.memory, r.account.exceed, r.account.await = cfg.Memory, cfg.OnMemoryExceeded, cfg.AwaitMemory
	r.useRaw()
}

// SetEager makes calls other than Wait fail with ErrNothing where they would wait for the
// network. No bytes are lost: the next call continues where the last one stopped.
func (r *Reader) SetEager(eager bool) { r.eager = eager }

// Memory returns the Memory of the Config; it may be nil.
func (r *Reader) Memory() *Memory { return r.account.memory }

// BeforeWait calls the function of the Config, before the caller waits for something else
// than the network.
func (r *Reader) BeforeWait() {
	if r.beforeWait != nil {
		r.beforeWait()
	}
}

// Settled reports whether a poller that waits for Raw notices all that can be read. It
// reads without waiting to find out. It must not be called if Raw is nil.
func (r *Reader) Settled() bool {
	if r.Buffered() > 0 || r.pending != nil {
		return false
	}
	if !r.polls {
		return true
	}
	some, err := r.TryWait()
	if err != nil {
		r.pending = err // for the next read
	}
	return !some && err == nil
}

// Buffered returns the number of bytes that can be read without waiting.
func (r *Reader) Buffered() int { return len(r.big) - r.off + r.w - r.r }

// Raw returns the raw connection that Wait waits with; nil if it uses the connection's Read.
func (r *Reader) Raw() syscall.RawConn {
	if r.roams {
		return r.conn.(Roaming).Descriptor()
	}
	return r.raw
}

// Wait returns when at least one byte is buffered. While it waits, the buffer
// of a TCP or unix connection is in the pool. The error is io.EOF at the end.
func (r *Reader) Wait() error {
	for r.Buffered() == 0 {
		if err := r.fill(mustWait); err != nil {
			return err
		}
	}
	return nil
}

// TryWait is Wait, but does not wait: ok reports whether at least one byte is
// buffered. If nothing is, the Reader keeps its buffer for the next call, until Wait or
// ReleaseIfEmpty. It must not be called if Raw is nil.
func (r *Reader) TryWait() (ok bool, err error) {
	if r.Buffered() > 0 {
		return true, nil
	}
	err = r.fill(noWait)
	if err == errNothing {
		return false, nil
	}
	return err == nil, err
}

// ReleaseIfEmpty returns the buffer to the pool if it is empty.
func (r *Reader) ReleaseIfEmpty() {
	if r.Buffered() == 0 {
		r.release()
	}
}

// LastReadShort reports whether the last read did not fill its buffer: then most likely
// no more bytes have arrived.
func (r *Reader) LastReadShort() bool { return r.short }

// Peek returns the next n bytes without consuming them. They lie in the buffer
// and are valid until the next Peek, Read, Wait, TakeBuffered or Close; a Discard of no
// more than what is buffered does not touch them. If Peek returns fewer than n bytes,
// it returns an error: at the end of the stream io.EOF if there are none,
// io.ErrUnexpectedEOF if there are some.
//
// n may be larger than the buffer, which then grows, but never beyond four times the bytes
// that have arrived (or its usual size). The caller bounds n by its limit for frames.
func (r *Reader) Peek(n int) ([]byte, error) {
	r.owned = false
	if r.big == nil && uint(n) <= uint(r.w-r.r) {
		return r.buf[r.r : r.r+n], nil
	}
	return r.peekMore(n)
}

// peekMore is Peek for a frame of which a part has not arrived, or is in big.
func (r *Reader) peekMore(n int) ([]byte, error) {
	if n < 0 {
		return nil, bufio.ErrNegativeCount
	}
	if r.big != nil && len(r.big)-r.off < n && n <= bigFrame {
		r.compact()
	}
	if n > bigFrame && r.Buffered() == 0 {
		if err := r.fill(mayWait); err != nil { // no buffer for a frame of which no byte has arrived
			return nil, err
		}
	}
	if r.big != nil || n > bigFrame && n > r.w-r.r {
		return r.peekBig(n)
	}
	for r.w-r.r < n {
		if err := r.fill(mayWait); err != nil {
			return r.buf[r.r:r.w], cut(err, r.w-r.r)
		}
	}
	return r.buf[r.r : r.r+n], nil
}

// Owned reports whether the bytes of the last Peek lie in a buffer of their own, as
// those of a frame over 64 KiB do unless the usual buffer held all of it. Once the
// caller has discarded all these bytes it owns them, their capacity included: the
// Reader does not touch them any more.
func (r *Reader) Owned() bool { return r.owned }

// Discard skips n bytes and returns how many it has skipped. If that is fewer than n,
// it returns an error, as Peek does.
func (r *Reader) Discard(n int) (int, error) {
	if r.big == nil && uint(n) <= uint(r.w-r.r) {
		r.r += n
		return n, nil
	}
	return r.discardMore(n)
}

// discardMore is Discard for bytes that have not arrived, or are in big.
func (r *Reader) discardMore(n int) (int, error) {
	if n < 0 {
		return 0, bufio.ErrNegativeCount
	}
	for left := n; ; {
		left -= r.consume(left)
		if left == 0 {
			return n, nil
		}
		if err := r.fill(mayWait); err != nil {
			return n - left, cut(err, n-left)
		}
	}
}

// Read reads up to len(p) bytes; it waits only if nothing is buffered.
func (r *Reader) Read(p []byte) (int, error) {
	r.owned = false
	if len(p) == 0 {
		return 0, nil
	}
	for r.Buffered() == 0 {
		if len(p) >= r.size && !r.packets {
			r.release()
			return r.read(p, mayWait)
		}
		if err := r.fill(mayWait); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.big[r.off:])
	n += copy(p[n:], r.buf[r.r:r.w])
	r.consume(n)
	return n, nil
}

// Close returns the buffers to the pool. No other method may be called after it, and
// bytes that are not owned must not be used after it. It may be called again.
func (r *Reader) Close() {
	r.fatal = net.ErrClosed
	r.owned, r.kept = false, 0
	if r.big != nil && !r.given {
		bufpool.Put(r.big)
	}
	r.dropBig()
	r.account.set(0)
	r.account.drop()
	r.release()
}

// consume skips up to n buffered bytes, without touching them.
func (r *Reader) consume(n int) int {
	done := min(n, len(r.big)-r.off)
	if done > 0 {
		r.off += done
		r.given = true
		if r.off == len(r.big) {
			r.dropBig()
		}
	}
	rest := min(n-done, r.w-r.r)
	r.r += rest
	return done + rest
}

// waiting says what a read does when no bytes have arrived.
type waiting uint8

const (
	noWait   waiting = iota // fails with errNothing
	mayWait                 // calls BeforeWait, and waits
	mustWait                // waits, without BeforeWait: the caller of Wait expects it
)

// fill reads once, to the end of the usual buffer's contents.
func (r *Reader) fill(how waiting) error {
	n, err := r.read(nil, how)
	r.w += n
	return err
}

// read reads once into dst, or into the usual buffer if dst is nil. It returns
// either bytes or an error.
func (r *Reader) read(dst []byte, how waiting) (n int, err error) {
	if r.fatal != nil || r.pending != nil || r.account.cause.Load() != nil {
		return 0, r.stopped()
	}
	if how == noWait && r.try != nil {
		n, err = r.readRaw(dst, false)
	} else {
		n, err = r.readWaiting(dst, how)
	}
	if n > 0 && err == nil && !r.packets {
		return n, nil
	}
	return r.judge(n, err)
}

// stopped returns why nothing is read: an error that came with bytes only once.
func (r *Reader) stopped() (err error) {
	switch {
	case r.account.condemned() != nil:
		return r.account.condemned()
	case r.fatal != nil:
		return r.fatal
	}
	err, r.pending = r.pending, nil
	return err
}

// readWaiting is read for a call that waits, or for a connection that can only be read so.
func (r *Reader) readWaiting(dst []byte, how waiting) (n int, err error) {
	if r.eager && how == mayWait {
		how = noWait
	}
	switch {
	case r.try != nil:
		n, err = r.readRaw(dst, how == mustWait)
		if err == errNothing && how == mayWait {
			r.willWait() // not within RawConn.Read: a Close would wait for that to return
			n, err = r.readRaw(dst, true)
			err = r.timeoutOf(err)
		}
	case how == noWait:
		return 0, errNothing // only a read can tell, and it may wait
	default:
		if how == mayWait {
			r.willWait()
		}
		n, err = r.readConn(dst)
		err = r.timeoutOf(err)
	}
	return n, err
}

// judge returns the result of a read that got n bytes and err.
func (r *Reader) judge(n int, err error) (int, error) {
	if n > 0 {
		r.pending, err = err, nil
	}
	if r.packets && n >= packetRoom {
		r.fatal = fmt.Errorf("%w: at least %d bytes", ErrPacketTooLarge, n)
		return 0, r.fatal
	}
	if err != nil {
		if c := r.account.condemned(); c != nil {
			return 0, c // rather than the error of the connection that was closed for it
		}
	}
	return n, err
}

// readConn reads by the connection's own method.
func (r *Reader) readConn(dst []byte) (int, error) {
	if dst == nil {
		dst = r.room()
	}
	for range maxEmptyReads {
		if n, err := r.conn.Read(dst); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// willWait is called before a wait in the middle of a frame.
func (r *Reader) willWait() {
	r.BeforeWait()
	r.arm()
}

// room returns the free end of the usual buffer.
func (r *Reader) room() []byte {
	if r.r == r.w && len(r.buf) == r.size {
		r.r, r.w = 0, 0
		return r.buf
	}
	return r.makeRoom()
}

// makeRoom is room for a buffer that is not empty, or not of the usual size. It moves the
// contents to the front: that happens at most once per frame, and then all the rest of the
// buffer is free for the read. It doubles a full buffer, and replaces one that has become too
// large for its contents.
func (r *Reader) makeRoom() []byte {
	have, size := r.w-r.r, r.size
	if have > 0 {
		size = max(size, floor(2*have))
	}
	if r.packets {
		size = max(size, ceil(have+packetRoom)) // more only after Unread
	}
	switch {
	case have == len(r.buf) || len(r.buf) > size:
		b := whole(take(size))
		copy(b, r.buf[r.r:r.w])
		r.release()
		r.buf = b
	case r.r > 0:
		copy(r.buf, r.buf[r.r:r.w])
	}
	r.r, r.w = 0, have
	if r.packets {
		return r.buf[have : have+packetRoom]
	}
	return r.buf[have:]
}

// release returns the usual buffer, which is empty, to the pool.
func (r *Reader) release() {
	if r.buf != nil {
		bufpool.Put(r.buf)
	}
	r.buf, r.r, r.w = nil, 0, 0
}

// cut returns the error of a call that got only n bytes and then err.
func cut(err error, n int) error {
	if err == io.EOF && n > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}
