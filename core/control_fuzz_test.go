package tp

import (
	"context"
	"math"
	"testing"
	"testing/synctest"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/socket"
)

// FuzzControl sends CONTROL messages of all kinds to a session with a call in each
// direction. Whatever they say, the session serves on, a call that waits ends as it should,
// and what is written down of them is within its bounds.
func FuzzControl(f *testing.F) {
	for _, verb := range []string{"hello", "cancel", "bye", "", "HELLO", "dance"} {
		for _, meta := range []string{"", "v=1&f=cancel", "v=9&f=a,b,,cancel&w=1", "f=stream&w=1", "f=stream&w=-1", "f=,,,,,,", "n=0", "n=7&code=409&message=Conflict", "n=-1&code=-1", "n=99999999999&code=x"} {
			f.Add(verb, int32(0), meta)
		}
		for _, seq := range []int32{1, 2, -1, math.MaxInt32, math.MinInt32} {
			f.Add(verb, seq, "")
		}
	}
	f.Fuzz(func(t *testing.T, verb string, seq int32, meta string) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, memnet.Buffer(1<<20))
			w.open(nil)
			s, end := w.serveRaw(w.server)
			ctx, cancel := context.WithCancel(t.Context())
			mine := call(s, "/x", "y", WithContext(ctx)) // number 1 of this side
			end.receive()
			end.send(TypeCall, 1, "/stuck", "x") // number 1 of the other
			var m socket.Envelope
			m.SetMtype(TypeControl)
			m.SetServiceMethod(verb)
			m.SetSeq(seq)
			m.Meta().Parse(meta)
			for range 2 {
				s.currentLink().acceptControl(&m)
			}
			if flags := s.currentLink().hello.Load(); flags&^(helloSaid|peerCancels|peerStreams|peerSpeaks) != 0 {
				t.Errorf("flags %#x", flags)
			}
			if bye := s.currentLink().bye.Load(); bye != nil && (bye.last < 0 || bye.known && bye.rerr != nil && bye.rerr.Code == CodeNoError) {
				t.Errorf("a farewell with the number %d, %s", bye.last, bye.rerr)
			}
			cancel()
			wantRerror(t, ended(t, mine).v.Rerror(), CodeCanceled)
			w.release()
			synctest.Wait()
			end.send(TypeCall, 2, "/echo", "after")
			answered := false
			for m := end.receive(); m.Seq() != 2 || m.Mtype() != TypeReply; m = end.receive() {
				answered = answered || m.Mtype() == TypeReply && m.Seq() == 1
			}
			given := verb == verbCancel && (seq == 1 || seq == everyCall)
			if answered == given {
				t.Errorf("the call of the other side is answered: %v; want %v", answered, !given)
			}
		})
	})
}
