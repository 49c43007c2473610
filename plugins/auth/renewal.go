package auth

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// renewal is what the dialling side knows of a session whose credentials it can renew. It
// is in the session's Swap, and so survives redials.
type renewal struct {
	plugin *BearerPlugin
	sess   tp.Session
	ctx    context.Context // has the values of DialContext's, and ends with the session
	stop   context.CancelFunc
	turn   chan struct{} // of capacity 1: one renewal at a time

	mu    sync.Mutex // guards the fields below
	term  uint64     // counts the grants of the other side
	known bool       // the other side takes renewals
	until time.Time  // when the credentials end; zero: never
	timer *time.Timer
	ended bool // the session has ended
}

type renewalKey struct{}

func renewalOf(swap *tp.Swap) *renewal {
	v, _ := swap.Load(renewalKey{})
	r, _ := v.(*renewal)
	return r
}

// Renew shows the credentials of the session's Bearer again, now, for example since its
// user has got other rights. A session whose credentials end does so by itself, at between
// 75 and 90% of their time, and again if that fails for now, until they end. Renew waits
// for another renewal of the session that is under way. Its errors are those of the Bearer
// and of the other side's Checker, which has left the session as it was, and 405 if the
// other side takes no renewals: its Checker has returned no Grant, the protocol carries no
// metadata (thrift), or the peer is one of v5, v7 or an older release.
func Renew(ctx context.Context, sess tp.CtxSession) *tp.Rerror {
	r := renewalOf(sess.Swap())
	if r == nil {
		return notRenewable()
	}
	return r.renew(ctx)
}

// Renewing reports whether sess.Context() is that of a Bearer or a Checker which renews the
// credentials of a session that is ready: a Bearer that keeps its token needs a new one.
func Renewing(ctx context.Context) bool { return ctx.Value(renewingKey{}) != nil }

type renewingKey struct{}

// live is the Session of a Bearer or a Checker when the session is ready.
type live struct {
	tp.Session
	ctx   context.Context
	setID func(string)
}

func (l live) Context() context.Context { return l.ctx }
func (l live) SetID(id string)          { l.setID(id) }

// granted notes what the other side has said in its AUTH_REPLY on a new connection.
func (p *BearerPlugin) granted(sess tp.PreSession, said *tp.Meta) {
	left, ok := parseExpires(said.Peek(metaExpires))
	r := renewalOf(sess.Swap())
	if r == nil {
		s, is := sess.(tp.Session) // the engine's sessions are both
		if !ok || !is {
			return
		}
		r = &renewal{plugin: p, sess: s, turn: make(chan struct{}, 1)}
		r.ctx, r.stop = context.WithCancel(context.WithValue(context.WithoutCancel(sess.Context()), renewingKey{}, true))
		sess.Swap().Store(renewalKey{}, r)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(ok, left)
}

// put begins a new grant: known says that it can be renewed, and left how long it is
// valid, 0: without an end. The caller holds r.mu.
func (r *renewal) put(known bool, left time.Duration) {
	r.term++
	r.known, r.until = known, time.Time{}
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	if known && left > 0 {
		r.until = time.Now().Add(left)
		r.schedule(left/4*3 + rand.N(left/20*3+1))
	}
}

// schedule renews after d. The caller holds r.mu.
func (r *renewal) schedule(d time.Duration) {
	if r.ended {
		return
	}
	term := r.term
	r.timer = time.AfterFunc(d, func() { r.renewInTime(term) })
}

func (r *renewal) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.stop()
	if r.timer != nil {
		r.timer.Stop()
	}
}

// leastWait is the shortest wait for another attempt to renew.
const leastWait = 100 * time.Millisecond

// renewInTime renews the grant with this number. If that fails for now it tries again when
// half of the time that is left has passed.
func (r *renewal) renewInTime(term uint64) {
	peer := r.sess.Peer()
	r.mu.Lock()
	if r.term != term || r.ended {
		r.mu.Unlock()
		return
	}
	r.plugin.tasks.begin(peer)
	defer r.plugin.tasks.end(peer)
	r.mu.Unlock()
	rerr := r.renew(r.ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !rerr.HasError() || r.term != term || r.ended {
		return
	}
	wait := time.Until(r.until) / 2
	if isFinal(rerr) || wait < leastWait {
		r.sess.Warnf("auth: the credentials of the session are not renewed, and end in %v: %s", 2*wait, rerr)
		return
	}
	r.sess.Debugf("auth: the credentials of the session were not renewed, again in %v: %s", wait, rerr)
	r.schedule(wait)
}

// isFinal reports whether it is in vain to show the credentials again.
func isFinal(r *tp.Rerror) bool {
	return slices.Contains([]int32{tp.CodeInvalidOp, tp.CodeUnauthorized, tp.CodeForbidden, tp.CodeNotFound, tp.CodeMtypeNotAllowed, tp.CodeConflict}, r.Code)
}

// renew calls the Bearer, and sends what it shows.
func (r *renewal) renew(ctx context.Context) *tp.Rerror {
	rerr := r.attempt(ctx)
	if rerr.HasError() && (rerr.Code == tp.CodeCanceled || rerr.Code == tp.CodeHandleTimeout) && ctx.Err() != nil {
		code, cause := tp.CodeCanceled, context.Cause(ctx)
		if ctx.Err() == context.DeadlineExceeded {
			code = tp.CodeHandleTimeout
		}
		return tp.NewRerror(code, tp.CodeText(code), cause.Error()).WithCause(cause)
	}
	return rerr
}

func (r *renewal) attempt(ctx context.Context) *tp.Rerror {
	p := r.plugin
	within, cancel := context.WithTimeoutCause(r.ctx, p.timeout, fmt.Errorf("%w: %v", ErrTimeout, p.timeout))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-within.Done():
		return r.gaveUp(within)
	}
	r.mu.Lock()
	known, term := r.known, r.term
	r.mu.Unlock()
	if !known {
		return notRenewable()
	}
	sent, left, refused := false, time.Duration(0), (*tp.Rerror)(nil)
	rerr := p.fn(live{r.sess, within, r.sess.SetID}, func(info, retRecv any) *tp.Rerror {
		if sent {
			return MultiSendErr.Copy()
		}
		sent = true
		setting := append(p.setting, tp.WithMtype(tp.TypeAuthCall), tp.WithContext(within))
		cmd := r.sess.Call("", info, retRecv, setting...)
		if refused = cmd.Rerror(); !refused.HasError() {
			left, known = parseExpires(cmd.InputMeta().Peek(metaExpires))
		}
		return refused
	})
	switch {
	case rerr.HasError():
		return rerr
	case refused.HasError():
		return refused
	case !sent:
		return tp.NewRerror(tp.CodeInvalidOp, tp.CodeText(tp.CodeInvalidOp), "auth: the Bearer has shown no credentials")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.term == term { // else a new connection has its own
		r.put(known, left)
	}
	return nil
}

// gaveUp is the error of a renewal that did not come to its turn.
func (r *renewal) gaveUp(within context.Context) *tp.Rerror {
	switch {
	case r.ctx.Err() != nil:
		return tp.NewRerror(tp.CodeConnClosed, tp.CodeText(tp.CodeConnClosed), "the session has ended")
	case within.Err() == context.Canceled:
		return tp.NewRerror(tp.CodeCanceled, tp.CodeText(tp.CodeCanceled), within.Err().Error())
	}
	return tooLate(within)
}
