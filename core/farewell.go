package tp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// This file holds the farewell: what a side says last before it closes a connection, and
// how the other side learns from it, and from its own side of the connection, which of its
// calls have certainly not run.
//
// A farewell is a CONTROL message with the verb bye or, over protocols that do not show
// whether the peer is one of v5, which closes the connection on CONTROL, a REPLY to no call.
// Once a session drains, it refuses every CALL; so when all handlers have returned and their
// replies are in the batch, no CALL that is not answered in front of the farewell has run,
// and the farewell says so with the number 0. A session that is cut off names the last
// number that it has taken.

const (
	verbBye = "bye"

	// Keys of its metadata.
	byeNumber  = "n"
	byeCode    = "code"
	byeMessage = "message"
	byeReason  = "reason"
	byeAfter   = "after" // milliseconds; a REPLY has metaByeAfter

	metaByeAfter = "X-Bye-After"

	// longestAfter is how long a session waits at most because of its peer's farewell before
	// it redials.
	longestAfter = 10 * time.Second
)

// above reports whether the number a was given after b. Numbers start again at 1 after
// 2^31-1, and those of pending calls lie close together.
func above(a, b int32) bool {
	if b == 0 {
		return true
	}
	d := a - b
	if d < 0 {
		d += math.MaxInt32
	}
	return d > 0 && d < math.MaxInt32/2
}

// covers reports whether the peer has not run the call with this number, if it was not
// answered.
func (f *farewell) covers(seq int32) bool { return f != nil && f.known && above(seq, f.last) }

// endsRedial reports whether the peer does not want the session to come back.
func (f *farewell) endsRedial() bool { return f != nil && endsRedial(f.rerr) }

// endsRedial reports whether to dial again would be in vain.
func endsRedial(r *Rerror) bool {
	if r == nil {
		return false
	}
	switch r.Code {
	case CodeUnauthorized, CodeForbidden, CodeConflict:
		return true
	}
	return false
}

// reason is why the connection has ended.
func (f *farewell) reason() *CloseReason {
	if f.rerr == nil {
		return &CloseReason{SideRemote, errRemoteClose, "reading"}
	}
	return &CloseReason{SideRemote, fmt.Errorf("%w: %w", errRemoteClose, f.rerr.Err()), "reading"}
}

// sayBye enqueues the farewell, and behind it what the protocol itself says last, and
// begins to write them. answered says that all CALLs that were taken have been answered. A
// peer that has closed the connection already, or would not understand the message, gets
// no CONTROL message. parted reports whether the protocol had anything to say.
func (l *link) sayBye(reason *CloseReason, answered bool) (parted bool) {
	if reason.Side != SideRemote {
		l.enqueueBye(reason, answered)
	}
	parted = l.part(reason)
	l.sock.Flush(socket.NoBlock)
	return parted
}

func (l *link) enqueueBye(reason *CloseReason, answered bool) {
	number := ""
	if last, known := l.refusedAfter(); answered {
		number = "0"
	} else if known {
		number = strconv.Itoa(int(last))
	}
	var rerr *Rerror
	if t := (*told)(nil); errors.As(reason.Cause, &t) {
		rerr = NewRerror(t.rerr.Code, clip(t.rerr.Message), clip(t.rerr.Reason))
	}
	after := ""
	if window := l.env.comeBack.Load(); window > 0 && rerr == nil {
		after = strconv.FormatInt(1+rand.Int64N(window)/int64(time.Millisecond), 10)
	}
	var m socket.Envelope
	switch {
	case l.carriesBye():
		m.SetMtype(TypeReply)
		m.Meta().Add(MetaBye, number)
		addText(m.Meta(), metaByeAfter, after)
		m.SetRerror(rerr)
	case l.carriesControl():
		m.SetMtype(TypeControl)
		m.SetServiceMethod(verbBye)
		addText(m.Meta(), byeNumber, number)
		addText(m.Meta(), byeAfter, after)
		if rerr != nil {
			m.Meta().Add(byeCode, strconv.Itoa(int(rerr.Code)))
			addText(m.Meta(), byeMessage, rerr.Message)
			addText(m.Meta(), byeReason, rerr.Reason)
		}
	default:
		return
	}
	l.sock.EnqueueNow(&m) // an error: the connection has failed, or its peer does not read
}

// part enqueues what the protocol says last. It reports whether that is anything.
func (l *link) part(reason *CloseReason) bool {
	return l.partFor(l.partingReason(reason))
}

func (l *link) partFor(r socket.Reason) bool {
	said, err := l.sock.Part(r)
	if err != nil {
		l.sess.Errorf("closing the connection to %s: %v", l.ip, err)
	}
	return said
}

// partingReason is reason in the words for protocols.
func (l *link) partingReason(reason *CloseReason) socket.Reason {
	p := socket.Reason{Kind: socket.ReasonClosed, Cause: reason.Cause}
	switch t := (*told)(nil); {
	case reason.Side == SideRemote:
		p.Kind = socket.ReasonAnswered
	case errors.As(reason.Cause, &t):
		p.Kind, p.Err = socket.ReasonRefused, t.rerr
	case errors.Is(reason.Cause, socket.ErrSizeLimit):
		p.Kind = socket.ReasonTooLarge
	case reason.Act == readingFrame:
		p.Kind = socket.ReasonBroken
	case l.env.hub.isClosed():
		p.Kind = socket.ReasonShutdown
	}
	return p
}

// partRefused is part for a connection that a hook has refused with r.
func (l *link) partRefused(r *Rerror) bool {
	if r.Code == CodeInternalServerError { // a panic, which is not for the peer
		return l.partFor(socket.Reason{Kind: socket.ReasonBroken, Cause: r.Err()})
	}
	return l.partFor(socket.Reason{Kind: socket.ReasonRefused, Err: r, Cause: r.Err()})
}

// partBroken is part for a connection that has received what cannot be read. It waits for
// the network as long as for the peer behind it.
func (l *link) partBroken(reason *CloseReason) bool {
	if !l.part(reason) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lingerTime)
	defer cancel()
	l.sock.WaitFlushed(ctx)
	return true
}

// lingerTime is how long a closing side waits for the peer to close too, so that what
// the peer still sends does not reset the connection before the last replies arrive.
const lingerTime = time.Second

// How many bytes are read at most of a peer that was refused, and of one whose message was
// too large: it reads the farewell only when it has sent that.
const (
	hangUpLimit   = 64 << 10
	oversizeLimit = 64 << 20
)

// hangUp closes the write side and waits up to lingerTime, and limit bytes, for the peer to
// close too. Closing with unread bytes would reset the connection, and the peer could lose a
// refusal that it has not read yet.
func (l *link) hangUp(limit int64) {
	c, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	l.conn.SetReadDeadline(time.Now().Add(lingerTime))
	io.Copy(io.Discard, io.LimitReader(l.conn, limit))
}

// linger ends this half of the connection and waits up to lingerTime for the peer to close
// its own. The peer answers what a protocol says last (parted), and only then the
// connection is closed, as RFC 6455 section 5.5.1 demands. Firefox takes one that is half
// closed before for broken.
func (l *link) linger(ctx context.Context, parted bool) {
	c, ok := l.conn.(interface{ CloseWrite() error })
	if !parted && (!ok || c.CloseWrite() != nil) {
		return
	}
	t := time.NewTimer(lingerTime)
	defer t.Stop()
	select {
	case <-l.over.Done():
	case <-ctx.Done():
	case <-t.C:
	}
}

const (
	// quietTime is how long nothing must arrive before this side closes a connection that
	// carries no farewell, which would name the calls that have not run: a call that arrives
	// meanwhile is refused, which says the same.
	quietTime = 10 * time.Millisecond
	// quietLimit is how long this side waits for that.
	quietLimit = 100 * time.Millisecond
)

// awaitQuiet waits until nothing has arrived for quietTime.
func (l *link) awaitQuiet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, quietLimit)
	defer cancel()
	for {
		t := time.NewTimer(quietTime)
		word := l.state.word.Load()
		select {
		case <-t.C:
		case <-l.over.Done():
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil || isFired(l.over.Done()) || word == l.state.word.Load() && phaseOf(word) != handling {
			return // a protocol that reads by itself never shows that it waits
		}
	}
}

// isFired reports whether the event of the channel has happened.
func isFired(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// carriesBye reports whether a REPLY to no call is worth saying goodbye by: peers of
// v5 and v7 write a line about it into their logs, so a side that nobody calls does without.
func (l *link) carriesBye() bool {
	return l.sock.CarriesBye() && (l.sess.plan == nil || l.refused.Load() > 0)
}

func addText(m *Meta, key, text string) {
	if text != "" {
		m.Add(key, text)
	}
}

// take notes the number of a CALL whose handler may run. The reader calls it.
func (r *reader) take(seq int32) {
	if r.taken == 0 || above(seq, r.taken) {
		r.taken = seq
	}
}

// refuseFrom notes that all CALLs from now on are refused, since the session drains. The
// reader calls it.
func (l *link) refuseFrom() {
	if l.refused.Load() == 0 {
		l.refused.Store(uint32(l.taken) + 1)
	}
}

// refusedAfter returns the number of the last CALL that was taken, if it is known.
func (l *link) refusedAfter() (last int32, known bool) {
	n := l.refused.Load()
	return int32(n - 1), n > 0
}

// acceptByeMessage takes the peer's farewell from a CONTROL message.
func (l *link) acceptByeMessage(m *socket.Envelope) {
	var rerr *Rerror
	if code, err := strconv.ParseInt(string(m.Meta().Peek(byeCode)), 10, 32); err == nil && int32(code) != CodeNoError {
		rerr = NewRerror(int32(code), string(m.Meta().Peek(byeMessage)), string(m.Meta().Peek(byeReason)))
	}
	l.acceptBye(m.Meta().Peek(byeNumber), m.Meta().Peek(byeAfter), rerr)
}

// acceptBye takes the peer's farewell.
func (l *link) acceptBye(number, after []byte, rerr *Rerror) {
	f := &farewell{rerr: rerr}
	if ms, err := strconv.ParseInt(string(after), 10, 64); err == nil && ms > 0 {
		f.after = time.Duration(min(ms, longestAfter.Milliseconds())) * time.Millisecond
	}
	if n, err := strconv.ParseInt(string(number), 10, 32); err == nil && n >= 0 {
		f.last, f.known = int32(n), true
	}
	l.bye.CompareAndSwap(nil, f)
	l.sess.Tracef("%s says goodbye: %s", l.ip, brief(f.reason().Error()))
}

// isBye reports whether the REPLY, which answers no pending call, is a farewell.
func isBye(m *socket.Envelope) bool {
	return m.Seq() == 0 && m.Meta().Len() > 0 && m.Meta().Has(MetaBye)
}

// linkEnd is the cause of the errors of calls that were pending when a link ended.
type linkEnd struct {
	reason *CloseReason
	link   *link
}

func (e *linkEnd) Error() string { return e.reason.Error() }
func (e *linkEnd) Unwrap() error { return e.reason }

// notRun is in the chain of causes of an error of a call that has certainly not run.
type notRun struct {
	cause error // may be nil
	link  *link // that has not run it; nil: a session that redials does not make the call again
}

func (n *notRun) Error() string {
	if n.cause == nil {
		return ErrNotRun.Error()
	}
	return n.cause.Error()
}

func (n *notRun) Unwrap() error        { return n.cause }
func (n *notRun) Is(target error) bool { return target == ErrNotRun }

// markNotRun returns the error of a call that has not run.
func markNotRun(r *Rerror, l *link) *Rerror { return r.WithCause(&notRun{r.Cause(), l}) }

// checkRun finds out whether the call, which has ended with an error, has certainly not
// run; if so it marks the error, and returns the mark, else nil. It is called by the
// goroutine that completes the call.
func (cmd *callCmd) checkRun() *notRun {
	var n *notRun
	var end *linkEnd
	cause := cmd.rerr.Cause()
	switch {
	case cause == nil:
	case errors.As(cause, &n):
		return n
	case errors.As(cause, &end) && (end.link.bye.Load().covers(cmd.seq) || end.link.sock.Unwritten(&cmd.out)):
		n = &notRun{cause, end.link}
		cmd.rerr = cmd.rerr.WithCause(n)
	}
	return n
}

// notRun marks the reply to a CALL or AUTH_CALL with r, which the engine refuses.
func (c *handlerCtx) notRun(r *Rerror) *Rerror {
	if c.in.Mtype() != TypePush {
		c.out.Meta().Set(MetaNotRun, "1")
		c.sess.env.stats.refusedCalls.Add(1)
	}
	return r
}

// remoteRerror returns the error that the reply carries.
func (c *handlerCtx) remoteRerror() *Rerror {
	r := c.in.Rerror()
	if c.in.Meta().Len() == 0 || !c.in.Meta().Has(MetaNotRun) {
		return r
	}
	switch r.Code {
	case CodeConnClosed:
		return markNotRun(r, c.link)
	case CodeBusy:
		return markNotRun(r, nil) // to call again at once would make it worse
	}
	return r
}
