package tp

import (
	"testing"
	"time"
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
