package tp

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/inherit"
)

// closesItself is a plugin whose Save closes the session.
type closesItself struct{}

func (closesItself) Name() string                       { return "closes itself" }
func (closesItself) PostAccept(PreSession) *Rerror      { return nil }
func (closesItself) Restore(PreSession, []byte) *Rerror { return nil }

func (closesItself) Save(s BaseSession) ([]byte, error) { return nil, s.(Session).Close() }

// A session that is closed while it moves stays, and ends; also if a hook of the move does it.
func TestCloseWhileMoving(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		p := w.peer(func(c *PeerConfig) { c.CloseTimeout = time.Second }, closesItself{})
		s, _ := w.serveRaw(p)
		to := &walkTaker{answer: 4}
		if err := s.tryMove(t.Context(), to, time.Second); err == nil || to.taken {
			t.Errorf("it has moved: %v", err)
		}
		<-s.done.Done()
		if r := s.CloseReason(); r.Cause != errLocalClose {
			t.Errorf("it has ended because of %v; want %v", r, errLocalClose)
		}
	})
}

// lateTaker is a new process that takes the session, and fails after late was called.
type lateTaker struct{ late func() }

func (to lateTaker) Offer(_ context.Context, _, _ []byte, _ net.Conn, ready func() bool) error {
	if !ready() {
		return inherit.ErrNotReady
	}
	to.late()
	return errors.New("the line has ended before the last word")
}

// What closes a session in the last moment of its move is not lost if the session then stays.
func TestCloseOfCommittedMove(t *testing.T) {
	rerr := NewRerror(CodeForbidden, "Forbidden", "revoked")
	for _, test := range []struct {
		name  string
		close func(*session)
		want  error
	}{
		{"Close", func(s *session) { s.Close() }, errLocalClose},
		{"CloseWith", func(s *session) { s.CloseWith(rerr) }, rerr.Err()},
		{"Break", func(s *session) {
			if !s.Break(errGivenUp) {
				t.Error("Break says that there was no connection")
			}
		}, errGivenUp},
		{"session age", func(s *session) { s.SetSessionAge(1); pass(time.Second) }, errSessionAge},
		{"Drain that is cut off", func(s *session) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			s.Drain(ctx)
		}, errLocalClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				s, _ := w.serveRaw(w.peer(nil))
				if err := s.tryMove(t.Context(), lateTaker{func() { test.close(s) }}, time.Second); err == nil {
					t.Error("it has moved")
				}
				pass(time.Minute)
				if st := s.getState(); st != closed {
					t.Errorf("it is %v; want %v", st, closed)
				}
				if r := s.CloseReason(); !errors.Is(r, test.want) {
					t.Errorf("it has ended because of %v; want %v", r, test.want)
				}
			})
		})
	}
}

// An attempt to move a session that stays does not end the time in which half a message must
// be followed by the rest.
func TestFrameTimeoutAfterMove(t *testing.T) {
	inWorld(t, func(c *PeerConfig) { c.FrameTimeout = 10 * time.Second }, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		go s.Call("/x", "y", new(string)) // it has no reply
		end.receive()
		end.conn.Write([]byte{0, 0, 0})
		pass(time.Second)
		if err := s.tryMove(t.Context(), &walkTaker{answer: 4}, firstHold); !errors.Is(err, errBusy) {
			t.Errorf("the move returned %v; want %v", err, errBusy)
		}
		pass(time.Minute)
		if r := s.CloseReason(); !errors.Is(r, inbox.ErrFrameTimeout) {
			t.Errorf("it has ended because of %v; want %v", r, inbox.ErrFrameTimeout)
		}
	})
}
