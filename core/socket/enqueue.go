package socket

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/outbox"
)

// This file makes messages frames of the outgoing batch of a Conn.

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

// PackError is a message that could not be made a frame: its codec, a filter or
// the size limit refused it. Nothing was sent and the connection is as before.
type PackError struct{ Err error }

func (e *PackError) Error() string { return e.Err.Error() }
func (e *PackError) Unwrap() error { return e.Err }

// Enqueue appends the message to the outgoing batch. It waits for room until ctx
// ends (nil: without end). Call Flush afterwards. Errors: a *PackError, ctx's
// error, or what the connection died of. Safe for concurrent use.
func (c *Conn) Enqueue(ctx context.Context, m *Envelope) error {
	return c.enqueue(ctx, m, enqueueWait, nil)
}

// EnqueueNow is Enqueue for the reading goroutine: it never waits for room and
// may overshoot the bound up to twice; beyond that it fails.
func (c *Conn) EnqueueNow(m *Envelope) error {
	return c.enqueue(context.Background(), m, enqueueNow, nil)
}

// TryEnqueue is Enqueue if there is room at once, else its error is ErrFull.
func (c *Conn) TryEnqueue(m *Envelope) error {
	return c.enqueue(context.Background(), m, enqueueTry, nil)
}

// PushPolicy returns what WithPushPolicy has set, "" if nothing.
func (m *Envelope) PushPolicy() PushPolicy {
	if m.push == nil {
		return ""
	}
	return m.push.policy
}

// pushKey returns what WithPushKey has set, or else the service method.
func (m *Envelope) pushKey() string {
	if m.push == nil || m.push.key == "" {
		return m.method
	}
	return m.push.key
}

// EnqueuePush is Enqueue for a PUSH with a policy that does not wait. dropped is how many
// other messages it has dropped; taken is false if it has dropped this one. With PushFail and
// PushDisconnect the error wraps ErrFull if there is no room. It never waits for the network.
// Call Flush afterwards.
func (c *Conn) EnqueuePush(m *Envelope, p PushPolicy) (taken bool, dropped int, err error) {
	t := try{policy: p.queued(), taken: true}
	err = c.enqueue(context.Background(), m, enqueuePush, &t)
	if errors.Is(err, ErrFull) && t.policy != outbox.Fail {
		return false, 0, nil // there was no memory to pack it
	}
	return t.taken && err == nil, t.dropped, err
}

// try is how a PUSH that does not wait fares.
type try struct {
	policy  outbox.Policy
	taken   bool
	dropped int
}

// ErrFull says that there is no room for a message at the moment.
var ErrFull = outbox.ErrFull

type admission uint8

const (
	enqueueWait admission = iota
	enqueueNow
	enqueueTry
	enqueuePush // as its policy says

	measured admission = 1 << 7 // the pipe has been chosen
)

// enqueue appends m to the batch. push is not nil for enqueuePush.
func (c *Conn) enqueue(ctx context.Context, m *Envelope, how admission, push *try) error {
	if c.pipe != nil && how&measured == 0 && m.pipe.Len() == 0 {
		return c.enqueueMeasured(ctx, m, how, push)
	}
	how &^= measured
	m.limit, m.sized = c.limit.Load(), 0
	app := c.appender()
	size, inPlace := m.inPlace(inPlaceMax)
	if app == nil || !inPlace {
		return c.enqueueBeside(ctx, m, app, size, how, push)
	}
	var b []byte
	var err error
	switch how {
	case enqueueWait:
		b, err = c.out.Begin(ctx)
	case enqueueNow:
		b, err = c.out.BeginNow()
	case enqueueTry:
		b, err = c.out.TryBegin()
	case enqueuePush:
		b, err = c.out.BeginPush(push.policy)
		if err == ErrFull { // it is queued as a frame
			return c.enqueueBeside(ctx, m, app, size, how, push)
		}
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

// enqueueBeside is enqueue for a message of size bytes, about, that is packed beside the
// batch: it is large, or must not be packed under the lock.
func (c *Conn) enqueueBeside(ctx context.Context, m *Envelope, app FrameAppender, size int, how admission, push *try) error {
	p := packer{c: c, how: how, mayBeBulk: m.mtype == TypeData && how == enqueueWait}
	defer p.release()
	if err := p.admit(ctx, m, size); err != nil {
		return err
	}
	frame, err := c.packFrame(app, m)
	if err != nil {
		bufpool.Put(frame)
		return &PackError{err}
	}
	at, err := p.accept(ctx, m, frame, push)
	if err == nil {
		m.place = at + 1
		c.nowSpoke()
	}
	return err
}

// packer packs a message beside the batch. It has what it holds meanwhile: before the message
// is packed, and until the batch has the frame.
type packer struct {
	c         *Conn
	how       admission
	mayBeBulk bool          // it is bulk if it is large
	turn      *outbox.Bulk  // of which it is the turn of this message; nil: of none
	slots     chan struct{} // of which it has one; nil: it has none
	claim     *inbox.Claim  // nil: it is small
}

// admit waits until a message of size bytes, about, may be packed: for its turn, if it is known
// to be bulk, then for a slot, then for memory.
func (p *packer) admit(ctx context.Context, m *Envelope, size int) (err error) {
	if p.mayBeBulk && size >= outbox.BulkFrom { // else acceptBulk finds that it is
		if err := p.enterBulk(ctx); err != nil {
			return err
		}
	}
	if p.how == enqueueWait || p.how == enqueueTry {
		if p.slots, err = p.c.acquirePacking(ctx, p.how, m.pipe.Remote()); err != nil {
			return err
		}
	}
	p.claim, err = p.c.claim(ctx, m, size, p.how)
	return err
}

// accept gives the frame to the batch.
func (p *packer) accept(ctx context.Context, m *Envelope, frame []byte, push *try) (at uint64, err error) {
	if p.claim != nil {
		p.claim.Set(int64(cap(frame))) // until the batch has it
	}
	switch out := &p.c.out; p.how {
	case enqueueWait:
		if p.mayBeBulk && len(frame) >= outbox.BulkFrom {
			return p.acceptBulk(ctx, frame)
		}
		at, err = out.Send(ctx, frame)
	case enqueueNow:
		at, err = out.SendNow(frame)
	case enqueueTry:
		at, err = out.TrySend(frame)
	case enqueuePush:
		push.taken, push.dropped, err = out.Push(frame, push.policy, m.pushKey())
	}
	return at, err
}

// acceptBulk is accept for bulk.
func (p *packer) acceptBulk(ctx context.Context, frame []byte) (at uint64, err error) {
	if p.turn == nil {
		p.leaveSlot() // the one whose turn it is may wait for it
		if err := p.enterBulk(ctx); err != nil {
			bufpool.Put(frame)
			return 0, err
		}
	}
	n := len(frame)
	if at, err = p.c.out.Send(ctx, frame); err == nil {
		p.turn.Accepted(at, n)
	}
	return at, err
}

// enterBulk waits until it is the turn of this message among those that are bulk.
func (p *packer) enterBulk(ctx context.Context) error {
	b := p.c.packingSlots().bulk
	err := p.c.out.EnterBulk(ctx, b)
	if err == nil {
		p.turn = b
	}
	return err
}

func (p *packer) leaveSlot() {
	if p.slots != nil {
		<-p.slots
		p.slots = nil
	}
}

// release gives back what the packer holds.
func (p *packer) release() {
	if p.claim != nil {
		p.claim.Free()
	}
	p.leaveSlot()
	if p.turn != nil {
		p.turn.Leave()
	}
}

// remotePacking is how many messages with remote filters are packed at once.
const remotePacking = 64

// acquirePacking waits until the message may be packed beside the batch: so many at once
// that all processors are busy, or all remote filters, but no more, since each holds its
// frame until there is room for it. The caller receives from the slots, if they are not nil, when the batch has
// the frame. If there is room, but those that pack take long, it does not wait for them:
// a codec may send a message itself.
func (c *Conn) acquirePacking(ctx context.Context, how admission, remote bool) (slots chan struct{}, err error) {
	p := c.packingSlots()
	slots = p.local
	if remote {
		slots = p.remote
	}
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

func (c *Conn) packingSlots() *packingSlots {
	if p := c.packing.Load(); p != nil {
		return p
	}
	c.packing.CompareAndSwap(nil, &packingSlots{make(chan struct{}, runtime.GOMAXPROCS(0)), make(chan struct{}, remotePacking), outbox.NewBulk()})
	return c.packing.Load()
}

// packFree is how many bytes packing a message may take without a claim.
const packFree = 64 << 10

// claim claims what packing the message takes, before that is taken: memory for its body,
// of about size bytes, once more if it is encoded, and if it goes through filters, which
// make at most as much of it. The claimant holds what its Holder says. The result is nil for a
// small message.
func (c *Conn) claim(ctx context.Context, m *Envelope, size int, how admission) (claim *inbox.Claim, err error) {
	memory := c.in.Memory()
	if memory == nil {
		return nil, nil
	}
	held, likely, exempt := m.held()
	n := m.packs(size, likely)
	if n <= packFree {
		return nil, nil
	}
	claim = memory.Claim(inbox.ToEnd, held, n)
	if claim.Granted() {
		return claim, nil
	}
	switch {
	case how == enqueueNow, exempt:
		claim.Force()
	case how == enqueueTry, how == enqueuePush:
		return claim, ErrFull
	default:
		var ended <-chan struct{}
		if ctx != nil {
			ended = ctx.Done()
		}
		if !claim.Wait(ended, c.out.Refused()) {
			if err := c.out.Err(); err != nil {
				return claim, err
			}
			return claim, ctx.Err()
		}
	}
	return claim, nil
}

// Unwritten reports whether it is certain that no byte of m has been written to this
// connection, or ever will be: it was not accepted, or was dropped by Stop or a failure
// before a write of it began.
func (c *Conn) Unwritten(m *Envelope) bool { return m.place == 0 || c.out.Unwritten(m.place-1) }

// enqueueMeasured gives a message the connection's pipe if its body is large enough.
func (c *Conn) enqueueMeasured(ctx context.Context, m *Envelope, how admission, push *try) error {
	if m.mtype == TypeCall || m.mtype == TypeReply || m.mtype == TypePush || m.mtype == TypeData {
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
			m.packOnce()
		}
	}
	return c.enqueue(ctx, m, how|measured, push)
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
	if !m.encoded {
		body, err := m.Encode(bufpool.Get(c.guess(m)))
		defer bufpool.Put(body)
		if err != nil {
			return nil, err
		}
		defer func() { m.encoded, m.raw = false, nil }() // body goes back to the pool
	}
	c.packMu.Lock()
	defer c.packMu.Unlock()
	c.frame = bufpool.Get(len(m.raw) + beside)
	defer func() { c.frame = nil }()
	err = c.proto.Pack(m)
	return c.frame, err
}

// guess is about the room that the frame of m takes. What filters make of a large body is
// most often much less than that.
func (c *Conn) guess(m *Envelope) int {
	n := max(m.bodyLen(), 0)
	if b, ok := m.body.(string); ok && !m.encoded {
		n = len(b)
	}
	if m.pipe.Len() > 0 && n > wholeUpTo {
		n /= 4
	}
	return n + beside + len(m.method)
}

// wholeUpTo is the largest body for whose filters there is room for a frame as large.
const wholeUpTo = 1 << 20
