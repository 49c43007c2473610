// Package outbox implements the outgoing half of one connection: a batch to which many
// goroutines append whole frames, and which one of them at a time writes.
//
// Appending and writing are separate. Begin and Commit (or Send) accept a frame;
// Flush writes what has been accepted. If another goroutine is writing, Flush returns
// at once, and that goroutine writes the frame too. So a hundred frames cost one system
// call, and no goroutine waits for it.
//
//	b, err := w.Begin(ctx)
//	if err != nil {
//		return err
//	}
//	done := false
//	defer func() {
//		if !done {
//			w.Abort() // the appender failed or panicked
//		}
//	}()
//	b = appendFrame(b)
//	done = true
//	w.Commit(b)
//	w.Flush(outbox.Yield)
//
// Frames leave in the order of Commit and Send. A frame is never cut short by
// a context: contexts limit the wait for room, not the write.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

const (
	defaultBound   = 4 << 20
	defaultTimeout = 30 * time.Second

	minFree   = 4 << 10   // free capacity of what Begin returns
	copyBelow = 32 << 10  // smaller frames are copied, larger ones become a segment
	sealAt    = 256 << 10 // a buffer this full is not grown any more
	maxHint   = 64 << 10  // the hint makes a new buffer at most this large
	maxKept   = 1 << 20   // a larger buffer is not kept for the next batch
)

var (
	// ErrStalled says that the peer has taken no byte for Config.WriteTimeout.
	ErrStalled = errors.New("outbox: stalled")
	// ErrSlowReader says that twice Config.Bound waits to be written, so that not even
	// messages of the reading goroutine are accepted: the peer reads too slowly.
	ErrSlowReader = errors.New("outbox: slow reader")
	// ErrFull says that there is no room at the moment.
	ErrFull = errors.New("outbox: the queue is full")
)

// Config holds the limits of a Writer. The zero value is usable.
type Config struct {
	// Bound is how many bytes may wait to be written, those being written
	// included. A frame begun below it may end above it, and a larger frame is
	// accepted when nothing else waits. Default 4 MiB.
	Bound int
	// WriteTimeout is the longest time a flush may go without progress; how
	// long it takes in total does not matter. Progress is what the connection
	// has taken and, on Linux, what its socket has got to the peer's. Default 30 s.
	WriteTimeout time.Duration
	// Draw counts the frames of Send over 256 KiB, from their acceptance until nothing
	// waits to be written any more: it is called with the bytes that come, or that go if
	// they are below 0. It is called with the Writer's lock, and must not block. nil:
	// they are not counted.
	Draw func(n int64)
	// Fail is called when the connection cannot be written any more, at most
	// once and not after Close. It runs without a lock on the goroutine that
	// wrote, a caller of Flush or one of the Writer's own, after that has
	// stopped writing: Fail may call Close and Join. It may be nil.
	Fail func(err error)
}

// Mode adapts Flush to its caller. Modes are combined by |.
type Mode uint8

const (
	// Yield says that other goroutines are about to append, so that it is worth
	// letting them run once before the write.
	Yield Mode = 1 << iota
	// NoBlock says that the caller must not wait for the network.
	NoBlock
	// Later says that the caller is about to append more: a goroutine of the Writer's own
	// writes, which begins when the caller waits, or on another processor.
	Later
)

// Writer collects frames and writes them to one connection. All methods may be
// called concurrently, but between Begin and Commit or Abort the goroutine
// that began must call no other method but Room: it holds the lock.
type Writer struct {
	conn net.Conn
	cfg  Config

	flushing atomic.Bool // a goroutine, the flusher, owns out; set and cleared under mu
	yield    atomic.Bool // Flush was called with Yield while another goroutine was flushing
	corked   atomic.Bool // a goroutine will flush soon; see Cork
	crowded  atomic.Bool // a goroutine waits for room
	packets  bool        // a write is a packet, of maxPacket bytes at most
	closed   bool        // Close has been called; guarded by mu
	sealed   bool        // err is that of Seal; guarded by mu

	mu      sync.Mutex // guards the fields below; held from Begin to Commit
	in      batch      // being filled
	hint    int        // size of the last batch: what a new buffer should hold
	used    int        // bytes accepted and not yet written
	drawn   int        // bytes counted by cfg.Draw
	written uint64     // bytes written since New
	outMsgs int        // messages in out not yet wholly written
	waiting *waiting   // the goroutines that wait; nil if none does
	err     error      // why nothing is accepted any more; nil while open
	lost    int        // number of messages discarded
	begun   uint64     // with err: how many of the accepted bytes a write may have got
	ended   chan struct{}

	// The flusher owns the fields below; they need no lock.
	out   writing
	raw   rawWriter
	plain *plainWriter // nil before the first plain write
}

// plainWriter is the state of plain writes, those through the connection's own Write.
type plainWriter struct {
	chunk    int            // bytes of one write at most
	armed    bool           // the connection has a write deadline
	progress *progressTimer // nil: the progress of a write is seen only at its end
}

// New returns a Writer to conn. While the Writer is in use, no other code may write to
// conn, and the write deadline of conn belongs to the Writer.
func New(conn net.Conn, cfg Config) *Writer {
	w := new(Writer)
	w.Init(conn, cfg)
	return w
}

// Init initialises a zero Writer as New does.
func (w *Writer) Init(conn net.Conn, cfg Config) {
	if cfg.Bound <= 0 {
		cfg.Bound = defaultBound
	}
	if cfg.WriteTimeout <= 0 {
		cfg.WriteTimeout = defaultTimeout
	}
	w.conn, w.cfg = conn, cfg
	w.raw.init(conn)
	a := conn.LocalAddr()
	w.packets = a != nil && a.Network() == "unixpacket"
}

// Begin waits until there is room, after earlier callers, then locks the batch and
// returns the slice to append one frame to. The slice has at least 4 KiB of free
// capacity, and its present contents must not be changed. Every Begin that returns no
// error must be followed by exactly one Commit or Abort, soon: all other callers wait
// meanwhile. Code that may panic needs a deferred Abort.
//
// The wait ends with an error when ctx ends (ctx.Err()), by Close (its error)
// or when the connection fails. A nil ctx has no end.
func (w *Writer) Begin(ctx context.Context) ([]byte, error) {
	if err := w.admit(ctx, 0); err != nil {
		return nil, err
	}
	return w.in.grow(minFree, w.hint), nil
}

// Room may be called between Begin and Commit, before n bytes are appended: it returns
// the slice of Begin with a free capacity of n bytes, so that append does not copy the
// batch. Nothing may have been appended before.
func (w *Writer) Room(n int) []byte {
	if len(w.in.tail) >= copyBelow && cap(w.in.tail)-len(w.in.tail) < n {
		w.in.seal() // to write it by itself costs less than to copy it
	}
	return w.in.grow(n, w.hint)
}

// BeginNow is Begin for the goroutine that reads the connection, which must not wait
// for room: it and the peer's reader might wait for each other. It goes up to twice the
// bound; beyond that the error is ErrSlowReader.
func (w *Writer) BeginNow() ([]byte, error) {
	if err := w.admitNow(0); err != nil {
		return nil, err
	}
	return w.in.grow(minFree, w.hint), nil
}

// TryBegin is Begin, but does not wait: if there is no room, the error is ErrFull.
func (w *Writer) TryBegin() ([]byte, error) {
	if err := w.admitTry(0); err != nil {
		return nil, err
	}
	return w.in.grow(minFree, w.hint), nil
}

// Commit accepts b, which is what Begin returned with one frame appended, as
// one message, and unlocks the batch. It does not write; see Flush. If nothing
// was appended it is an Abort. It returns where the frame begins, counted in bytes
// accepted before; see Unwritten.
func (w *Writer) Commit(b []byte) (at uint64) {
	at = w.accepted()
	n := len(b) - len(w.in.tail)
	if n <= 0 {
		w.Abort()
		return at
	}
	w.in.commit(b)
	w.used += n
	w.joined()
	w.wake()
	w.mu.Unlock()
	return at
}

// accepted is the number of bytes accepted so far. Called with the lock, while open.
func (w *Writer) accepted() uint64 { return w.written + uint64(w.used) }

// Unwritten reports whether it is certain that no byte of the frame at a place that
// Commit or Send has returned was written, or ever will be: the Writer has ended, and
// had not begun to write the batch with that frame.
func (w *Writer) Unwritten(at uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil && at >= w.begun
}

// Abort unlocks the batch and leaves it as it was before Begin.
func (w *Writer) Abort() {
	if len(w.in.tail) == 0 && !w.flushing.Load() {
		w.in.giveBack()
	}
	w.wake()
	w.mu.Unlock()
}

// Send accepts one whole frame, waiting for room as Begin does. The frame came
// from bufpool and belongs to the Writer from now on, also when Send fails.
// From 32 KiB on it is written from where it is, without a copy. An empty frame
// is no message. It returns what Commit returns.
func (w *Writer) Send(ctx context.Context, frame []byte) (at uint64, err error) {
	if err := w.admit(ctx, len(frame)); err != nil {
		recycle(frame)
		return 0, err
	}
	return w.accept(frame), nil
}

// SendNow is to Send as BeginNow is to Begin.
func (w *Writer) SendNow(frame []byte) (at uint64, err error) {
	if err := w.admitNow(len(frame)); err != nil {
		recycle(frame)
		return 0, err
	}
	return w.accept(frame), nil
}

// TrySend is to Send as TryBegin is to Begin.
func (w *Writer) TrySend(frame []byte) (at uint64, err error) {
	if err := w.admitTry(len(frame)); err != nil {
		recycle(frame)
		return 0, err
	}
	return w.accept(frame), nil
}

// accept appends frame to the batch, and returns where it begins. It is called with the
// lock, which it releases.
func (w *Writer) accept(frame []byte) (at uint64) {
	at = w.accepted()
	w.put(frame)
	w.wake()
	w.mu.Unlock()
	return at
}

// put appends frame to the batch. Called with the lock.
func (w *Writer) put(frame []byte) {
	n := len(frame)
	switch {
	case n == 0:
		recycle(frame)
	case n < copyBelow:
		w.in.commit(append(w.Room(n), frame...))
		recycle(frame)
	default:
		w.in.segment(frame)
	}
	w.used += n
	if n > sealAt && w.cfg.Draw != nil {
		w.drawn += n
		w.cfg.Draw(int64(n))
	}
	w.joined()
}

// giveBack ends what is counted by cfg.Draw. Called with the lock.
func (w *Writer) giveBack() {
	if w.drawn > 0 {
		w.cfg.Draw(-int64(w.drawn))
		w.drawn = 0
	}
}

// Queued returns how much has been accepted and not yet been written, what is queued
// included. The number of bytes is exact except for a write that has not returned; a message
// counts until the whole buffer that holds it has been written.
func (w *Writer) Queued() (messages, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	messages, bytes = w.in.msgs+w.outMsgs, w.used
	if w.waiting != nil {
		messages, bytes = messages+w.waiting.msgs, bytes+w.waiting.bytes
	}
	return messages, bytes
}

// Crowded reports whether a message waits for room.
func (w *Writer) Crowded() bool { return w.crowded.Load() }

// Err returns why nothing is accepted any more, nil while the Writer is open.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close ends acceptance: waiting and later callers get err (net.ErrClosed if it is nil),
// and what has not been written is discarded. It returns the number of messages that
// were discarded, now or when the connection failed before; a message of which only a
// part was written counts. Close does not close the connection: the owner must do so
// first, which ends a write in progress. Only the first call counts; later ones return
// the same number.
func (w *Writer) Close(err error) (lost int) {
	if err == nil {
		err = net.ErrClosed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return w.lost
	}
	w.closed = true
	if w.sealed {
		w.err, w.sealed = nil, false
	}
	w.refuse(err)
	w.err = err
	return w.lost
}

// Join waits, after Close, until no goroutine writes to the connection any more.
func (w *Writer) Join() {
	w.mu.Lock()
	if !w.flushing.Load() {
		w.mu.Unlock()
		return
	}
	if w.ended == nil {
		w.ended = make(chan struct{})
	}
	ended := w.ended
	w.mu.Unlock()
	<-ended
}

// refuse ends acceptance with err, unless it has ended before, discards the batch that
// is not being written and wakes all waiters. It is called with the lock.
func (w *Writer) refuse(err error) {
	if w.err != nil {
		return
	}
	w.err = err
	w.lost = w.in.msgs + w.outMsgs + w.discardQueue()
	w.begun = w.accepted() - w.in.size()
	w.in.discard()
	w.used, w.outMsgs = 0, 0
	w.giveBack()
	if w.waiting != nil {
		w.waiting.room.signalAll()
		w.waiting.drained.signalAll()
		w.waiting.bulk.signalAll()
		if w.waiting.refused != nil {
			close(w.waiting.refused)
		}
	}
}

func slowReader(used, bound int) error {
	return fmt.Errorf("%w: %d bytes wait to be written, the bound is %d", ErrSlowReader, used, bound)
}

// recycle returns a buffer to the pool.
func recycle(b []byte) { bufpool.Put(b) }

// queue returns the backlog. Called with the lock, as the functions below are.
func (w *Writer) queue() *backlog { return &w.waiters().backlog }

// unqueue takes a frame out of the queue.
func (w *Writer) unqueue(t *waiter) (frame []byte) {
	b := w.queue()
	b.msgs--
	b.bytes -= len(t.frame)
	if t.policy == Latest {
		delete(b.byKey, t.key)
	}
	w.count(-len(t.frame))
	frame, t.pushed = t.frame, pushed{}
	w.waiting.room.remove(t)
	return frame
}

// count counts n bytes of a large frame by cfg.Draw.
func (w *Writer) count(n int) {
	if (n > sealAt || n < -sealAt) && w.cfg.Draw != nil {
		w.cfg.Draw(int64(n))
	}
}

// discardQueue drops what is queued, and returns how many frames that is.
func (w *Writer) discardQueue() (n int) {
	if w.waiting == nil {
		return 0
	}
	for t := w.first(); t != nil; {
		next := t.next
		if t.frame != nil {
			recycle(w.unqueue(t))
			n++
		}
		t = next
	}
	return n
}

// joined notes that a frame has been accepted into the batch, behind others that wait.
func (w *Writer) joined() {
	if b := w.waiting; b != nil && !b.outSince.IsZero() && b.inSince.IsZero() {
		b.inSince = time.Now()
	}
}
