package tp

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/teleport-go/teleport/core/socket"
)

// This file holds the CONTROL messages, by which the engines of both sides talk to each
// other: their service method is a verb, their number is what it is about, their
// metadata are its parameters. No hook sees them, no proxy forwards them, and none is
// answered. The farewell, bye, is in farewell.go; the others are
//
//	hello    what this side understands. Each side says it once for a connection: one in
//	         front of the first message that may need an answer to it, the other when it
//	         has heard that. Nothing waits for it.
//	end, credit, reset, of streams: see streamtable.go
//	cancel   the caller of a CALL, of the number of the message, has given up; 0: of all
//	         CALLs of the sender's. It is sent once the peer has said that it takes it.

const (
	verbHello  = "hello"
	verbCancel = "cancel"

	// Keys of hello's metadata.
	helloVersion  = "v"
	helloFeatures = "f"
	helloWindow   = "w" // bytes of a stream that may be sent before it is accepted

	featureCancel = "cancel"
	featureStream = "stream"

	maxFeatures = 64 // that are looked at
)

// sayHello enqueues hello, unless this side has said it, or the peer would not understand
// it. A *PackError says that the protocol does not carry it.
func (l *link) sayHello() error {
	if l.hello.Load()&helloSaid != 0 || !l.carriesControl() || l.hello.Or(helloSaid)&helloSaid != 0 {
		return nil
	}
	var m socket.Envelope
	m.SetMtype(TypeControl)
	m.SetServiceMethod(verbHello)
	m.Meta().Add(helloVersion, "1")
	m.Meta().Add(helloFeatures, featureCancel+","+featureStream)
	m.Meta().Add(helloWindow, strconv.FormatInt(l.env.cfg.firstWindow(), 10))
	return l.sock.EnqueueNow(&m) // another error: the connection has failed, or its peer does not read
}

// acceptHello notes what the peer understands. The answer goes out with the next flush,
// that of the reader at the latest.
func (l *link) acceptHello(m *socket.Envelope) {
	n, has := 0, peerSpeaks
	for f := range strings.SplitSeq(string(m.Meta().Peek(helloFeatures)), ",") {
		switch f {
		case featureCancel:
			has |= peerCancels
		case featureStream:
			if w, ok := getBytes(m.Meta(), helloWindow); ok {
				l.peerWindow.CompareAndSwap(0, int32(w))
				has |= peerStreams
			}
		}
		if n++; n == maxFeatures {
			break
		}
	}
	l.hello.Or(has)
	l.sayHello()
	l.cancelNow()
	l.greeted.Fire()
}

// getBytes reads a number of bytes from 1 to 2^31-1.
func getBytes(m *Meta, key string) (n int64, ok bool) {
	n, err := strconv.ParseInt(string(m.Peek(key)), 10, 32)
	return n, err == nil && n > 0
}

// everyCall is the number of a cancel that is about all calls.
const everyCall = 0

// sayCanceled is sayCancel for a call that has ended with its context. The deadline of a
// context has gone with the call (X-Timeout).
func (s *session) sayCanceled(seq int32, ctx context.Context) {
	if ctx.Err() != context.DeadlineExceeded || !hasDeadline(ctx) {
		s.sayCancel(seq)
	}
}

// sayCancel tells the peer that the caller of the call with this number has given up.
func (s *session) sayCancel(seq int32) {
	l := s.cur.Load()
	if l == nil { // it drains, redials, or is being prepared
		s.mu.Lock()
		l = s.link
		s.mu.Unlock()
	}
	if l != nil && l.enqueueCancel(seq) {
		l.sock.Flush(socket.NoBlock)
	}
}

// enqueueCancel enqueues cancel, if the peer takes it. If the peer has not answered this
// side's hello yet, the number waits for that.
func (l *link) enqueueCancel(seq int32) bool {
	if l.cancelLater(seq) || l.hello.Load()&peerCancels == 0 {
		return false
	}
	var m socket.Envelope
	m.SetMtype(TypeControl)
	m.SetServiceMethod(verbCancel)
	m.SetSeq(seq)
	return l.sock.EnqueueNow(&m) == nil // an error: the connection has failed, or its peer does not read
}

// maxGaveUp is how many numbers wait for the peer's hello.
const maxGaveUp = 1024

// cancelLater reports whether cancelNow will enqueue the cancel, since the peer has not
// answered this side's hello yet.
func (l *link) cancelLater(seq int32) bool {
	if l.hello.Load()&(helloSaid|peerSpeaks) != helloSaid || seq == everyCall {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hello.Load()&peerSpeaks != 0 { // meanwhile
		return false
	}
	if l.gaveUp == nil {
		l.gaveUp = new([]int32)
	}
	if len(*l.gaveUp) == maxGaveUp {
		return false
	}
	*l.gaveUp = append(*l.gaveUp, seq)
	return true
}

// cancelNow enqueues the cancels that have waited for the peer's hello. The peer ignores those
// of calls that it has answered meanwhile.
func (l *link) cancelNow() {
	l.mu.Lock()
	gaveUp := l.gaveUp
	l.gaveUp = nil
	l.mu.Unlock()
	if gaveUp == nil {
		return
	}
	for _, seq := range *gaveUp {
		l.enqueueCancel(seq)
	}
}

// sayByeSoon says on a connection that is cut off that nobody waits for its calls any
// more, and goodbye, unless the peer does not read. If the peer shall learn why, what was
// enqueued before may go out first; if not, a write that has just begun may end. It waits
// for the network, for lingerTime at most. said reports whether all is written, parted
// whether the protocol had anything to say.
func (l *link) sayByeSoon(reason *CloseReason) (parted, said bool) {
	ctx, cancel := context.WithTimeout(context.Background(), lingerTime)
	defer cancel()
	if reason.told() {
		l.sock.Flush(socket.NoBlock)
		l.sock.WaitFlushed(ctx)
	} else {
		soon, stop := context.WithTimeout(ctx, quietLimit-l.sock.OldestQueued())
		l.sock.WaitFlushed(soon)
		stop()
	}
	if n, _ := l.sock.Queued(); n > 0 && !reason.told() || ctx.Err() != nil {
		return false, false
	}
	if l.sess.pending.Len() > 0 {
		l.enqueueCancel(everyCall)
	}
	parted = l.sayBye(reason, false)
	return parted, l.sock.WaitFlushed(ctx) == nil
}

// acceptCancel ends the call of the peer's with this number, 0: all of them. The handler's
// context ends, and what it returns is dropped; one that has not begun does not run. The
// reader calls it. A handler that the reader itself runs is not found before the reading is
// stolen from it.
func (l *link) acceptCancel(seq int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case seq > 0:
		if c := l.calls.find(seq); c != nil {
			l.cancelCall(c, ErrCallerGone)
		}
	case seq == everyCall:
		for c := l.calls.first; c != nil; c = c.next {
			if c.seq != 0 {
				l.cancelCall(c, ErrCallerGone)
			}
		}
	}
}

// cancelCall ends a call, unless it has been answered. Called with mu.
func (l *link) cancelCall(c *handlerCtx, cause error) {
	if !c.answeredBy.CompareAndSwap(answerOpen, answerCaller) {
		return
	}
	l.env.stats.canceledCalls.Add(1)
	if c.cancel != nil {
		c.cancel(cause)
	}
}

// abandonCalls ends the contexts of all handlers, if the peer, which has ended its half of
// the connection, says in this way that it does not wait for replies. They are sent all the
// same: it may read on.
func (l *link) abandonCalls() {
	if l.sock.Abandons() {
		l.cancelHandlers(&CloseReason{SideRemote, fmt.Errorf("%w: %w", errRemoteClose, ErrCallerGone), "reading"})
	}
}

// callerGone returns the error of a call whose caller has given up; nil: it has not.
func (c *handlerCtx) callerGone() *Rerror {
	if c.answeredBy.Load() != answerCaller {
		return nil
	}
	return callerGoneRerror()
}

func callerGoneRerror() *Rerror {
	return NewRerror(CodeCanceled, CodeText(CodeCanceled), ErrCallerGone.Error()).WithCause(ErrCallerGone)
}
