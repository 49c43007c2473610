package tp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds what the reader of a link does for streams, and how a stream begins and
// ends. streamio.go has Send and Recv, stream.go what the user sees. DESIGN.md has a table of
// the ends: what each side sees, and what goes over the wire.
//
// A stream is a CALL with the metadata X-Stream: its handler runs as long as the stream is
// open, and its REPLY is the end. Meanwhile both sides send DATA, and CONTROL messages with
// the verbs
//
//	end      the sender sends no more DATA; it has sent m messages
//	credit   the receiver has received m messages, and the sender may send n bytes more
//	reset    the stream has ended for the sender of reset, by a fault: code and reason
//
// The number of all of them is that of the CALL: positive if the sender of the message is
// the opener of the stream, else negative.
//
// The reader only puts messages into the stream's queue; it never waits. So the sender must
// not send more than the receiver has room for: it may send a message as long as it has
// credit left, in the bytes of messageCost. At first it has what the other side has said: the
// opener in X-Stream, the other in hello.

const (
	verbEnd    = "end"
	verbCredit = "credit"
	verbReset  = "reset"

	// Keys of their metadata. Those of reset are those of bye.
	creditBytes    = "n"
	creditMessages = "m" // of end, too

	// dataOverhead is what a message costs beside its body and metadata, in credit and in
	// memory, and pairOverhead a pair of metadata beside its key and value.
	dataOverhead = 64
	pairOverhead = 32
	// mostCredit is the most that a sender may have.
	mostCredit = math.MaxInt32
	// mostEnd is how many bytes of metadata the end of one side's messages may have, with
	// pairOverhead for each pair.
	mostEnd = 1 << 10
	// smallDatum is the largest body that is copied, with others, into a chunk.
	smallDatum = 8 << 10
	// mostChunk is the size of the largest chunk.
	mostChunk = 32 << 10
)

// messageCost is what a message with an encoded body of n bytes and these metadata, or nil,
// costs, in credit and in memory.
func messageCost(n int64, meta *Meta) int64 {
	n += dataOverhead
	if meta != nil {
		for k, v := range meta.All() {
			n += int64(len(k)+len(v)) + pairOverhead
		}
	}
	return n
}

func (d *datum) cost() int64 { return messageCost(int64(len(d.body)), d.meta) }

var errOverdrawn = errors.New("the other side has sent more than the window of the stream")

// table returns the table of the link's streams, made if necessary.
func (l *link) table() *streamTable {
	if t := l.streams.Load(); t != nil {
		return t
	}
	l.streams.CompareAndSwap(nil, &streamTable{open: make(map[int32]*stream)})
	return l.streams.Load()
}

// stream returns the open stream with this key; nil: there is none.
func (l *link) stream(key int32) *stream {
	t := l.streams.Load()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[key]
}

// hasStreams reports whether a stream is open, which the reader must serve.
func (l *link) hasStreams() bool {
	t := l.streams.Load()
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open) > 0
}

// add adds a stream under a key, and gives it its window. first is how many bytes the peer
// may send at first, at most: 0 is all of the window.
func (t *streamTable) add(st *stream, key int32, first int64) {
	cfg := &st.link.env.cfg
	t.mu.Lock()
	defer t.mu.Unlock()
	st.key, st.window = key, cfg.StreamWindow
	if t.windows+st.window > cfg.mostWindows() {
		st.window = cfg.firstWindow()
	}
	t.windows += st.window
	t.open[st.key] = st
	st.granted = st.window
	if first > 0 && first < st.window {
		st.granted, st.owed = first, st.window-first
	}
}

// remove removes a stream, and ends what it has of the memory.
func (t *streamTable) remove(st *stream) {
	t.mu.Lock()
	if t.open[st.key] == st {
		delete(t.open, st.key)
		t.windows -= st.window
	}
	t.mu.Unlock()
	st.mu.Lock()
	n := st.counted
	st.counted = 0
	st.mu.Unlock()
	st.link.count(t, -n)
}

// count counts n bytes more, or fewer, of messages that wait to be received. The first
// 64 KiB of a session are not in env.memory, as those of its requests.
func (l *link) count(t *streamTable, n int64) {
	b := t.bytes.Add(n)
	for {
		drawn := t.drawn.Load()
		want := drawnFor(b, drawn)
		if want == drawn {
			return
		}
		if t.drawn.CompareAndSwap(drawn, want) {
			l.env.memory.Draw(want - drawn)
			l.env.streamed.Add(want - drawn)
		}
		b = t.bytes.Load()
	}
}

// opensStream reports whether the CALL asks for a stream.
func (c *handlerCtx) opensStream() bool { return c.in.Meta().Len() > 0 && c.in.Meta().Has(MetaStream) }

// openStream makes the stream that a CALL opens, if its handler serves streams. The reader
// calls it.
func (c *handlerCtx) openStream() *Rerror {
	asked := c.opensStream()
	switch {
	case c.kind() != kindCall || !asked && !c.handler.stream:
		return nil
	case !asked:
		return NewRerror(CodeBadMessage, CodeText(CodeBadMessage), fmt.Sprintf("%q is the route of a stream: open it with OpenStream", methodText(c.in.ServiceMethod())))
	case c.handler.unknown && !c.handler.stream:
		return NewRerror(CodeNotImplemented, CodeText(CodeNotImplemented), "the peer has no such route, and its handler of unknown CALLs does not serve streams")
	case !c.handler.stream:
		return NewRerror(CodeBadMessage, CodeText(CodeBadMessage), fmt.Sprintf("%q is not the route of a stream: call it", methodText(c.in.ServiceMethod())))
	case c.link.hello.Load()&peerStreams == 0:
		return NewRerror(CodeNotImplemented, CodeText(CodeNotImplemented), "a stream was opened without saying hello, or over a protocol that carries none")
	}
	credit, ok := getBytes(c.in.Meta(), MetaStream)
	if !ok || c.seq <= 0 {
		return NewRerror(CodeBadMessage, CodeText(CodeBadMessage), fmt.Sprintf("%s, the number of bytes that the opener of a stream has room for, is %q; want 1 to %d",
			MetaStream, clip(string(c.in.Meta().Peek(MetaStream))), math.MaxInt32))
	}
	if c.link.stream(-c.seq) != nil {
		return NewRerror(CodeBadMessage, CodeText(CodeBadMessage), fmt.Sprintf("a stream with the number %d is open already", c.seq))
	}
	c.stream = newStream(c.link, credit)
	c.release = c.stream
	c.link.table().add(c.stream, -c.seq, c.link.env.cfg.firstWindow())
	return nil
}

func newStream(l *link, credit int64) *stream {
	return &stream{sess: l.sess, link: l, credit: credit, wake: make(chan struct{}, 1), more: make(chan struct{}, 1)}
}

// free ends the stream of a handler that has ended.
func (st *stream) free() { st.end(streamEnded(), true) }

// endStream ends the stream of a handler that has ended, whose REPLY says how many messages
// it has sent, unless it sends still.
func (c *handlerCtx) endStream() {
	st := c.stream
	st.free()
	if st.sending.TryLock() {
		c.out.Meta().Set(MetaStream, strconv.FormatInt(st.sentMessages(), 10))
		st.sending.Unlock()
	}
}

// attach adds the stream of a call that has its number to the link on which the CALL is
// about to be sent.
func (st *stream) attach(l *link, cmd *callCmd) *Rerror {
	if l != st.link {
		return markNotRun(NewRerror(CodeConnClosed, CodeText(CodeConnClosed), "the connection broke while the stream was opened"), nil)
	}
	t := l.table()
	t.add(st, cmd.seq, 0)
	st.mu.Lock()
	over := st.over
	st.mu.Unlock()
	if over { // by another goroutine that has taken the call from the pending table
		t.remove(st)
	}
	cmd.out.Meta().Set(MetaStream, strconv.FormatInt(st.window, 10))
	return nil
}

// replied ends the stream of a call that has ended.
func (st *stream) replied() {
	r := st.cmd.rerr
	if r == nil {
		var came []byte
		if st.cmd.in != nil {
			came = st.cmd.in.Peek(MetaStream)
		}
		st.mu.Lock()
		r = st.checkCame(came)
		st.mu.Unlock()
	}
	st.end(r, r != nil && st.cmd.out.Context().Err() != nil)
}

// end ends the stream, with an error or nil. drop says that messages that have come are
// not received any more.
func (st *stream) end(r *Rerror, drop bool) {
	st.mu.Lock()
	over := st.over
	st.over = true
	if drop {
		st.dropped.Store(true)
		st.queue, st.chunk = nil, nil
	}
	if st.rerr == nil && (drop || !over) { // io.EOF must not hide what was dropped
		st.rerr = r
	}
	st.mu.Unlock()
	if over {
		return
	}
	if t := st.link.streams.Load(); t != nil {
		t.remove(st)
	}
	if st.cancel != nil {
		st.cancel(context.Canceled)
	}
	wakeUp(st.wake)
	wakeUp(st.more)
}

func streamEnded() *Rerror {
	return NewRerror(CodeInvalidOp, CodeText(CodeInvalidOp), ErrStreamEnded.Error()).WithCause(ErrStreamEnded)
}

// wakeUp wakes the goroutine that waits for c, of capacity 1.
func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// acceptData puts a message into the queue of its stream. The reader calls it.
func (c *handlerCtx) acceptData() {
	l := c.link
	st := l.stream(-c.in.Seq())
	if st == nil {
		l.dropData(&c.in)
		return
	}
	r := c.refusal
	if r == nil {
		r = st.push(&c.in)
	}
	if r != nil {
		l.reset(st, r, true)
	}
}

func (l *link) dropData(m *socket.Envelope) {
	s := l.sess
	s.env.stats.droppedData.Add(1)
	s.env.throttled(&s.drops, throttle.Burst, DEBUG, "dropped a message from %s: %s %q: no stream is open with seq %d", l.ip, TypeText(m.Mtype()), methodText(m.ServiceMethod()), m.Seq())
}

// push puts a message that has come into the queue. It returns an error if the peer must not
// send it.
func (st *stream) push(m *socket.Envelope) *Rerror {
	n := messageCost(int64(len(m.RawBody())), m.Meta())
	l := st.link
	st.mu.Lock()
	switch {
	case st.over || st.dropped.Load():
		st.mu.Unlock()
		return nil
	case st.peerDone:
		st.mu.Unlock()
		return badMessage(errors.New("a message of the stream came behind its end"))
	case st.spent >= st.granted:
		st.mu.Unlock()
		return badMessage(errOverdrawn)
	case st.counted > firstWindow && l.env.streamed.Load() > l.env.memory.Limit()/2:
		st.mu.Unlock()
		return busy("the messages of streams that wait to be received take more than half of ReadMemory")
	}
	st.spent += n
	st.came++
	st.counted += n
	st.queue = append(st.queue, st.store(m))
	wake := st.waits
	st.waits = false
	st.mu.Unlock()
	l.count(l.streams.Load(), n)
	if wake {
		wakeUp(st.wake)
	}
	return nil
}

// store makes the message one of the stream's: its body is borrowed. Called with mu.
func (st *stream) store(m *socket.Envelope) (d datum) {
	d.codec = m.BodyCodec()
	if m.Meta().Len() > 0 {
		d.meta = new(Meta)
		m.Meta().CopyTo(d.meta)
	}
	body := m.RawBody()
	if len(body) > smallDatum {
		d.body, d.own = m.TakeBody()
		return d
	}
	at := len(st.chunk)
	if cap(st.chunk)-at < len(body) {
		size := max(len(body), bufpool.MinSize)
		if st.chunk != nil {
			size = max(size, min(2*cap(st.chunk), mostChunk))
			d.free = st.chunk
		}
		st.chunk, at = bufpool.Get(size), 0
	}
	st.chunk = append(st.chunk, body...)
	d.body = st.chunk[at:len(st.chunk):len(st.chunk)]
	return d
}

// acceptControl handles a CONTROL message.
func (l *link) acceptControl(m *socket.Envelope) {
	switch m.ServiceMethod() {
	case "": // a protocol has read what is not for the engine, such as a ping
	case verbBye:
		l.acceptByeMessage(m)
	case verbHello:
		l.acceptHello(m)
	case verbCancel:
		l.acceptCancel(m.Seq())
	case verbEnd, verbCredit, verbReset:
		l.acceptStreamControl(m)
	default:
		l.env.throttled(&l.sess.drops, throttle.Burst, DEBUG, "dropped a CONTROL message from %s with the verb %q", l.ip, methodText(m.ServiceMethod()))
	}
}

// acceptStreamControl handles end, credit and reset.
func (l *link) acceptStreamControl(m *socket.Envelope) {
	st := l.stream(-m.Seq())
	if st == nil {
		l.dropData(m)
		return
	}
	switch m.ServiceMethod() {
	case verbEnd:
		if r := st.acceptEnd(m.Meta()); r != nil {
			l.reset(st, r, true)
			return
		}
		wakeUp(st.wake)
	case verbCredit:
		if r := st.acceptCredit(m.Meta()); r != nil {
			l.reset(st, r, true)
		}
	case verbReset:
		code, err := strconv.ParseInt(string(m.Meta().Peek(byeCode)), 10, 32)
		if err != nil || int32(code) == CodeNoError {
			code = int64(CodeCanceled)
		}
		l.reset(st, NewRerror(int32(code), CodeText(int32(code)), clip(string(m.Meta().Peek(byeReason)))), false)
	}
}

// acceptEnd notes that the peer sends no more, and the metadata with which it says so.
func (st *stream) acceptEnd(m *Meta) *Rerror {
	var own *Meta
	switch n := endCost(m); {
	case n > mostEnd:
		return badMessage(errEndTooLarge(n))
	case n > 0:
		own = new(Meta)
		for k, v := range m.All() {
			if string(k) != creditMessages {
				own.AddBytesKV(k, v)
			}
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.peerDone {
		st.peerDone, st.endMeta = true, own
	}
	return st.checkCame(m.Peek(creditMessages))
}

// endCost is what the metadata of the end of one side's messages cost, without that of the
// engine.
func endCost(m *Meta) (n int64) {
	for k, v := range m.All() {
		if string(k) != creditMessages {
			n += int64(len(k)+len(v)) + pairOverhead
		}
	}
	return n
}

func errEndTooLarge(n int64) error {
	return fmt.Errorf("the end of the messages of a stream has %d bytes of metadata, 32 for each pair included; want %d at most", n, mostEnd)
}

// checkCame compares the number of messages that the peer says it has sent, if it does, with
// those that have come: one with a damaged header may have been dropped. Called with mu.
func (st *stream) checkCame(sent []byte) *Rerror {
	if len(sent) == 0 || string(sent) == strconv.FormatInt(st.came, 10) {
		return nil
	}
	return badMessage(fmt.Errorf("%d messages of the stream have come; the other side says that it has sent %q", st.came, clip(string(sent))))
}

func (st *stream) acceptCredit(m *Meta) *Rerror {
	n, ok := getBytes(m, creditBytes)
	if !ok {
		return badMessage(fmt.Errorf("credit: n is %q; want 1 to %d", clip(string(m.Peek(creditBytes))), math.MaxInt32))
	}
	messages, err := strconv.ParseInt(string(m.Peek(creditMessages)), 10, 64)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.credit+n > mostCredit {
		return badMessage(fmt.Errorf("credit: %d bytes more than %d are over %d", n, st.credit, int64(mostCredit)))
	}
	st.credit += n
	if err == nil {
		st.acked = max(st.acked, min(messages, st.sent))
	}
	wakeUp(st.more)
	return nil
}

// reset ends a stream by a fault, with its call. say tells the peer. The reader calls it.
func (l *link) reset(st *stream, r *Rerror, say bool) {
	if say {
		var m socket.Envelope
		m.SetMtype(TypeControl)
		m.SetServiceMethod(verbReset)
		m.SetSeq(st.key)
		m.Meta().Add(byeCode, strconv.Itoa(int(r.Code)))
		addText(m.Meta(), byeReason, clip(r.Reason))
		if err := l.sock.EnqueueNow(&m); err != nil && !isCloseReason(err) {
			l.kill(SideNetwork, err, "writing")
		}
	}
	if st.cmd != nil {
		st.sess.failCall(st.key, r)
		return
	}
	st.mu.Lock()
	if !st.over {
		st.rerr = r // the context ends first: a handler that receives the error sees that too
	}
	st.mu.Unlock()
	l.mu.Lock()
	if c := l.calls.find(-st.key); c != nil {
		l.cancelCall(c, r.Err())
	}
	l.mu.Unlock()
	st.end(r, true)
}
