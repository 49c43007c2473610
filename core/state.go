package tp

import (
	"errors"
	"fmt"
)

// state is where a session is in its life:
//
//	             hook refused, connection lost, time-out
//	preparing ───────────────────────────────────────────────► closed
//	    │ all hooks passed                                        ▲
//	    ▼           Close, Drain, age, id taken, clean EOF        │
//	  ready ───────────────────────────────────► draining ────────┤
//	  ▲   │ error (EOF too, if it redials)                        │
//	  │   ▼            not redialable                             │
//	  │ broken ───────────────────────────────────────────────────┤
//	  │   │ redialable                                            │
//	  │   ▼            attempts used up, Close, 401, 403          │
//	  └ redialing ────────────────────────────────────────────────┘
//
// One mutex guards the state, the link (whose epoch numbers the connections) and
// the close reason. No hook, no user code and no I/O runs under it. Once a session
// was ready the goroutine that reads owns its end: it alone leads into broken,
// redialing and closed.
type state uint8

const (
	preparing state = iota // hooks of the connection run; in nobody's list
	ready                  // calls go out, the reader runs
	draining               // no new calls; what is under way may finish
	broken                 // the connection has failed; cleaning up
	redialing              // a new connection is on its way; calls wait
	closed                 // for ever
)

func (s state) String() string {
	return [...]string{"preparing", "ready", "draining", "broken", "redialing", "closed"}[s]
}

// Side is who ended a connection.
type Side string

// The sides of a CloseReason.
const (
	SideLocal   Side = "local"   // this end: Close, an age, a rule the peer has broken
	SideRemote  Side = "remote"  // the peer has hung up between two messages
	SideNetwork Side = "network" // the connection failed
)

// CloseReason says why a session, or one connection of it, ended.
type CloseReason struct {
	Side  Side
	Cause error
	Act   string // what was being done: "reading", "writing", "closing"…
}

// Error makes a CloseReason usable as the cause of a context.
func (r *CloseReason) Error() string { return r.String() }

// Unwrap returns the cause.
func (r *CloseReason) Unwrap() error { return r.Cause }

// String is the reason in a few words.
func (r *CloseReason) String() string {
	switch {
	case r == nil:
		return "<nil>"
	case r.Side == SideNetwork:
		return fmt.Sprintf("network: %v while %s", r.Cause, r.Act)
	}
	return r.Cause.Error()
}

// rerror is the 102 that calls get.
func (r *CloseReason) rerror() *Rerror {
	return NewRerror(CodeConnClosed, CodeText(CodeConnClosed), r.String()).WithCause(r)
}

var (
	errLocalClose  = errors.New("closed by this side")
	errRemoteClose = errors.New("closed by peer")
	errSessionAge  = errors.New("session age")
	errIdle        = errors.New("nothing was received for idle_timeout")
	errDraining    = errors.New("draining")
	errGivenUp     = errors.New("given up by this side")
)

// frameError is a frame that cannot be read; the place of the next one is lost.
type frameError struct{ err error }

func (e *frameError) Error() string { return e.err.Error() }
func (e *frameError) Unwrap() error { return e.err }
