package framing

import (
	"sync/atomic"
	"time"
)

// reactionTime is how long after it has received enough a peer may take to close
// the connection for it to be a reaction. A peer refuses a frame at once; the rest
// is for the network.
const reactionTime = 2 * time.Second

// reaction is when the peer of a connection was sent enough bytes to notice that
// it does not understand them. Its methods may be called concurrently.
type reaction struct {
	bytes atomic.Uint32 // sent so far, until they are enough
	at    atomic.Int64  // when they were, in Unix nanoseconds; 0: not yet
}

// ignore makes recent return false forever.
func (r *reaction) ignore() { r.at.Store(1) }

func (r *reaction) pending() bool { return r.at.Load() == 0 }

// add notes that a frame of n bytes was sent.
func (r *reaction) add(n, enough uint32) {
	if r.bytes.Add(min(n, enough)) >= enough {
		r.at.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// recent reports whether the peer was sent enough bytes a short time ago.
func (r *reaction) recent() bool {
	return !r.pending() && time.Since(time.Unix(0, r.at.Load())) < reactionTime
}
