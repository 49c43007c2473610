package tp

import (
	"errors"
	"fmt"
)

// state is the state of a session:
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
//	  │   ▼            attempts used up, Close, 401, 403, 409     │
//	  └ redialing ────────────────────────────────────────────────┘
//
// At a Reboot an accepted session is moving for a moment (move.go): from there it is ready
// again, if the connection could not be handed over, or closed, if it was; what leads
// from ready to draining or broken leads there from moving too.
//
// One mutex guards the state, the link (whose epoch numbers the connections) and
// the close reason. No hook, no user code and no I/O runs while it is held. Once a
// session was ready, only the reader moves it to broken, redialing and closed; when it is
// handed over, that is the goroutine that holds the reading.
type state uint8

const (
	preparing state = iota // connection hooks run; not in the hub yet
	ready                  // calls are sent, and messages are read
	draining               // no new calls; pending calls and handlers may finish
	broken                 // the connection has failed; cleaning up
	redialing              // dialling a new connection; calls wait
	closed                 // the end
	moving                 // ready to be handed to another process; own calls wait, those of the peer are served
)

func (s state) String() string {
	return [...]string{"preparing", "ready", "draining", "broken", "redialing", "closed", "moving"}[s]
}

// Side says which side ended a connection.
type Side string

// The sides of a CloseReason.
const (
	SideLocal   Side = "local"   // this side: Close, the session age, an error of the peer's
	SideRemote  Side = "remote"  // the peer closed the connection between two messages
	SideNetwork Side = "network" // the connection failed
)

// CloseReason says why a session, or one connection of it, ended.
type CloseReason struct {
	Side  Side
	Cause error
	Act   string // what this side was doing: "reading", "writing", "closing"…
}

// readingFrame is the Act of a connection that has received what it cannot read.
const readingFrame = "reading a frame"

// Error makes a CloseReason usable as the cause of a context.
func (r *CloseReason) Error() string { return r.String() }

// Unwrap returns the cause; of nil, nil.
func (r *CloseReason) Unwrap() error {
	if r == nil {
		return nil
	}
	return r.Cause
}

// String returns the reason in a few words; of nil "<nil>".
func (r *CloseReason) String() string {
	switch {
	case r == nil:
		return "<nil>"
	case r.Side == SideNetwork:
		return fmt.Sprintf("network: %v while %s", r.Cause, r.Act)
	}
	return r.Cause.Error()
}

// rerror returns the error 102 for calls.
func (r *CloseReason) rerror() *Rerror {
	return NewRerror(CodeConnClosed, CodeText(CodeConnClosed), r.String()).WithCause(r)
}

// told is a cause that the farewell tells the peer.
type told struct {
	err  error   // for this side
	rerr *Rerror // for the peer
}

func (t *told) Error() string   { return t.err.Error() }
func (t *told) Unwrap() []error { return []error{t.err, t.rerr.Err()} }

// told reports whether the peer shall learn the reason.
func (r *CloseReason) told() bool {
	t := (*told)(nil)
	return errors.As(r.Cause, &t)
}

var (
	errLocalClose  = errors.New("closed by this side")
	errRemoteClose = errors.New("closed by peer")
	errSessionAge  = errors.New("session age")
	errIdle        = errors.New("nothing was received for idle_timeout")
	errGivenUp     = errors.New("given up by this side")
)

// frameError is the error of a frame that cannot be read, after which the next frame cannot be found.
type frameError struct{ err error }

func (e *frameError) Error() string { return e.err.Error() }
func (e *frameError) Unwrap() error { return e.err }
