package socket

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/outbox"
	"github.com/teleport-go/teleport/core/xfer"
)

// FlushMode is a combination of hints for [Conn.Flush].
type FlushMode = outbox.Mode

const (
	// Yield lets others append first: other messages are in flight.
	Yield = outbox.Yield
	// NoBlock says that this goroutine must not wait for the network.
	NoBlock = outbox.NoBlock
	// Later says that this goroutine is about to enqueue more: another one writes.
	Later = outbox.Later
)

// Options of a [Conn]. The zero value is usable.
type Options struct {
	Dialed       bool           // this side dialled
	Limit        uint32         // largest frame, read or written; 0: the process-wide limit
	Bound        int            // bytes that may wait to be written; 0: 4 MiB
	WriteTimeout time.Duration  // longest flush without progress; 0: 30 s
	Memory       *inbox.Memory  // that memory; may be nil
	Recognise    time.Duration  // longest time in which an AnyProto recognises its peer; 0: 10 s
	Pipe         *xfer.XferPipe // of CALLs, REPLYs and PUSHes that have none, from PipeMin bytes of body on; nil: none
	PipeMin      int
	BeforeWait   func() // called by the reading goroutine before it waits for the network; may be nil

	// AwaitMemory is called by the reading goroutine when Memory has no room for a message:
	// it waits until blocked returns false, and asks again whenever Memory.Room is closed.
	// It returns false if that took too long or the connection was closed. It may be nil.
	AwaitMemory func(blocked func() bool) bool

	// Fail is called when the connection cannot be written any more, and with ErrMemory when
	// Memory is used up and this connection has the most of it; once each. It runs without a
	// lock on any goroutine, and must not block.
	Fail func(error)
}

// Pollable is a connection that can be waited for by its descriptor, so that its session
// has no goroutine and no buffer while nothing comes. After a TryRead that has failed with
// [ErrAgain] nothing that could be read is left in memory: the descriptor becomes readable
// when more arrives. TryRead does not wait, not even for a lock that is held during a write
// of unknown length; the engine may call it while it waits with the descriptor. It returns
// bytes or an error, io.EOF at the end.
//
// The engine treats a *net.TCPConn and a *net.UnixConn itself, and TLS that it runs over
// one, in the same way.
type Pollable = inbox.Pollable

// Roaming is a Pollable whose descriptor changes: it is another one, or nil, at times. The
// engine registers what Watch returns with its poller, until the function that it gave to
// Watch is called: when the descriptor has changed, or when something can be read that it
// does not show; the function does not block, and may be called for nothing. Roamed reports
// whether that is so since the last Watch. Drained reports whether the last TryRead left
// nothing behind, most likely: then the engine does not try again before it waits.
type Roaming = inbox.Roaming

// TryWriter is a connection that can be written without waiting for the network, so that
// the goroutine that reads it need not start another one for its replies. TryWrite takes a
// part of p, at least one byte, or returns an error: [ErrAgain] if it takes nothing at the
// moment. Then the engine calls Write, which waits until the write deadline. The engine
// uses TryWrite on Linux and macOS.
type TryWriter = outbox.TryWriter

// ErrAgain is the error of Pollable.TryRead if nothing has arrived, and of
// TryWriter.TryWrite if nothing is taken.
var ErrAgain = inbox.ErrAgain

// ErrMemory is in the error of a connection that was ended because Options.Memory is used up.
var ErrMemory = inbox.ErrMemory

// Conn is a connection with a protocol, for an engine: many goroutines append messages
// to a batch, which is flushed as one; one goroutine reads. [Socket] is the simple view
// of it.
type Conn struct {
	conn      net.Conn
	proto     Proto
	app       FrameAppender // proto, if it is one
	turns     switcher      // proto, if it may become another
	limit     atomic.Uint32
	heard     atomic.Bool // a frame has arrived
	parted    atomic.Bool // Part was called
	ends      bool        // proto is an Ender
	dialed    bool        // this and the next three are as in Options
	pipe      *xfer.XferPipe
	pipeMin   int
	recognise time.Duration
	spoke     atomic.Int64 // when the first frame was accepted for sending, in Unix nanoseconds; 0: none was

	packMu sync.Mutex // one Pack at a time, for a proto that is no FrameAppender
	frame  []byte     // guarded by packMu: the frame that Pack writes

	packing atomic.Pointer[packingSlots] // slots of acquirePacking; made when the first is needed

	// Here and not behind pointers, so that a connection lies in one piece of memory:
	// with thousands of them most is not in the cache, nor are the pages known.
	_      [64]byte // writers look at what is above, the reader changes what follows
	in     inbox.Reader
	ahead  atomic.Pointer[ahead] // frames whose filters are reversed meanwhile; nil until there was one with a remote filter
	peeked *byte                 // the end of the memory of the last Peek; this and what follows are the reading goroutine's
	reads  bool                  // the protocol calls Read
	keeps  bool                  // and it calls Keep for the present message
	most   uint16                // KiB that ahead may take; 0: there must be none
	read   uint32                // bytes that the protocol has read of the message
	_      [64]byte              // the flags and the lock of out begin a cache line
	out    outbox.Writer
}

// packingSlots bounds how many messages are packed at once beside the batch.
type packingSlots struct {
	local  chan struct{} // so many that all processors are busy
	remote chan struct{} // with filters that wait elsewhere
	bulk   *outbox.Bulk
}

// NewConn makes a Conn of conn with the protocol that pf makes.
func NewConn(conn net.Conn, pf ProtoFunc, o Options) *Conn {
	c := new(Conn)
	c.conn, c.dialed, c.recognise = conn, o.Dialed, o.Recognise
	c.pipe, c.pipeMin = o.Pipe, o.PipeMin
	c.SetLimit(o.Limit)
	c.in.Init(conn, inbox.Config{Memory: o.Memory, OnMemoryExceeded: o.Fail, AwaitMemory: o.AwaitMemory, BeforeWait: o.BeforeWait})
	out := outbox.Config{Bound: o.Bound, WriteTimeout: o.WriteTimeout, Fail: o.Fail}
	if o.Memory != nil {
		out.Draw = o.Memory.DrawFunc()
	}
	c.out.Init(conn, out)
	c.setProto(pf)
	return c
}

func (c *Conn) setProto(pf ProtoFunc) {
	c.proto = makeProto(pf, wire{c})
	c.app, _ = c.proto.(FrameAppender)
	c.turns, _ = c.proto.(switcher)
	_, c.ends = c.proto.(Ender)
}

// makeProto calls pf. If that panics, each message fails with that.
func makeProto(pf ProtoFunc, w wire) (p Proto) {
	defer func() {
		if v := recover(); v != nil {
			p = noProto{fmt.Errorf("socket: the ProtoFunc panicked: %v", v)}
		}
	}()
	return pf(w)
}

// noProto is the protocol of a connection that has none.
type noProto struct{ err error }

func (noProto) Version() (byte, string) { return 0, "" }
func (p noProto) Pack(Message) error    { return p.err }
func (p noProto) Unpack(Message) error  { return p.err }

// appender returns the protocol if it can append frames, else nil.
func (c *Conn) appender() FrameAppender {
	if c.turns == nil {
		return c.app
	}
	app, _ := c.turns.current().(FrameAppender)
	return app
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Proto returns the protocol.
func (c *Conn) Proto() Proto { return c.proto }

// SetLimit sets the largest frame from now on; 0 is the process-wide limit.
func (c *Conn) SetLimit(limit uint32) {
	if limit == 0 {
		limit = MessageSizeLimit()
	}
	c.limit.Store(limit)
}

// Wait waits until something has arrived; while it does the connection holds no
// read buffer. Only the reading goroutine calls it.
//
// Where the protocol reads by itself (see [PeekReader]) it returns at once: then
// Unpack waits.
func (c *Conn) Wait() error {
	if c.reads {
		return nil
	}
	return c.in.Wait()
}

// TryWait is Wait that does not wait: ok tells whether something has arrived. The
// connection must be Pollable.
func (c *Conn) TryWait() (ok bool, err error) { return c.in.TryWait() }

// ReleaseIfEmpty gives the read buffer back if nothing is in it. Only the reading
// goroutine calls it.
func (c *Conn) ReleaseIfEmpty() { c.in.ReleaseIfEmpty() }

// TakeEmpty is ReleaseIfEmpty, but returns the read buffer if another Conn can use it: see
// Lend. Only the reading goroutine calls it.
func (c *Conn) TakeEmpty() []byte { return c.in.TakeEmpty() }

// Lend gives the connection a read buffer from TakeEmpty of another one, or nil. Only the
// reading goroutine calls it.
func (c *Conn) Lend(buffer []byte) { c.in.Lend(buffer) }

// LastReadShort reports whether the last read from the network left nothing behind,
// most likely. Only the reading goroutine calls it.
func (c *Conn) LastReadShort() bool { return c.in.LastReadShort() }

// Pollable returns what a poller can wait with for something to arrive, nil if only the
// connection or its protocol can tell that. Only the reading goroutine calls it.
func (c *Conn) Pollable() syscall.RawConn {
	if c.reads {
		return nil
	}
	return c.in.Raw()
}

// Settled reports whether a poller notices all that can be read. It may read what has
// arrived to find out. The connection must be Pollable. Only the reading goroutine calls it.
func (c *Conn) Settled() bool { return c.in.Settled() }

// Buffered is the number of bytes that have arrived and were not read. Only the
// reading goroutine calls it.
func (c *Conn) Buffered() int {
	if a := c.ahead.Load(); a != nil && a.waiting() {
		return math.MaxInt32 // and does not wait for the network
	}
	return c.in.Buffered()
}

// SetFrameTimeout bounds the time in which a message arrives, from its first bytes on: d,
// and a second more for each KiB that has come; 0 is no bound. A message that takes longer
// is an error of ReadInto. It has no effect where the protocol reads by itself (see
// [PeekReader]). Only the reading goroutine calls it.
func (c *Conn) SetFrameTimeout(d time.Duration) {
	if !c.reads {
		c.in.SetFrameTimeout(d)
	}
}

// ReadInto reads one message. The body stays encoded unless m has a value to
// decode into. Only the reading goroutine calls it. Errors are those of
// Proto.Unpack; a panic of the Proto is an error too.
func (c *Conn) ReadInto(m *Envelope) error {
	if a := c.ahead.Load(); a != nil {
		return a.readInto(m)
	}
	return c.readFrame(m)
}

func (c *Conn) readFrame(m *Envelope) (err error) {
	defer func() {
		c.in.EndFrame()
		if p := recover(); p != nil {
			err = fmt.Errorf("socket: protocol panicked while reading: %v", p)
		}
	}()
	c.in.DropMemory()
	m.limit, c.read, c.keeps = c.limit.Load(), 0, false
	if err := c.proto.Unpack(m); err != nil {
		return err
	}
	if !c.heard.Load() { // what is above in is not written to for nothing
		c.heard.Store(true)
	}
	if c.peeked != nil && c.in.Owned() && endOf(m.raw) == c.peeked {
		m.rawOwned = true // the frame is nobody else's, and the body a part of it
	}
	c.peeked = nil
	return nil
}

// TakeMemory returns how many bytes of Options.Memory the message has that was read last:
// its frame if that is large, and what its filters were reversed to. The caller has them
// from now on; else the next ReadInto gives them back. Only the reading goroutine calls it.
func (c *Conn) TakeMemory() int64 { return c.in.TakeMemory() }

// Cork says that the reading goroutine flushes before long, until Uncork: others that
// see the connection Corked may leave the flush of what they have enqueued to it.
func (c *Conn) Cork() { c.out.Cork() }

// Corked reports whether the reading goroutine flushes what was enqueued before the call.
func (c *Conn) Corked() bool { return c.out.Corked() }

// Uncork ends Cork, and flushes without waiting for the network.
func (c *Conn) Uncork() { c.out.Uncork() }

// Flush makes sure that what was enqueued gets written. mode is a combination
// of Yield, NoBlock and Later.
func (c *Conn) Flush(mode FlushMode) { c.out.Flush(mode) }

// Crowded reports whether a message waits for room: the peer reads more slowly than this
// side writes.
func (c *Conn) Crowded() bool { return c.out.Crowded() }

// Calm returns a channel that is closed when Crowded has changed to false, or before.
func (c *Conn) Calm() <-chan struct{} { return c.out.Calm() }

// Queued returns what was accepted and is not yet written.
func (c *Conn) Queued() (messages, bytes int) { return c.out.Queued() }

// OldestQueued returns how long the oldest of these messages has waited, about; 0 if the
// network has taken all at once.
func (c *Conn) OldestQueued() time.Duration {
	since, ok := c.out.Oldest()
	if !ok {
		return 0
	}
	return time.Since(since)
}

// Err returns why nothing is accepted any more, nil while that is not so.
func (c *Conn) Err() error { return c.out.Err() }

// WaitFlushed waits until all that was enqueued before is written, until ctx
// ends or the connection dies.
func (c *Conn) WaitFlushed(ctx context.Context) error { return c.out.Wait(ctx) }

// Stop refuses further messages with err and drops those not yet written; lost
// is their number. It does not close the connection below.
func (c *Conn) Stop(err error) (lost int) { return c.out.Close(err) }

// Join waits for the end of a flush under way, after Stop and after the
// connection below was closed.
func (c *Conn) Join() { c.out.Join() }

// Release gives the read buffer back; for the reading goroutine, at its end.
func (c *Conn) Release() {
	if a := c.ahead.Load(); a != nil {
		a.close()
	}
	c.in.Close()
}

// CarriesControl reports whether the peer reads messages of the type CONTROL; see
// [ControlCarrier].
func (c *Conn) CarriesControl() bool {
	p, ok := c.proto.(ControlCarrier)
	return ok && p.CarriesControl()
}

// CarriesBye reports whether the peer may be sent a goodbye that is a REPLY; see
// [ByeCarrier].
func (c *Conn) CarriesBye() bool {
	p, ok := c.proto.(ByeCarrier)
	return ok && p.CarriesBye()
}

// Part accepts for sending what the protocol says before the connection is closed; see
// [Parter]. It reports whether that is anything. Only the first call counts; nothing may be
// enqueued after it. The error is a panic of the protocol.
func (c *Conn) Part(r Reason) (said bool, err error) {
	p, ok := c.proto.(Parter)
	if !ok || c.parted.Swap(true) {
		return false, nil
	}
	b, ended := c.out.BeginNow()
	if ended != nil {
		return false, nil
	}
	n := len(b)
	defer func() {
		if v := recover(); v != nil {
			said, err = false, fmt.Errorf("socket: protocol panicked at its farewell: %v", v)
			c.out.Abort()
		}
	}()
	b = p.AppendFarewell(b, r)
	said = len(b) > n
	c.out.Commit(b)
	return said, nil
}

// Abandons reports whether the end of the peer's half of the connection means that it waits
// for no reply; see [Abandoner].
func (c *Conn) Abandons() bool {
	p, ok := c.proto.(Abandoner)
	return ok && p.Abandons()
}

// Heard reports whether a frame has ever arrived.
func (c *Conn) Heard() bool { return c.heard.Load() }

// hintTime is how long after the first frame the peer may close the connection for
// that to be its answer. A peer refuses a frame at once; the rest is for the network.
const hintTime = 2 * time.Second

// Hint returns a likely reason why the peer has closed the connection before it sent a
// frame; see [Hinter]. Where the protocol knows none, that is another protocol of the
// peer's, if this side has dialled and the peer closed soon after the first frame. It
// is "" if a frame has arrived or none was sent.
func (c *Conn) Hint() string {
	spoke := c.spoke.Load()
	if c.heard.Load() || spoke == 0 {
		return ""
	}
	if h, ok := c.proto.(Hinter); ok {
		if hint := h.Hint(); hint != "" {
			return hint
		}
	}
	if !c.dialed || time.Since(time.Unix(0, spoke)) > hintTime {
		return ""
	}
	_, name := c.proto.Version()
	return "the peer closed the connection without an answer to the first frame: it may use another protocol than " + name + ", or TLS"
}

// TakeBuffered takes the bytes that have arrived and were not read, to hand them to
// another Conn: see Unread.
func (c *Conn) TakeBuffered() []byte { return c.in.TakeBuffered() }

// Unread puts a copy of b, which was read from the connection already, in front of what
// arrives. It is called before anything is read.
func (c *Conn) Unread(b []byte) { c.in.Unread(b) }

// ReadAhead lets the filters of frames that have arrived run ahead of their turn, if one of
// them is remote (see [xfer.Remote]) and the protocol is [Repeatable]; most bounds the bytes
// that such frames take, up to 64 MiB. Only the reading goroutine calls it.
func (c *Conn) ReadAhead(most int64) { c.most = uint16(min(most>>10, 1<<16-1)) }

// Ahead returns how many messages wait for their turn, with the last one that ReadInto has
// returned, until Dispatched. It may be called concurrently.
func (c *Conn) Ahead() int {
	if a := c.ahead.Load(); a != nil {
		return int(a.count.Load())
	}
	return 0
}

// Dispatched says that the message that ReadInto has returned last is not needed any more:
// its body, if that was not kept, is used again. It reports whether Ahead became 0. Only
// the reading goroutine calls it.
func (c *Conn) Dispatched() bool {
	a := c.ahead.Load()
	return a != nil && a.dispatched()
}

// beginAhead lets the connection read ahead, if the protocol can.
func (c *Conn) beginAhead() {
	p := c.proto
	if c.turns != nil {
		p = c.turns.current()
	}
	if r, ok := p.(Repeatable); ok && r.Repeatable() {
		c.ahead.Store(&ahead{in: &c.in, readFrame: c.readFrame, memory: c.in.Memory(), most: int64(c.most) << 10})
	}
}
