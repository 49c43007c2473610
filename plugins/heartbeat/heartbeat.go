// Package heartbeat detects peers that have gone without closing the connection: a
// cable was pulled, a machine hangs, a router has dropped the connection.
//
// One side has a Ping, the other a Pong; a peer may have both. The Ping sends a
// beat on each session over which nothing was sent for one rate. The Pong answers
// it, and takes the rate from it. A side that receives nothing for two rates gives
// the connection up: the session ends, or redials if it was dialled so.
//
// An idle session costs either side a few hundred bytes, no goroutine and no timer
// of its own.
package heartbeat

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// HeartbeatServiceMethod is the service method of beats, whatever the peers' mappers are.
const HeartbeatServiceMethod = "/heartbeat"

// MetaRate is the metadata key of the rate, in whole seconds.
const MetaRate = "hb_"

// maxRate is the largest rate that either side accepts.
const maxRate = (1<<31 - 1) * time.Second

// ErrSilent is the cause if a Ping or Pong has given a connection up: the session's
// CloseReason, of SideNetwork, wraps it, and so do the errors of the calls that were
// pending.
var ErrSilent = errors.New("heartbeat: the peer is silent")

// watched is what a plugin knows of a session. It is kept in the session's Swap,
// and so survives redials.
type watched struct {
	pre      tp.PreSession
	received atomic.Int64          // when something was last received; all times are the schedule's
	sent     atomic.Int64          // when something was last sent
	rate     atomic.Int64          // a Pong's: of the peer's beats; 0: unknown
	round    atomic.Pointer[round] // a Ping's: the beat under way

	// Guarded by the schedule's lock.
	due   int64
	index int // in the heap; -1: not there
	gone  bool
}

// watch begins to watch the session, or goes on with its new connection.
func (s *schedule) watch(sess tp.PreSession) *watched {
	swap := sess.Swap()
	w := s.of(swap)
	if w == nil {
		w = &watched{pre: sess, index: -1}
	}
	now := s.now()
	w.received.Store(now)
	w.sent.Store(now)
	w.rate.Store(0)
	w.round.Store(nil)
	swap.Store(s, w)
	return w
}

// of returns the watched session with this Swap; nil if it is not watched.
func (s *schedule) of(swap *tp.Swap) *watched {
	v, _ := swap.Load(s)
	w, _ := v.(*watched)
	return w
}

// noteReceived records that the peer is alive.
func (s *schedule) noteReceived(sess tp.CtxSession) *tp.Rerror {
	if w := s.of(sess.Swap()); w != nil {
		w.received.Store(s.now())
	}
	return nil
}

// session returns the session if it is ready or redialling.
func (w *watched) session() (tp.Session, bool) {
	sess, ok := w.pre.Peer().GetSession(w.pre.ID())
	return sess, ok && sess.Swap() == w.pre.Swap()
}

// giveUp breaks the connection, as if the network had failed. One that is closed
// already, while the session redials, is left alone.
func (w *watched) giveUp(sess tp.Session, span, rate time.Duration) {
	cause := fmt.Errorf("%w: nothing received for %v at a rate of %v", ErrSilent, span, rate)
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

// rateText is the rate as a beat carries it, rounded up.
func rateText(rate time.Duration) string {
	return strconv.FormatInt(int64((rate+time.Second-1)/time.Second), 10)
}

// OwnsSwap reports whether the key is that of the plugin's state of a session; see
// tp.SwapOwner.
func (s *schedule) OwnsSwap(key any) bool { return key == any(s) }
