package tp

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPreCloseAndPostClose(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		var opened Peer
		p := w.peer(nil, &PluginImpl{PluginName: "registry",
			OnPreClose: func(ctx context.Context, p Peer) error {
				at, _ := ctx.Deadline()
				_, r := p.Dial(w.addr)
				w.log.add("leaves within %v, %d sessions, dials: %v", time.Until(at), p.CountSession(), r.HasError())
				opened = p
				return errors.New("registry is down")
			},
			OnPostClose: func(_ context.Context, p Peer) error {
				w.log.add("gone, %d sessions, the same peer: %v", p.CountSession(), p == opened)
				return errors.New("lease not revoked")
			},
		})
		if _, r := p.Dial(w.addr); r.HasError() {
			t.Fatal(r)
		}
		err := p.Close()
		w.log.want(t, "leaves within 2.5s, 2 sessions, dials: false", "gone, 0 sessions, the same peer: true")
		for _, part := range []string{"[PreClosePlugin:registry] registry is down", "[PostClosePlugin:registry] lease not revoked"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("Close returns %v; want %q in it", err, part)
			}
		}
		if err := p.Close(); err != nil {
			t.Errorf("a second Close returns %v", err)
		}
		w.log.want(t)
	})
}

// Hooks that fail keep neither the peer open nor other hooks from running.
func TestCloseHooksThatFail(t *testing.T) {
	release := make(chan struct{})
	for name, c := range map[string]struct {
		fail func()
		text string
		took time.Duration
	}{
		"panics":             {func() { panic("no") }, "panicked: no", 0},
		"ends its goroutine": {runtime.Goexit, "has ended its goroutine", 0},
		"hangs":              {func() { <-release }, "has not returned in time", 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				release = make(chan struct{})
				fails := func(context.Context, Peer) error { c.fail(); return nil }
				runs := func(context.Context, Peer) error { w.log.add("runs"); return nil }
				p := w.peer(nil, &PluginImpl{PluginName: "bad", OnPreClose: fails, OnPostClose: fails},
					&PluginImpl{PluginName: "good", OnPreClose: runs, OnPostClose: runs})
				start := time.Now()
				err := p.Close()
				if err == nil || strings.Count(err.Error(), "Plugin:bad]") != 2 || strings.Count(err.Error(), c.text) != 2 {
					t.Errorf("Close returns %v; want %q of both hooks", err, c.text)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("Close took %v; want %v", took, c.took)
				}
				close(release)
				synctest.Wait()
				w.log.want(t, "runs", "runs")
			})
		})
	}
}

// A peer that could not be made has no closing.
func TestNoCloseHooksBeforeThePeerIsMade(t *testing.T) {
	_, err := Open(PeerConfig{}, &PluginImpl{PluginName: "p",
		OnPostNewPeer: func(EarlyPeer) error { return errors.New("no") },
		OnPreClose:    func(context.Context, Peer) error { t.Error("PreClose ran"); return nil },
		OnPostClose:   func(context.Context, Peer) error { t.Error("PostClose ran"); return nil },
	})
	if err == nil {
		t.Error("Open returned a peer")
	}
}

func TestPostRename(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendLeft(&PluginImpl{PluginName: "presence",
			OnPostAccept: func(s PreSession) *Rerror { s.SetID("guest"); return nil },
			OnPostReady:  func(s Session) { w.log.add("ready %s", s.ID()) },
			OnPostRename: func(s Session, old string) {
				found, _ := s.Peer().GetSession(s.ID())
				_, oldFound := s.Peer().GetSession(old)
				w.log.add("%s was %s; found %v, %v", s.ID(), old, found == s, oldFound)
			},
		})
		w.dial()
		synctest.Wait()
		w.log.want(t, "ready guest")
		s, _ := w.server.GetSession("guest")
		s.SetID("ann")
		w.log.want(t, "ann was guest; found true, false")
		s.SetID("ann") // no change
		s.SetID("")
		w.dial()
		synctest.Wait()
		w.log.want(t, "ready guest")
		second, _ := w.server.GetSession("guest")
		second.SetID("ann") // which ends the first one
		w.log.want(t, "ann was guest; found true, false")
		s.SetID("late") // has ended
		w.log.want(t)
	})
}
