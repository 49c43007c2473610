// Package heartbeat finds peers that have gone without a word: a cable was pulled,
// a machine stands still, a router has forgotten the connection.
//
// One side has a Ping, the other a Pong; a peer may have both. The Ping sends a
// beat on each session over which nothing has gone for one rate. The Pong answers
// it, and learns the rate from it. Whoever hears nothing for two rates gives the
// connection up: the session ends, or redials if it was dialled so.
//
// An idle session costs either side a few hundred bytes and a place in a list, no
// goroutine and no timer of its own.
package heartbeat

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// HeartbeatServiceMethod is where beats go, whatever the peers' mappers are.
const HeartbeatServiceMethod = "/heartbeat"

// MetaRate is the metadata that tells the rate, in whole seconds.
const MetaRate = "hb_"

// maxRate is the largest rate that either side believes in.
const maxRate = (1<<31 - 1) * time.Second

// ErrSilent is why a Ping or Pong has given a connection up: the session's
// CloseReason, of the network's side, wraps it, and so do the errors of the calls
// that were pending.
var ErrSilent = errors.New("heartbeat: the peer is silent")

// watched is what a plugin knows of a session. It is kept in the session's Swap,
// and so survives redials.
type watched struct {
	pre   tp.PreSession
	heard atomic.Int64          // when something came from the peer; all times are the agenda's
	sent  atomic.Int64          // when something went out
	rate  atomic.Int64          // a Pong's: of the peer's beats, 0 unknown
	round atomic.Pointer[round] // a Ping's: the beat under way

	// Guarded by the agenda's lock.
	due   int64
	index int // in the heap; -1: not there
	gone  bool
}

// watch begins to look after the session, or goes on with a new connection.
func (a *agenda) watch(sess tp.PreSession) *watched {
	swap := sess.Swap()
	w := a.of(swap)
	if w == nil {
		w = &watched{pre: sess, index: -1}
	}
	now := a.now()
	w.heard.Store(now)
	w.sent.Store(now)
	w.rate.Store(0)
	w.round.Store(nil)
	swap.Store(a, w)
	return w
}

// of returns what is known of the session with this Swap; nil if it is not watched.
func (a *agenda) of(swap *tp.Swap) *watched {
	v, _ := swap.Load(a)
	w, _ := v.(*watched)
	return w
}

// heardFrom notes that the peer lives.
func (a *agenda) heardFrom(sess tp.CtxSession) *tp.Rerror {
	if w := a.of(sess.Swap()); w != nil {
		w.heard.Store(a.now())
	}
	return nil
}

// session returns the session if it is ready or redialling.
func (w *watched) session() (tp.Session, bool) {
	sess, ok := w.pre.Peer().GetSession(w.pre.ID())
	return sess, ok && sess.Swap() == w.pre.Swap()
}

// giveUp ends the connection: the engine does what it does when the network
// fails. One that is closed already, while the session redials, is left alone.
func (w *watched) giveUp(sess tp.Session, span, rate time.Duration) {
	cause := fmt.Errorf("%w: nothing heard for %v at a rate of %v", ErrSilent, span, rate)
	if b, ok := w.pre.(tp.Breaker); ok && b.Break(cause) {
		sess.Warnf("%v: the connection with %s is given up", cause, sess.RemoteAddr())
	}
}

// parseRate reads the rate of a beat.
func parseRate(text []byte) (time.Duration, bool) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 1 || n > int64(maxRate/time.Second) {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

// rateText is the rate as a beat tells it, rounded up.
func rateText(rate time.Duration) string {
	return strconv.FormatInt(int64((rate+time.Second-1)/time.Second), 10)
}
