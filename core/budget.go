package tp

import "time"

// A message takes memory from its arrival until its handler has ended and the reply is in
// the batch. The reading half of the connection counts it while it arrives and while its
// filters are reversed; then it is in the workload of its session, with the reply that
// its route is known to make. All of it, of all sessions, is in env.memory, up to
// PeerConfig.ReadMemory; but for the first 64 KiB of each workload, so that most sessions
// never touch what they share, and go on when that is full.
//
// At the bound the reader pauses: the network then holds up the peer. It does not pause
// while a call of this side is pending, whose reply it must read, nor for longer than
// longestPause, since it must notice when the peer has gone; then CALLs are refused.

const (
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

// accept counts a request of n bytes. It returns the number of requests with it.
func (s *session) accept(n int64) (running int) {
	running, n = s.work.add(1, n)
	if n > freeBytes {
		s.draw(n)
	}
	return running
}

// finish ends a request of n bytes.
func (s *session) finish(n int64) {
	_, n = s.work.add(-1, -n)
	if s.work.drawn.Load() > 0 {
		s.draw(n)
	}
	s.work.signal()
}

// draw adapts what the session has drawn from env.memory to a workload of n bytes.
func (s *session) draw(n int64) {
	for {
		drawn := s.work.drawn.Load()
		want := int64(0)
		if n > freeBytes {
			want = (n + drawStep - 1) / drawStep * drawStep
		}
		if want == drawn || want < drawn && drawn-want < 2*drawStep && want > 0 {
			return
		}
		if s.work.drawn.CompareAndSwap(drawn, want) {
			s.env.memory.Draw(want - drawn)
		}
		n = s.work.bytes()
	}
}

// overBudget reports whether the requests of the session take so much memory that it
// must not accept more.
func (s *session) overBudget() bool { return s.exceeds(s.work.bytes(), 0) }

// full reports whether the session must not accept a PUSH.
func (s *session) full() bool {
	return s.work.running() >= s.env.live.Load().MaxHandlers || s.overBudget()
}

// exceeds reports whether a workload of n bytes is over the bound of the session, or of
// the peer with more bytes. What a session needs for one request alone is not.
func (s *session) exceeds(n, more int64) bool {
	return n > freeBytes && (n+more >= s.env.cfg.SessionMemory || s.env.memory.Over())
}

// await waits until blocked returns false. It returns false if the connection was closed
// before, or most was over; 0 is no limit.
func (l *link) await(most time.Duration, blocked func() bool) bool {
	s := l.sess
	var over <-chan time.Time
	for {
		ended, free := s.work.await(), s.env.memory.Room() // before blocked looks
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
		case <-over:
			return false
		}
	}
}

// pause is await for the reader, which meanwhile is in the phase paused.
func (l *link) pause(most time.Duration, blocked func() bool) bool {
	l.env.stats.pauses.Add(1)
	l.mayBlock()
	l.state.pause()
	defer l.state.unpause()
	return l.await(most, blocked)
}

// pauseWhile pauses the reader until it may accept another message: until blocked returns
// false, a call of this side needs its reply, or the connection is closed. If that takes
// longer than longestPause, it refuses messages as long as the session is full.
func (l *link) pauseWhile(blocked func() bool) {
	mustWait := func() bool { return blocked() && l.sess.pending.Len() == 0 }
	if !l.refuses && mustWait() {
		l.refuses = !l.pause(longestPause, mustWait)
	}
}

// awaitMemory pauses the reader in the middle of a message, until there is memory for it.
func (l *link) awaitMemory(blocked func() bool) bool { return l.pause(longestPause, blocked) }

// awaitReply waits until there is memory for the reply of c: until the messages that wait
// to be sent have room, and, if its route is known to make large replies and that was not
// known when c was accepted, until so many bytes are free. That ends with the connection at the
// latest, which PeerConfig.WriteTimeout bounds; then it returns an error.
func (c *handlerCtx) awaitReply() *Rerror {
	if c.refusal != nil || c.kind() != kindCall {
		return nil
	}
	s, h := c.sess, c.handler
	if n := h.blind.Load(); h.replySize.Load() == 0 && h.blind.Add(1) > mostBlind {
		t := time.NewTimer(min(time.Duration(n/mostBlind)*blindPause, longestBlind))
		defer t.Stop()
		select {
		case <-h.answered.Done():
		case <-t.C:
		}
	}
	size := h.replySize.Load()
	more := size - c.expected
	taken := more <= 1
	if size <= 1 || taken && !c.link.sock.Crowded() && !c.link.shut.Load() {
		return nil
	}
	gate := &s.work.waitRoom().gate // one after the other: each end of a request would wake all of them
	gate.Lock()
	defer gate.Unlock()
	room := c.link.await(0, func() bool {
		if c.link.sock.Crowded() {
			return true
		}
		for !taken {
			word := s.work.word.Load()
			if s.exceeds(word&bytesMask-c.bytes, more) {
				break
			}
			if taken = s.work.word.CompareAndSwap(word, word+more); taken {
				c.bytes += more
				c.expected += more
				s.draw(s.work.bytes())
			}
		}
		return !taken
	})
	if !room {
		return NewRerror(CodeConnClosed, CodeText(CodeConnClosed), "the connection ended before there was room for the reply")
	}
	return nil
}

// hasRoom reports whether c, whose reply is large, need not wait in awaitReply.
func (c *handlerCtx) hasRoom() bool { return !c.link.sock.Crowded() && !c.sess.overBudget() }

// take counts n bytes more for c.
func (c *handlerCtx) take(n int64) {
	c.bytes += n
	_, n = c.sess.work.add(0, n)
	c.sess.draw(n)
}

// expectReply counts the reply of c with its request.
func (c *handlerCtx) expectReply() {
	if n := c.handler.replySize.Load(); n > 1 && c.kind() == kindCall {
		c.expected = n
		c.take(n)
	}
}
