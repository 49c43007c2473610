package tp

import (
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds what a stream does on the goroutines of its user: open, Send, Recv.

// openStream opens a stream.
func (s *session) openStream(ctx context.Context, serviceMethod string, setting []MessageSetting) (*stream, *Rerror) {
	if ctx == nil {
		ctx = context.Background()
	}
	l, r := s.streamLink(ctx)
	if r != nil {
		return nil, r
	}
	st := newStream(l, int64(l.peerWindow.Load()))
	st.hooks = s.env.hooks()
	st.ctx, st.cancel = context.WithCancelCause(ctx)
	cmd := &callCmd{logger: s.logger, sess: s, async: new(asyncCall), stream: st}
	st.cmd = cmd
	launched := false
	defer func() {
		if !launched {
			cmd.exitAsync()
			cmd.finishPart()
		}
	}()
	all := append(setting[:len(setting):len(setting)], WithContext(ctx), WithSetMeta(MetaStream, strconv.FormatInt(s.env.cfg.StreamWindow, 10)))
	if r := cmd.prepare(kindCall, serviceMethod, nil, all); r != nil {
		cmd.resolve(r)
	} else {
		st.codec, st.pipe = cmd.out.BodyCodec(), cmd.out.XferPipe().IDs()
		s.launch(cmd)
	}
	launched = true
	cmd.finishPart()
	select {
	case <-cmd.Done():
		// Once the CALL was written this may be the peer's answer, perhaps behind messages:
		// Recv returns them, and it.
		if cmd.rerr != nil && l.sock.Unwritten(&cmd.out) {
			return nil, cmd.rerr
		}
	default:
	}
	return st, nil
}

// streamLink returns the link on which to open a stream: the peer has said that it has them.
func (s *session) streamLink(ctx context.Context) (*link, *Rerror) {
	l, r := s.awaitLink(ctx)
	if r != nil {
		return nil, r
	}
	if l.hello.Load()&peerStreams != 0 {
		return l, nil
	}
	none := func(why string) (*link, *Rerror) {
		return nil, NewRerror(CodeNotImplemented, CodeText(CodeNotImplemented), "the peer has no streams: "+why)
	}
	switch {
	case !l.carriesControl():
		return none("its protocol, or its release, does not say what it understands")
	case l.hello.Load()&peerSpeaks == 0:
		if err := l.sayHello(); isPackError(err) {
			return none("its protocol does not carry CONTROL")
		}
		l.sock.Flush(socket.NoBlock)
		l.ensureReader()
		limit, cancel := context.WithTimeout(ctx, s.env.cfg.HandshakeTimeout)
		defer cancel()
		select {
		case <-l.greeted.Done():
		case <-l.over.Done():
			return nil, markNotRun(NewRerror(CodeConnClosed, CodeText(CodeConnClosed), "the connection broke while the stream was opened"), nil)
		case <-limit.Done():
			if ctx.Err() != nil {
				return nil, contextRerror(ctx)
			}
			return none("it has not answered hello")
		}
	}
	if l.hello.Load()&peerStreams == 0 {
		return none("its hello does not name them")
	}
	return l, nil
}

// awaitLink returns the link of the session, and waits for a redial.
func (s *session) awaitLink(ctx context.Context) (*link, *Rerror) {
	if ctx.Err() != nil {
		return nil, contextRerror(ctx)
	}
	if l := s.cur.Load(); l != nil {
		return l, nil
	}
	cmd := &callCmd{logger: s.logger, sess: s}
	cmd.out.SetContext(ctx)
	w := &redialEntry{result: make(chan *Rerror, 1), waits: true}
	l, r := s.queueEntry(w, cmd)
	if l == nil && r == nil {
		l = w.link
	}
	return l, r
}

// begin makes the stream of a handler ready for it.
func (st *stream) begin(c *handlerCtx) {
	st.hooks, st.ctx = c.hooks, c.Context()
	st.codec, st.pipe = c.ReplyBodyCodec(), c.in.XferPipe().IDs()
	if st.hooks.stream {
		st.method, st.realIP, st.swap = c.in.ServiceMethod(), c.RealIP(), c.Swap()
	}
}

// send encodes v and sends it, when there is credit and room.
func (st *stream) send(v any) error { return st.write(v, st.codec, nil) }

// write sends a message with a body, its codec and metadata, or nil, when there is credit
// and room.
func (st *stream) write(v any, codecID byte, meta *Meta) error {
	st.sending.Lock()
	defer st.sending.Unlock()
	if r := st.awaitCredit(nil); r != nil {
		return r.Err()
	}
	m := &st.out
	m.Clear()
	m.SetMtype(TypeData)
	m.SetSeq(st.key)
	m.SetBodyCodec(codecID)
	m.SetBody(v)
	if meta != nil {
		meta.CopyTo(m.Meta())
	}
	if len(st.pipe) > 0 {
		m.XferPipe().Append(st.pipe...)
	}
	if len(st.hooks.preWriteData) > 0 {
		if r := st.hooks.preWriteData.run(st.sess.env.guard, st.hookCtx(m, st.sentMessages()+1)); r != nil {
			return r.Err()
		}
	}
	l := st.link
	if err := l.sock.Enqueue(st.ctx, m); err != nil {
		return st.writeError(err)
	}
	st.mu.Lock()
	st.credit -= messageCost(m.Plain(), m.Meta())
	st.sent++
	st.mu.Unlock()
	m.SetBody(nil)
	l.sock.Flush(socket.Later | socket.Yield)
	return nil
}

// writeError is the error of a message that was not accepted.
func (st *stream) writeError(err error) error {
	if isPackError(err) {
		return writeRerror(st.ctx, err).Err()
	}
	if r := st.ended(); r != nil {
		return r.Err()
	}
	return st.link.writeRerror(st.ctx, err).Err()
}

// ended returns why nothing can be sent any more, nil if it can.
func (st *stream) ended() *Rerror {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.rerr != nil:
		return st.rerr
	case st.over:
		return streamEnded()
	case st.sendDone:
		return NewRerror(CodeInvalidOp, CodeText(CodeInvalidOp), "CloseSend was called")
	case st.ctx.Err() != nil:
		return st.contextRerror()
	}
	return nil
}

// awaitCredit waits until a message may be sent, or until none comes on src any more, from
// which it would be; nil: from elsewhere.
func (st *stream) awaitCredit(src *stream) *Rerror {
	var wake, ended <-chan struct{}
	if src != nil {
		wake, ended = src.wake, src.ctx.Done() // which are for the goroutine that receives on it: this one
	}
	for {
		if r := st.ended(); r != nil {
			return r
		}
		st.mu.Lock()
		credit := st.credit
		st.mu.Unlock()
		if credit > 0 || src != nil && src.isDrained() {
			return nil
		}
		select {
		case <-st.more:
		case <-wake:
		case <-ended:
			src.contextEnded()
			ended = nil
		case <-st.ctx.Done():
		}
	}
}

// isDrained reports whether nothing but the end is to be received.
func (st *stream) isDrained() bool {
	if !st.receiving.TryLock() { // another goroutine receives
		return false
	}
	defer st.receiving.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.dropped.Load() || (st.over || st.peerDone) && len(st.queue) == 0 && st.next == len(st.taken)
}

// closeSend says that this side sends no more, with metadata, or nil.
func (st *stream) closeSend(meta *Meta) error {
	st.sending.Lock()
	defer st.sending.Unlock()
	if r := st.ended(); r != nil {
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.sendDone || st.rerr == nil && st.over {
			return nil
		}
		return r.Err()
	}
	m := &st.out
	m.Clear()
	m.SetMtype(TypeControl)
	m.SetServiceMethod(verbEnd)
	m.SetSeq(st.key)
	if meta != nil {
		meta.CopyTo(m.Meta())
	}
	if len(st.hooks.preWriteEnd) > 0 {
		if r := st.hooks.preWriteEnd.run(st.sess.env.guard, st.hookCtx(m, st.sentMessages())); r != nil {
			return r.Err()
		}
		if n := endCost(m.Meta()); n > mostEnd {
			return NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), errEndTooLarge(n).Error()).Err()
		}
	}
	m.Meta().Set(creditMessages, strconv.FormatInt(st.sentMessages(), 10))
	if err := st.link.sock.Enqueue(st.ctx, m); err != nil {
		return st.writeError(err)
	}
	st.mu.Lock()
	st.sendDone = true
	st.mu.Unlock()
	st.link.sock.Flush(socket.NoBlock)
	return nil
}

func (st *stream) sentMessages() int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.sent
}

// close ends the stream on this side: nothing is sent or received any more.
func (st *stream) close() {
	r := NewRerror(CodeCanceled, CodeText(CodeCanceled), "the stream was closed")
	st.mu.Lock()
	over := st.over
	st.mu.Unlock()
	st.end(r, true)
	if cmd := st.cmd; cmd != nil && !over && st.sess.failCall(cmd.seq, r) {
		if st.link.enqueueCancel(cmd.seq) {
			st.link.sock.Flush(socket.NoBlock)
		}
	}
}

// recv receives a message, and decodes it into v. reused says that v has served another
// message, memory is what the codec may use for it.
func (st *stream) recv(v any, reused bool, memory *[]byte) error {
	st.receiving.Lock()
	defer st.receiving.Unlock()
	d, err := st.nextDatum()
	if err != nil {
		return err
	}
	return st.decode(&d, v, reused, memory)
}

// nextDatum waits for the next message.
func (st *stream) nextDatum() (d datum, err error) {
	for {
		if st.next < len(st.taken) && !st.dropped.Load() {
			d = st.taken[st.next]
			st.taken[st.next] = datum{}
			st.next++
			if d.free != nil {
				bufpool.Put(d.free)
				d.free = nil
			}
			return d, nil
		}
		more, err := st.takeQueue()
		switch {
		case err == errPeerDone:
			return d, st.receiveEnd()
		case err != nil:
			return d, err
		case more:
			continue
		}
		select {
		case <-st.wake:
		case <-st.ctx.Done():
			st.contextEnded()
		}
	}
}

// takeQueue takes all that has come. more is false if that is nothing, and Recv must wait.
// The error is errPeerDone behind the last message before the other side's CloseSend.
func (st *stream) takeQueue() (more bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.dropped.Load():
		return false, st.endError()
	case len(st.queue) > 0:
		clear(st.taken)
		st.taken, st.queue, st.next = st.queue, st.taken[:0], 0
		return true, nil
	case st.over && st.rerr != nil:
		return false, st.endError()
	case st.peerDone:
		return false, errPeerDone
	case st.over:
		return false, st.endError()
	}
	if st.chunk != nil { // all that was in it has been received
		bufpool.Put(st.chunk)
		st.chunk = nil
	}
	st.waits = true
	return false, nil
}

var errPeerDone = errors.New("the other side has called CloseSend")

// receiveEnd returns what Recv returns behind the last message of the other side, which has
// called CloseSend.
func (st *stream) receiveEnd() error {
	if len(st.hooks.postReadEnd) == 0 {
		return io.EOF
	}
	if st.endRead == nil {
		st.endRead = io.EOF
		m := &st.in
		m.Clear()
		m.SetMtype(TypeControl)
		m.SetServiceMethod(verbEnd)
		m.SetSeq(-st.key)
		if meta := st.peerEnd(); meta != nil {
			meta.CopyTo(m.Meta())
		}
		if r := st.hooks.postReadEnd.run(st.sess.env.guard, st.hookCtx(m, st.received)); r != nil {
			st.endRead = r.Err()
		}
	}
	return st.endRead
}

// peerEnd returns the metadata of the end of the other side's messages, nil if it has none.
func (st *stream) peerEnd() *Meta {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.endMeta
}

// endError is the error of a Recv behind the last message. Called with mu.
func (st *stream) endError() error {
	if st.rerr == nil {
		return io.EOF
	}
	return st.rerr.Err()
}

// contextEnded ends the stream with its context, unless it has ended otherwise: then that has
// ended the context, perhaps behind messages that are to be received first.
func (st *stream) contextEnded() { st.end(st.contextRerror(), false) }

// contextRerror is why the context has ended. That of a handler ends with the session, too.
func (st *stream) contextRerror() *Rerror {
	var reason *CloseReason
	if st.cmd == nil && errors.As(context.Cause(st.ctx), &reason) {
		return reason.rerror()
	}
	return contextRerror(st.ctx)
}

// decode decodes a message that was received into v.
func (st *stream) decode(d *datum, v any, reused bool, memory *[]byte) error {
	m, r := st.receivedMessage(d)
	if r == nil {
		r = badMessage(safely(func() (err error) {
			if reused {
				_, err = m.BindOver(v, memory, 0)
			} else {
				_, err = m.BindMode(v, codec.Fresh)
			}
			return err
		}))
	}
	m.SetBody(nil)
	m.FreeBody()
	st.giveBack(d.cost())
	if r != nil {
		return r.Err()
	}
	return nil
}

// giveBack lets the peer send as much as was received, when that is half of the window.
func (st *stream) giveBack(n int64) {
	st.owed += n
	st.used += n
	st.received++
	if st.owed < (st.window+1)/2 {
		return
	}
	owed := st.owed
	st.mu.Lock()
	used := min(st.counted, st.used)
	st.counted -= used
	more := !st.over && !st.peerDone
	if more {
		st.granted += owed
	}
	st.mu.Unlock()
	st.owed, st.used = 0, 0
	l := st.link
	l.count(l.streams.Load(), -used)
	if !more {
		return
	}
	var m socket.Envelope
	m.SetMtype(TypeControl)
	m.SetServiceMethod(verbCredit)
	m.SetSeq(st.key)
	m.Meta().Add(creditBytes, strconv.FormatInt(owed, 10))
	m.Meta().Add(creditMessages, strconv.FormatInt(st.received, 10))
	err := l.sock.EnqueueNow(&m)
	if err != nil && l.sock.Err() == nil { // far too much is queued; without the credit the stream would stand still
		err = l.sock.Enqueue(st.ctx, &m)
	}
	if err == nil { // else the stream has ended, or its connection
		l.sock.Flush(socket.NoBlock)
	}
}

// ackedMessages is how many messages the peer has certainly received.
func (st *stream) ackedMessages() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return int(st.acked)
}

// wait waits for the end of the handler.
func (st *stream) wait() error {
	if st.cmd == nil {
		<-st.ctx.Done()
		return st.contextRerror().Err()
	}
	<-st.cmd.Done()
	return st.cmd.Rerror().Err()
}
