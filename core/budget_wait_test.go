package tp

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/inlining"
)

// A request that waits before its handler begins, for memory or for its turn, ends with its
// call: when the caller gives it up, when its time is over, and with the connection.
func TestRequestWaitEnds(t *testing.T) {
	const limit, seq = 2 << 20, 1000
	large := func(w *world) {
		HandleCall(w.server, "/large", func(_ CallCtx, arg *string) ([]byte, error) {
			w.log.add("large %s", *arg)
			if *arg != "now" {
				<-w.gate
			}
			return make([]byte, 1<<20), nil
		})
	}
	many := func(end *rawEnd) {
		for i := range int32(mostBlind) {
			end.send(TypeCall, i+1, "/large", "")
		}
	}
	waits := []struct {
		name  string
		start func(w *world, end *rawEnd, fill func(), set ...MessageSetting)
	}{
		{"for its argument", func(w *world, end *rawEnd, fill func(), set ...MessageSetting) {
			var busy []func()
			for range runtime.GOMAXPROCS(0) {
				busy = append(busy, w.server.env.decoding.Enter())
			}
			end.send(TypeCall, seq, "/echo", strings.Repeat("x", 2*decodeInReader), append(set, WithBodyCodec(swellingID))...)
			fill()
			for _, leave := range busy {
				leave()
			}
			synctest.Wait()
		}},
		{"for its reply", func(w *world, end *rawEnd, fill func(), set ...MessageSetting) {
			large(w)
			end.send(TypeCall, 1, "/large", "now")
			wantRerror(w.t, end.receive().Rerror(), 0)
			synctest.Wait()
			fill()
			end.send(TypeCall, seq, "/large", "", set...)
		}},
		{"behind another one for its reply", func(w *world, end *rawEnd, fill func(), set ...MessageSetting) {
			large(w)
			many(end)
			end.send(TypeCall, 100, "/large", "")
			end.send(TypeCall, seq, "/large", "", set...)
			fill()
			w.release() // their replies wait to be packed: the two know now what they need
			synctest.Wait()
		}},
		{"for the first reply of its route", func(w *world, end *rawEnd, fill func(), set ...MessageSetting) {
			large(w)
			many(end)
			end.send(TypeCall, seq, "/large", "", set...)
			fill()
		}},
	}
	if inlining.Always { // a handler of whose route nothing is known begins at once then
		waits = waits[:2]
	}
	ends := []struct {
		name string
		set  []MessageSetting
		end  func(end *rawEnd)
		code int32 // of the reply; 0: there is none
	}{
		{"the caller gives up", nil, func(end *rawEnd) { end.send(TypeControl, seq, "cancel", "") }, 0},
		{"the time is over", []MessageSetting{WithSetMeta(MetaTimeout, "20")}, func(*rawEnd) { pass(21 * time.Millisecond) }, CodeHandleTimeout},
		{"the connection ends", nil, func(end *rawEnd) { end.conn.Close(); synctest.Wait() }, 0},
	}
	for _, wait := range waits {
		for _, test := range ends {
			t.Run(wait.name+", "+test.name, func(t *testing.T) {
				inWorld(t, func(cfg *PeerConfig) { cfg.ReadMemory, cfg.SessionMemory = limit*3/2, limit }, func(t *testing.T, w *world) {
					s, end := w.serveRaw(w.server)
					s.AsyncCall("/unanswered", "x", new(string), make(chan CallCmd, 1)) // so that the reader does not pause
					end.receive()
					var all *inbox.Claim // beyond the limit, as no other one is meanwhile
					wait.start(w, end, func() { all = s.env.memory.Claim(inbox.ToBegin, 0, 2*limit) }, test.set...)
					before, began := s.work.running(), w.log.len()
					test.end(end)
					if n := s.work.running(); n >= before {
						t.Errorf("%d requests are under way, before its end there were %d", n, before)
					}
					if n := w.log.len(); n > began {
						t.Errorf("its handler has run")
					}
					if test.code != 0 {
						m := end.receive()
						if m.Seq() != seq {
							t.Errorf("received the reply to %d; want that to %d", m.Seq(), seq)
						}
						wantRerror(t, m.Rerror(), test.code)
					}
					all.Free()
					w.release()
				})
			})
		}
	}
}
