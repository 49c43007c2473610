package tp

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
)

// A handler that waits because others wait for room to write goes on when they have got it,
// also if these are pushes of its own side, so that no request ends then.
func TestHandlerGoesOnWhenThereIsRoom(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.WriteBound, cfg.WriteTimeout = 10_000, time.Hour }, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server, memnet.Buffer(1<<10))
		end.start(TypeCall, 1, "/echo", strings.Repeat("x", largeReply))
		if m := end.receive(); m.Seq() != 1 { // from now on the route is known to make large replies
			t.Fatalf("received seq %d; want 1", m.Seq())
		}
		synctest.Wait()
		var pushes []<-chan outcome[*Rerror]
		for range 3 {
			pushes = append(pushes, begin(func() *Rerror { return s.Push("/x", strings.Repeat("x", 9000)) }))
		}
		if !s.currentLink().sock.Crowded() {
			t.Fatal("no push waits for room")
		}
		end.start(TypeCall, 2, "/echo", "small")
		synctest.Wait()
		end.conn.SetReadDeadline(time.Now().Add(time.Minute))
		for replied := false; !replied; {
			m, err := end.read()
			if err != nil {
				t.Fatalf("the reply has not come: %v", err)
			}
			replied = m.Mtype() == TypeReply && m.Seq() == 2
		}
		for _, p := range pushes {
			wantRerror(t, ended(t, p).v, 0)
		}
	})
}
