package tp

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
)

// Peer.Close bounds every session, and says what held it.

func TestPeerCloseBoundsASessionThatDrains(t *testing.T) {
	for _, test := range []struct {
		name  string
		drain func(t *testing.T, s *session)
	}{
		{"not at all", func(*testing.T, *session) {}},
		{"Drain without end", func(t *testing.T, s *session) { begin(func() error { return s.Drain(context.Background()) }) }},
		{"Drain for an hour", func(t *testing.T, s *session) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			t.Cleanup(cancel)
			begin(func() error { return s.Drain(ctx) })
		}},
		{"its id taken", func(t *testing.T, s *session) { s.evict(s) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(cfg *PeerConfig) { cfg.CloseTimeout = 3 * time.Second }, func(t *testing.T, w *world) {
				c, s := w.pair()
				stuck, twice := call(c, "/stuck", "x"), call(c, "/stuck", "y")
				c.Push("/stucknote", "z")
				test.drain(t, s)
				begun := time.Now()
				err := w.server.Close()
				if took := time.Since(begun); took < 3*time.Second || took > 3*time.Second+lingerTime {
					t.Errorf("Close took %v; want CloseTimeout and a moment", took)
				}
				if err == nil || !containsAll(err.Error(), s.idText(), "handlers that had not returned: /stuck (2 times), /stucknote") {
					t.Errorf("Close = %v; want it to name session and handlers", err)
				}
				wantState(t, s, closed)
				for _, ch := range []<-chan outcome[CallCmd]{stuck, twice} {
					wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed)
				}
				if err := errors.Join(w.server.Close(), s.Close(), s.Drain(t.Context())); err != nil {
					t.Errorf("again: %v; want nil, since all has ended", err)
				}
				w.release()
			})
		})
	}
}

// A handler that the reader runs is named as well once the reading is stolen from it.
func TestDrainNamesAnInlineHandler(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, s := w.pair()
		allow(w.server, "/stuck", "/echo")
		call(c, "/stuck", "x")
		pass(time.Second)
		wantReply(t, c.Call("/echo", "x", new(string)), "x") // is over, and not named
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.Drain(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), "had not returned: /stuck") {
			t.Errorf("Drain = %v; want the context's error and the handler", err)
		}
		w.release()
	})
}

func TestPeerCloseNamesTheHook(t *testing.T) {
	for _, test := range []struct {
		name   string
		plugin func(hang func()) *PluginImpl
		use    func(w *world)
		want   string
	}{
		{"PostAccept", func(hang func()) *PluginImpl {
			return &PluginImpl{OnPostAccept: func(PreSession) *Rerror { hang(); return nil }}
		}, func(w *world) { w.dial() }, "PostAccept of plugin hangs has not returned"},
		{"PostDisconnect", func(hang func()) *PluginImpl {
			return &PluginImpl{OnPostDisconnect: func(BaseSession) *Rerror { hang(); return nil }}
		}, func(w *world) { w.dial() }, "PostDisconnect of plugin hangs has not returned"},
		{"PreDial", func(hang func()) *PluginImpl {
			return &PluginImpl{OnPreDial: func(net.Addr, string) *Rerror { hang(); return nil }}
		}, func(w *world) { begin(func() *Rerror { _, r := w.server.Dial("nowhere"); return r }) },
			"session with nowhere: PreDial of plugin hangs has not returned"},
		{"PostReadCallHeader", func(hang func()) *PluginImpl {
			return &PluginImpl{OnPostReadCallHeader: func(ReadCtx) *Rerror { hang(); return nil }}
		}, func(w *world) { call(w.dial(), "/echo", "x") }, "a hook, a codec or a Read that its reader runs has not returned"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				hooks := test.plugin(func() { <-w.gate })
				hooks.PluginName = "hangs"
				w.open(nil, hooks)
				test.use(w)
				synctest.Wait()
				begun := time.Now()
				err := w.server.Close()
				if took := time.Since(begun); took > 5*time.Second+3*lingerTime {
					t.Errorf("Close took %v; want CloseTimeout and its grace", took)
				}
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Close = %v; want %q in it", err, test.want)
				}
				if err := w.server.Close(); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Close again = %v; want it to say that this has not returned still", err)
				}
				w.release()
				pass(time.Minute)
				if err := w.server.Close(); err != nil {
					t.Errorf("Close when all has ended = %v; want nil", err)
				}
			})
		})
	}
}

// stubborn is a connection whose Close does nothing.
type stubborn struct{ *memnet.Conn }

func (stubborn) Close() error { return nil }

func TestPeerCloseNamesTheConnection(t *testing.T) {
	for _, test := range []struct {
		name string
		use  func(t *testing.T, s Session, far *memnet.Conn)
		want string
	}{
		{"Read", func(*testing.T, Session, *memnet.Conn) {}, "session with 10.0.0.1:5: a Read of its closed connection has not returned"},
		{"Read in a message", func(t *testing.T, _ Session, far *memnet.Conn) {
			if _, err := far.Write([]byte{0, 0}); err != nil {
				t.Error(err)
			}
		}, "session with 10.0.0.1:5: a hook, a codec or a Read that its reader runs has not returned"},
		{"Write", func(t *testing.T, s Session, far *memnet.Conn) {
			begin(func() *Rerror { return s.Push("/note", strings.Repeat("x", 200_000)) })
			synctest.Wait()
			if err := far.CloseWrite(); err != nil {
				t.Error(err)
			}
		}, "session with 10.0.0.1:5: a Write of its closed connection has not returned"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.open(nil)
				near, far := memnet.Pipe()
				s := w.server.ServeConn(addressed{stubborn{near}, "10.0.0.1:5"})
				if s == nil {
					t.Fatal("ServeConn made no session")
				}
				synctest.Wait()
				test.use(t, s, far)
				synctest.Wait()
				if err := w.server.Close(); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Close = %v; want %q in it", err, test.want)
				}
				far.Cut()
				pass(time.Minute)
				if err := w.server.Close(); err != nil {
					t.Errorf("Close when all has ended = %v; want nil", err)
				}
			})
		})
	}
}
