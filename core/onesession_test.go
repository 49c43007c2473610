package tp

import (
	"sync"
	"testing"
	"testing/synctest"
)

// A session is one value, whichever function it comes from, so that it can be a key of a
// map: in handlers, in hooks, from the peer, after a redial, and at its end.
func TestASessionIsOneValue(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		seen := map[string]map[Session][]string{"server": {}, "client": {}}
		var mu sync.Mutex
		see := func(side, where string, s BaseSession) {
			mu.Lock()
			defer mu.Unlock()
			seen[side][s.(Session)] = append(seen[side][s.(Session)], where)
		}
		hooks := func(side string) *PluginImpl {
			return &PluginImpl{
				PluginName:       "sees",
				OnPostReady:      func(s Session) { see(side, "PostReady", s) },
				OnPreWriteCall:   func(c WriteCtx) *Rerror { see(side, "PreWriteCall", c.Session().(Session)); return nil },
				OnPostDisconnect: func(s BaseSession) *Rerror { see(side, "PostDisconnect", s); return nil },
			}
		}
		srv, cli := w.peer(nil, hooks("server")), w.peer(redials(-1), hooks("client"))
		HandleCall(srv, "/see", func(c CallCtx, _ *string) (string, error) {
			see("server", "handler", c.Session().(Session))
			found, _ := c.Peer().GetSession(c.Session().ID())
			if found != c.Session() {
				t.Error("GetSession finds another value than ctx.Session()")
			}
			return "", nil
		})
		s, r := cli.Dial(w.listen(srv))
		if r != nil {
			t.Fatal(r)
		}
		see("client", "Dial", s)
		synctest.Wait()
		wantRerror(t, s.Call("/see", "", nil).Rerror(), 0)
		mem(s.(*session)).Cut()
		synctest.Wait()
		wantRerror(t, s.Call("/see", "", nil).Rerror(), 0)
		s.Close()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got := len(seen["client"]); got != 1 || len(seen["client"][s]) != 6 {
			t.Errorf("the dialling side has seen %v; want one session, six times", seen["client"])
		}
		if got := len(seen["server"]); got != 2 { // it accepts a redial as another session
			t.Errorf("the accepting side has seen %v; want two sessions", seen["server"])
		}
	})
}
