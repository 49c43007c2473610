package socket

import (
	"context"
	"fmt"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/outbox"
	"github.com/teleport-go/teleport/core/xfer"
)

// inPlaceMax is the largest body that is encoded straight into the outgoing
// batch, under its lock; larger ones are encoded beside it and handed over.
const inPlaceMax = 16 << 10

const (
	// roomAlways is what Begin has free for a frame.
	roomAlways = 4 << 10
	// packingPatience is how long a message waits for others to be packed if there is room.
	packingPatience = 10 * time.Millisecond
	// beside is what a frame has beside its body and method, about.
	beside = 512
)

// FlushMode is a combination of hints for [Conn.Flush].
type FlushMode = outbox.Mode

const (
	// Yield lets others append first: other messages are in flight.
	Yield = outbox.Yield
	// NoBlock says that this goroutine must not wait for the network.
	NoBlock = outbox.NoBlock
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
	ends      bool        // proto is an Ender
	dialed    bool        // this and the next three are as in Options
	pipe      *xfer.XferPipe
	pipeMin   int
	recognise time.Duration
	spoke     atomic.Int64 // when the first frame was accepted for sending, in Unix nanoseconds; 0: none was

	packMu sync.Mutex // one Pack at a time, for a proto that is no FrameAppender
	frame  []byte     // guarded by packMu: the frame that Pack writes

	packing atomic.Pointer[chan struct{}] // slots of acquirePacking; made when the first is needed

	// Here and not behind pointers, so that a connection lies in one piece of memory:
	// with thousands of them most is not in the cache, nor are the pages known.
	_      [64]byte // writers look at what is above, the reader changes what follows
	in     inbox.Reader
	peeked *byte    // the end of the memory of the last Peek; the reading goroutine's
	reads  bool     // the protocol calls Read; the reading goroutine's
	keeps  bool     // and it calls Keep for the present message
	read   int      // bytes that it has read of the message
	_      [64]byte // the flags and the lock of out begin a cache line
	out    outbox.Writer
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
	c.proto = pf(wire{c})
	c.app, _ = c.proto.(FrameAppender)
	c.turns, _ = c.proto.(switcher)
	_, c.ends = c.proto.(Ender)
}

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

// Buffered is the number of bytes that have arrived and were not read. Only the
// reading goroutine calls it.
func (c *Conn) Buffered() int { return c.in.Buffered() }

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
func (c *Conn) ReadInto(m *Envelope) (err error) {
	defer func() {
		c.in.EndFrame()
		if p := recover(); p != nil {
			err = fmt.Errorf("socket: protocol panicked while reading: %v", p)
		}
	}()
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

// readFree is how many bytes of a message a protocol may read by itself before they
// count.
const readFree = 64 << 10

// hasRead counts n bytes more that the protocol has read of the message: it collects them
// in memory of its own, unless it says by Keep how much that is.
func (c *Conn) hasRead(n int) error {
	if c.read += n; c.keeps || c.read <= readFree {
		return nil
	}
	return c.in.Keep(c.read)
}

// PackError is a message that could not be made a frame: its codec, a filter or
// the size limit refused it. Nothing was sent and the connection is as before.
type PackError struct{ Err error }

func (e *PackError) Error() string { return e.Err.Error() }
func (e *PackError) Unwrap() error { return e.Err }

// Enqueue appends the message to the outgoing batch. It waits for room until ctx
// ends (nil: without end). Call Flush afterwards. Errors: a *PackError, ctx's
// error, or what the connection died of. Safe for concurrent use.
func (c *Conn) Enqueue(ctx context.Context, m *Envelope) error { return c.enqueue(ctx, m, enqueueWait) }

// EnqueueNow is Enqueue for the reading goroutine: it never waits for room and
// may overshoot the bound up to twice; beyond that it fails.
func (c *Conn) EnqueueNow(m *Envelope) error { return c.enqueue(context.Background(), m, enqueueNow) }

// TryEnqueue is Enqueue if there is room at once, else its error is ErrFull.
func (c *Conn) TryEnqueue(m *Envelope) error { return c.enqueue(context.Background(), m, enqueueTry) }

// ErrFull says that there is no room for a message at the moment.
var ErrFull = outbox.ErrFull

type admission uint8

const (
	enqueueWait admission = iota
	enqueueNow
	enqueueTry

	measured admission = 1 << 7 // the pipe has been chosen
)

func (c *Conn) enqueue(ctx context.Context, m *Envelope, how admission) error {
	if c.pipe != nil && how&measured == 0 && m.pipe.Len() == 0 {
		return c.enqueueMeasured(ctx, m, how)
	}
	how &^= measured
	m.limit, m.sized = c.limit.Load(), 0
	app := c.appender()
	size, inPlace := m.inPlace(inPlaceMax)
	if app != nil && inPlace {
		var b []byte
		var err error
		switch how {
		case enqueueWait:
			b, err = c.out.Begin(ctx)
		case enqueueNow:
			b, err = c.out.BeginNow()
		case enqueueTry:
			b, err = c.out.TryBegin()
		}
		if err != nil {
			return err
		}
		if size += beside + len(m.method); size > roomAlways && size > cap(b)-len(b) {
			b = c.out.Room(size)
		}
		if err = c.appendFrame(app, b, m); err != nil {
			return &PackError{err}
		}
		c.nowSpoke()
		return nil
	}
	if how != enqueueNow {
		slots, err := c.acquirePacking(ctx, how)
		if err != nil {
			return err
		}
		if slots != nil {
			defer func() { <-slots }()
		}
	}
	frame, err := c.packFrame(app, m)
	if err != nil {
		bufpool.Put(frame)
		return &PackError{err}
	}
	var at uint64
	switch how {
	case enqueueWait:
		at, err = c.out.Send(ctx, frame)
	case enqueueNow:
		at, err = c.out.SendNow(frame)
	case enqueueTry:
		at, err = c.out.TrySend(frame)
	}
	if err == nil {
		m.place = at + 1
		c.nowSpoke()
	}
	return err
}

// acquirePacking waits until the message may be packed beside the batch: so many at once
// that all processors are busy, but no more, since each holds its frame until there is
// room for it. The caller receives from the slots, if they are not nil, when the batch has
// the frame. If there is room, but those that pack take long, it does not wait for them:
// a codec may send a message itself.
func (c *Conn) acquirePacking(ctx context.Context, how admission) (slots chan struct{}, err error) {
	p := c.packing.Load()
	if p == nil {
		made := make(chan struct{}, runtime.GOMAXPROCS(0))
		c.packing.CompareAndSwap(nil, &made)
		p = c.packing.Load()
	}
	slots = *p
	select {
	case slots <- struct{}{}:
		return slots, nil
	default:
	}
	if how == enqueueTry {
		return nil, ErrFull
	}
	var ended <-chan struct{}
	if ctx != nil {
		ended = ctx.Done()
	}
	late := time.NewTicker(packingPatience)
	defer late.Stop()
	for waits := true; waits; {
		select {
		case slots <- struct{}{}:
			waits = false
		case <-ended:
			return nil, ctx.Err()
		case <-late.C:
			if !c.out.Crowded() {
				return nil, c.out.Err()
			}
		}
	}
	if err := c.out.Err(); err != nil { // many may wait when the connection ends
		<-slots
		return nil, err
	}
	return slots, nil
}

// Unwritten reports whether it is certain that no byte of m has been written to this
// connection, or ever will be: it was not accepted, or was dropped by Stop or a failure
// before a write of it began.
func (c *Conn) Unwritten(m *Envelope) bool { return m.place == 0 || c.out.Unwritten(m.place-1) }

// enqueueMeasured gives a message the connection's pipe if its body is large enough.
func (c *Conn) enqueueMeasured(ctx context.Context, m *Envelope, how admission) error {
	if m.mtype == TypeCall || m.mtype == TypeReply || m.mtype == TypePush {
		size, known := m.inPlace(math.MaxInt32 - 1)
		if !known {
			body, err := c.encode(m)
			if err != nil {
				return &PackError{err}
			}
			defer bufpool.Put(body)
			defer func() { m.encoded, m.raw = false, nil }()
			size = len(body)
		}
		if size >= c.pipeMin {
			m.pipe.AppendFrom(c.pipe)
		}
	}
	return c.enqueue(ctx, m, how|measured)
}

// encode encodes the body of m, beside the batch, for what follows.
func (c *Conn) encode(m *Envelope) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("socket: packing panicked: %v", p)
		}
	}()
	return m.Encode(bufpool.Get(c.guess(m)))
}

func (c *Conn) nowSpoke() {
	if c.spoke.Load() == 0 {
		c.spoke.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// appendFrame packs m behind b under the batch's lock, and gives the lock back.
func (c *Conn) appendFrame(app FrameAppender, b []byte, m *Envelope) (err error) {
	committed := false
	defer func() {
		if committed {
			return
		}
		c.out.Abort()
		if p := recover(); p != nil {
			err = fmt.Errorf("socket: packing panicked: %v", p)
		}
	}()
	b, err = app.AppendFrame(b, m)
	if err != nil {
		return err
	}
	committed = true
	m.place = c.out.Commit(b) + 1
	return nil
}

// packFrame packs m into a buffer of its own, beside the batch.
func (c *Conn) packFrame(app FrameAppender, m *Envelope) (frame []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("socket: packing panicked: %v", p)
		}
	}()
	if app != nil {
		return app.AppendFrame(bufpool.Get(c.guess(m)), m)
	}
	// The user's codec must not run under packMu: it might send a message.
	body, err := m.Encode(bufpool.Get(c.guess(m)))
	defer bufpool.Put(body)
	if err != nil {
		return nil, err
	}
	c.packMu.Lock()
	defer c.packMu.Unlock()
	c.frame = bufpool.Get(len(body) + beside)
	defer func() { c.frame = nil }()
	err = c.proto.Pack(m)
	m.encoded, m.raw = false, nil // body goes back to the pool
	return c.frame, err
}

// guess is about the room that the frame of m takes.
func (c *Conn) guess(m *Envelope) int {
	n := beside + len(m.method)
	if m.encoded {
		return n + len(m.raw) // the body may be the caller's again
	}
	switch b := m.body.(type) {
	case []byte:
		n += len(b)
	case *[]byte:
		if b != nil {
			n += len(*b)
		}
	case string:
		n += len(b)
	}
	return n
}

// Cork says that the reading goroutine flushes before long, until Uncork: others that
// see the connection Corked may leave the flush of what they have enqueued to it.
func (c *Conn) Cork() { c.out.Cork() }

// Corked reports whether the reading goroutine flushes what was enqueued before the call.
func (c *Conn) Corked() bool { return c.out.Corked() }

// Uncork ends Cork, and flushes without waiting for the network.
func (c *Conn) Uncork() { c.out.Uncork() }

// Flush makes sure that what was enqueued gets written. mode is a combination
// of Yield and NoBlock.
func (c *Conn) Flush(mode FlushMode) { c.out.Flush(mode) }

// Crowded reports whether a message waits for room: the peer reads more slowly than this
// side writes.
func (c *Conn) Crowded() bool { return c.out.Crowded() }

// Queued returns what was accepted and is not yet written.
func (c *Conn) Queued() (messages, bytes int) { return c.out.Queued() }

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
func (c *Conn) Release() { c.in.Close() }

// CarriesControl reports whether the peer reads messages of the type CONTROL; see
// [ControlCarrier].
func (c *Conn) CarriesControl() bool {
	p, ok := c.proto.(ControlCarrier)
	return ok && p.CarriesControl()
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
// another connection.
func (c *Conn) TakeBuffered() []byte { return c.in.TakeBuffered() }
