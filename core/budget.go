package tp

import (
	"context"
	"errors"
	"time"

	"github.com/teleport-go/teleport/core/internal/inbox"
)

// A message takes memory from its arrival until its handler has ended and the reply is in
// the batch. The reading half of the connection counts it while it arrives and while its
// filters are reversed; then it is in the workload of its session, with its handler's stack
// and the reply that its route is known to make. All of it, of all sessions, is in env.memory, up to
// PeerConfig.ReadMemory; but for the first 64 KiB of each workload, so that most sessions
// never touch what they share, and go on when that is full.
//
// At the bound the reader pauses: the network then holds up the peer. It does not pause
// while a call of this side is pending, whose reply it must read, or a stream is open, whose
// credit it must read, nor for longer than longestPause, since it must notice when the peer
// has gone; then CALLs are refused.
//
// The words, what each counts in bytes, and from when to when:
//
//	of a message that was received (handlerCtx)
//	  arrived   of env.memory, as the reading half of the connection has counted it: a frame
//	            over 64 KiB, and what its filters make. From serve until accept, which makes it
//	            the session's, or readReply, which makes it the call's; else until giveBack
//	  bytes     of the workload of the session: the frame and what its filters have made,
//	            requestBytes, the argument (Reserve), and expected. From accept until finish
//	  expected  of bytes, for the reply: as large as its route is known to make them. From
//	            expectReply on; awaitRoom may add to it
//	  claim     the last that was granted to the message. keep has made its bytes a part of bytes;
//	            what is left is the right to go beyond the limit (Held), until giveBack
//	of a session (work)
//	  bytes     the sum of the bytes of its requests
//	  drawn     of these in env.memory: none of the first 64 KiB, then whole steps (draw)
//	  waiting   of the requests that are in awaitRoom: they are not in each other's way
//	of the streams of a link (streamTable)
//	  bytes     of the messages that wait to be received: from push until Recv has had half of a
//	            window (stream.giveBack), or until remove. counted is the part of one stream
//	  drawn     of these in env.memory, by the same steps; env.streamed is that of all links
//	of a call
//	  largeBody.bytes  what a large reply had as arrived, until callCmd.finish
//	  result.bytes     the value that it is decoded into, until result.free: then it is the caller's
//	of a message that is sent
//	  socket's packer.claim  what packing it takes, until the batch has the frame
//	of all (env.memory)
//	  used      frames that arrive
//	  drawn     the rest: what was drawn, claimed or reserved

const (
	// requestBytes is what a request takes beside its frame: its context, and the stack of
	// its handler.
	requestBytes = 6 << 10
	// freeBytes is how much of a workload is not in env.memory.
	freeBytes = 64 << 10
	// drawStep is how many bytes are taken from env.memory at once.
	drawStep = 256 << 10
	// longestPause is how long the reader waits for memory, in the middle of a message or
	// before one.
	longestPause = 30 * time.Second
	// mostBlind is how many handlers of a route may run that has made no reply yet, so that
	// nobody knows how large they are; others wait for the first reply, or until it is
	// their turn: as many more begin each blindPause, and all after longestBlind.
	mostBlind    = 16
	blindPause   = 50 * time.Millisecond
	longestBlind = time.Second
	// mostAhead is how many bytes of a session frames with remote filters may take before
	// it is their turn, beside its workload.
	mostAhead = 4 << 20
	// pushSlack is how many times the bound PUSHes may take that cannot be refused.
	pushSlack = 2
)

// accept counts a request: its frame, and what its filters were reversed to. It returns the
// number of requests of the session with it.
func (c *handlerCtx) accept() (running int) {
	s := c.sess
	c.bytes = int64(c.in.Size())
	if n := int64(len(c.in.RawBody())); n > c.bytes || c.in.XferPipe().Len() > 0 { // it is not a part of the frame
		c.bytes += n
	}
	c.bytes += requestBytes
	running, n := s.work.add(1, c.bytes)
	if n > freeBytes || c.arrived > 0 {
		s.draw(n, c.arrived)
		c.arrived = 0
	}
	return running
}

// finish ends a request of n bytes.
func (s *session) finish(n int64) {
	_, n = s.work.add(-1, -n)
	if s.work.drawn.Load() > 0 {
		s.draw(n, 0)
	}
	s.work.signal()
}

// drawnFor returns how much of env.memory an account of n bytes draws that has drawn so much
// already: whole steps, and nothing for freeBytes. One that becomes smaller keeps up to a
// step more than it needs, so as not to change with each message.
func drawnFor(n, drawn int64) int64 {
	if n <= freeBytes {
		return 0
	}
	want := (n + drawStep - 1) / drawStep * drawStep
	if want < drawn && drawn-want < 2*drawStep {
		return drawn
	}
	return want
}

// draw adapts what the session has drawn from env.memory to a workload of n bytes, of which
// some are there already, but not as the session's.
func (s *session) draw(n, there int64) {
	for {
		drawn := s.work.drawn.Load()
		want := drawnFor(n, drawn)
		if want == drawn {
			break
		}
		if s.work.drawn.CompareAndSwap(drawn, want) {
			s.env.memory.Draw(want - drawn - there)
			there = 0
		}
		n = s.work.bytes()
	}
	if there > 0 {
		s.env.memory.Draw(-there)
	}
}

// overBudget reports whether the requests of the session take so much memory that it
// must not accept more.
func (s *session) overBudget() bool { return s.exceeds(s.work.bytes()) }

// full reports whether the session must not accept a PUSH.
func (s *session) full() bool {
	return s.work.running() >= s.env.live.Load().MaxHandlers || s.overBudget()
}

// exceeds reports whether a workload of n bytes is over the bound of the session or of the
// peer. What a session needs for one request alone is not.
func (s *session) exceeds(n int64) bool {
	return n > freeBytes && s.lacksRoom(n)
}

// lacksRoom is a function of its own so that exceeds is inlined.
func (s *session) lacksRoom(n int64) bool {
	return n >= s.env.cfg.SessionMemory || s.env.memory.Over()
}

// exceedsAlone reports whether a workload of n bytes and more is over the bound of the
// session.
func (s *session) exceedsAlone(n, more int64) bool {
	return n > freeBytes && n+more >= s.env.cfg.SessionMemory
}

// errNoRoom ends a wait for memory.
var errNoRoom = errors.New("the call or its connection ended before there was memory for the message")

// await waits until blocked returns false, and then returns true. It returns false if the
// connection or done was closed first, or most has passed. A nil done is never closed, and
// most 0 is no limit.
func (l *link) await(done <-chan struct{}, most time.Duration, blocked func() bool) bool {
	s := l.sess
	var over <-chan time.Time
	for {
		ended, free, calm := s.work.await(), s.env.memory.Room(), l.calm() // before blocked looks
		switch {
		case l.shut.Load():
			return false
		case !blocked():
			return true
		}
		if over == nil && most > 0 {
			t := time.NewTimer(most)
			defer t.Stop()
			over = t.C
		}
		select {
		case <-ended:
		case <-free:
		case <-calm:
		case <-done:
			return false
		case <-over:
			return false
		}
	}
}

// calm returns a channel that is closed when no message waits for room any more, or before.
func (l *link) calm() <-chan struct{} {
	if l.sock == nil { // while the socket is made, when the protocol may read already
		return nil
	}
	return l.sock.Calm()
}

// pause is await for the reader, which meanwhile is in the phase paused.
func (l *link) pause(most time.Duration, blocked func() bool) bool {
	l.env.stats.pauses.Add(1)
	l.mayBlock()
	l.state.pause()
	defer l.state.unpause()
	return l.await(nil, most, blocked)
}

// mustRead reports whether the reader must not pause: a call of this side needs its reply, or
// a stream its credit.
func (l *link) mustRead() bool { return l.sess.pending.Len() > 0 || l.hasStreams() }

// pauseWhile pauses the reader until it may accept another message: until blocked returns
// false, the reader must not pause, or the connection is closed. If that takes
// longer than longestPause, it refuses messages as long as the session is full.
func (l *link) pauseWhile(blocked func() bool) {
	mustWait := func() bool { return blocked() && !l.mustRead() }
	if !l.refuses && mustWait() {
		l.refuses = !l.pause(longestPause, mustWait)
	}
}

// awaitMemory pauses the reader in the middle of a message, until there is memory for it.
func (l *link) awaitMemory(blocked func() bool) bool { return l.pause(longestPause, blocked) }

// awaitReply waits until there is memory for the reply of c, if its route is known to make
// large ones: until the messages that wait to be sent have room, and other calls have given
// back what they have over their share. If the call or the connection ends first, it returns
// an error; PeerConfig.WriteTimeout ends a connection whose peer does not read.
func (c *handlerCtx) awaitReply() *Rerror {
	if c.refusal != nil || c.kind() != kindCall {
		return nil
	}
	if h := c.handler; h.replySize.Load() == 0 {
		c.blind = true
		if n := h.blind.Add(1); n > mostBlind && !c.awaitFirstReply(n) {
			return c.waitEnded()
		}
	}
	size := c.handler.replySize.Load()
	more := max(size-c.expected, 0)
	overdrawn := func() bool { return more > 0 || c.bytes > freeBytes && c.sess.env.memory.Over() }
	if size <= 1 || !overdrawn() && !c.link.sock.Crowded() && !c.link.shut.Load() {
		return nil
	}
	if !c.awaitRoom(more, overdrawn) {
		return c.waitEnded()
	}
	return nil
}

// awaitFirstReply waits until it is known how large the replies of the route are, or it is
// the turn of c, before which n-1 have begun. It returns false if c has ended before.
func (c *handlerCtx) awaitFirstReply(n int32) bool {
	t := time.NewTimer(min(time.Duration(n/mostBlind)*blindPause, longestBlind))
	defer t.Stop()
	select {
	case <-c.handler.answered.Done():
	case <-t.C:
	case <-c.ownContext().Done():
		return false
	case <-c.link.over.Done():
		return false
	}
	return true
}

// awaitRoom waits until the messages that wait to be sent have room, and, if c has
// overdrawn, until it has more bytes. It returns false if c has ended before.
func (c *handlerCtx) awaitRoom(more int64, overdrawn func() bool) bool {
	s, l := c.sess, c.link
	done := c.ownContext().Done()
	w, held := s.work.waitRoom(), c.bytes
	w.waiting.Add(held) // it must not be in the way of those before it
	defer w.waiting.Add(-held)
	select { // one after the other: each end of a request would wake all of them
	case w.gate <- struct{}{}:
		defer func() { <-w.gate }()
	case <-done:
		return false
	case <-l.over.Done():
		return false
	}
	room := l.await(done, 0, func() bool {
		return l.sock.Crowded() || s.exceedsAlone(s.work.bytes()-w.waiting.Load(), held+more)
	})
	if !room || !overdrawn() {
		return room
	}
	claim := s.env.memory.Claim(inbox.ToBegin, held, more)
	if !claim.Wait(done, l.over.Done()) {
		claim.Free()
		return false
	}
	c.expected += more
	c.keep(claim)
	return true
}

// waitEnded returns why c does not wait for memory any more.
func (c *handlerCtx) waitEnded() *Rerror {
	if r := c.callerGone(); r != nil {
		return r
	}
	if context.Cause(c.ownContext()) == context.DeadlineExceeded {
		return NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the call had to end before there was memory for it")
	}
	return NewRerror(CodeConnClosed, CodeText(CodeConnClosed), errNoRoom.Error())
}

// hasRoom reports whether c, whose reply is large, need not wait in awaitReply.
func (c *handlerCtx) hasRoom() bool {
	return !c.link.sock.Crowded() && !c.sess.overBudget() && (c.bytes <= freeBytes || !c.sess.env.memory.Over())
}

// Held implements socket.Holder.
func (r *replier) Held() (bytes, likely int64, exempt bool) {
	if r.handler == nil {
		return 0, 0, false
	}
	return r.bytes, r.handler.replySize.Load(), r.claim != nil && r.claim.Overshoots()
}

// keep makes what c has claimed a part of its workload.
func (c *handlerCtx) keep(claim *inbox.Claim) {
	if c.claim != nil {
		c.claim.Free()
	}
	c.claim = claim
	n := claim.Take()
	c.take(n, n)
}

// take counts n bytes more for c, of which some are in env.memory already.
func (c *handlerCtx) take(n, there int64) {
	c.bytes += n
	_, n = c.sess.work.add(0, n)
	c.sess.draw(n, there)
}

// expectReply counts the reply of c with its request.
func (c *handlerCtx) expectReply() {
	if n := c.handler.replySize.Load(); n > 1 && c.kind() == kindCall {
		c.expected = n
		c.take(n, 0)
	}
}
