package tp

import (
	"strconv"
	"sync"
	"testing"
	"time"
)

// A session redials at the time that the farewell of its peer names, and its calls wait.
func TestFarewellSaysWhenToComeBack(t *testing.T) {
	for _, test := range []struct {
		name, after string
		want        time.Duration
	}{
		{"a time", "3000", 3 * time.Second},
		{"too long", "99999999999999", longestAfter},
		{"none", "", 0},
		{"nonsense", "-5x", 0},
		{"the past", "-5", 0},
	} {
		for _, reply := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				inWorld(t, redials(-1), func(t *testing.T, w *world) {
					addr, accept := rawServer(t, w)
					c, r := w.client.Dial(addr)
					if r != nil {
						t.Fatal(r)
					}
					end := accept()
					begun := time.Now()
					if reply {
						end.send(TypeReply, 0, "", "", WithAddMeta(MetaBye, "0"), WithAddMeta(metaByeAfter, test.after))
						end.conn.Close()
					} else {
						end.bye("n", "0", "after", test.after)
					}
					done := call(c, "/x", "y")
					next := accept()
					took := time.Since(begun)
					if test.want > 0 && took != test.want || test.want == 0 && took > 2*time.Second {
						t.Errorf("it has redialled after %v; want %v", took, test.want)
					}
					m := next.receive()
					next.send(TypeReply, m.Seq(), "", "done")
					wantReply(t, ended(t, done).v, "done")
				})
			})
		}
	}
}

// A peer that is replaced spreads the redials of the sessions that stay over a window.
func TestFarewellsSpreadRedials(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		const sessions = 40
		ends := make([]*rawEnd, sessions)
		for i := range ends {
			_, ends[i] = w.serveRaw(w.server)
		}
		w.server.spreadRedials()
		closed := make(chan error)
		go func() { closed <- w.server.Close() }()
		seen := make(map[int]bool)
		for _, e := range ends {
			m := e.receive()
			ms, err := strconv.Atoi(string(m.Meta().Peek("after")))
			if m.ServiceMethod() != "bye" || err != nil || ms < 1 || ms > int(leastSpread/time.Millisecond) {
				t.Errorf("the farewell is %s with after %d, %v; want a time within %v", m, ms, err, leastSpread)
			}
			seen[ms] = true
			e.conn.Close()
		}
		<-closed
		if len(seen) < 5 {
			t.Errorf("all are to come back at the same times: %v", seen)
		}
	})
}

// While a Reboot waits for the connections that are being prepared, others may come: those
// that ServeConn gets are not paused.
func TestAwaitPreparedWhileOthersCome(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p.ServeConn(deadConn())
			}
		})
	}
	for range 300 {
		p.awaitPrepared(t.Context())
	}
	close(stop)
	wg.Wait()
}
