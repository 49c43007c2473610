package tp

import (
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/inbox"
)

// raw makes a connection to the server that is no peer's, and returns its session.
func (w *world) raw(t *testing.T) (net.Conn, *session) {
	t.Helper()
	conn, err := w.net.Dial(t.Context(), w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	synctest.Wait()
	all := w.server.env.hub.all()
	if len(all) != 1 {
		t.Fatalf("%d sessions, want 1", len(all))
	}
	return conn, all[0]
}

// A message that has begun to arrive must go on, at a rate that keeps its connection
// from being held for ever.
func TestFrameTimeout(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit time.Duration // FrameTimeout
		size  int           // of the body
		piece int           // of the frame, a second
		ends  time.Duration // about when the session ends; 0: it does not
	}{
		{"a byte, then nothing", 0, 100, 0, 30 * time.Second},
		{"a byte a second", 0, 200, 1, 30 * time.Second},
		{"ten bytes a second, done in time", 0, 200, 10, 0},
		{"steady, for minutes", 0, 200 << 10, 2 << 10, 0},
		{"a smaller limit", 2 * time.Second, 100, 1, 2 * time.Second},
		{"no limit", -1, 100, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(c *PeerConfig) { c.FrameTimeout = test.limit }, func(t *testing.T, w *world) {
				conn, s := w.raw(t)
				frame := frames(t, "/echo", strings.Repeat("x", test.size), 1, 1)
				begin := time.Now()
				conn.Write(frame[:1])
				frame = frame[1:]
				for s.getState() == ready && time.Since(begin) < 5*time.Minute && len(frame) > 0 {
					pass(time.Second)
					n := min(test.piece, len(frame))
					conn.Write(frame[:n])
					frame = frame[n:]
				}
				synctest.Wait()
				if test.ends == 0 {
					wantReady(t, s)
					if len(frame) > 0 {
						t.Errorf("%d bytes were not sent", len(frame))
					}
					return
				}
				if took := time.Since(begin); took < test.ends || took > test.ends+2*time.Second {
					t.Errorf("the session ended after %v, want about %v", took, test.ends)
				}
				if r := s.CloseReason(); r == nil || r.Side != SideLocal || !errors.Is(r, inbox.ErrFrameTimeout) {
					t.Errorf("the reason is %v, want %v", r, inbox.ErrFrameTimeout)
				}
			})
		})
	}
}

// Time between two messages is not time of a message.
func TestFrameTimeoutIsOfOneFrame(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		conn, s := w.raw(t)
		f := frames(t, "/echo", "halves", 1, 1)
		for range 4 {
			conn.Write(f[:5])
			pass(20 * time.Second)
			conn.Write(f[5:])
			pass(20 * time.Second)
			conn.Write(f)
			pass(time.Hour)
		}
		wantReady(t, s)
	})
}

// A session from which nothing comes is closed after IdleTimeout, unless it has
// something to do.
func TestIdleTimeout(t *testing.T) {
	const limit = time.Minute
	for _, test := range []struct {
		name    string
		plugins []Plugin
		do      func(t *testing.T, c *session) // for an hour
		ends    bool
	}{
		{"silent", nil, func(*testing.T, *session) { pass(limit + limit/2) }, true},
		{"silent, with a hook before each message", []Plugin{&headHook{PluginImpl{PluginName: "head"}, func(PreCtx) {}}},
			func(*testing.T, *session) { pass(limit + limit/2) }, true},
		{"messages now and then", nil, func(t *testing.T, c *session) {
			for range 60 {
				pass(limit * 9 / 10)
				wantReply(t, ended(t, call(c, "/echo", "x")).v, "x")
			}
		}, false},
		{"messages now and then, with a hook before each", []Plugin{&headHook{PluginImpl{PluginName: "head"}, func(PreCtx) {}}}, func(t *testing.T, c *session) {
			for range 60 {
				pass(limit * 9 / 10)
				wantReply(t, ended(t, call(c, "/echo", "x")).v, "x")
			}
		}, false},
		{"a handler that takes its time", nil, func(t *testing.T, c *session) {
			call(c, "/block", "x")
			pass(time.Hour)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server = w.peer(func(c *PeerConfig) { c.IdleTimeout = limit }, test.plugins...)
				w.client = w.peer(nil)
				w.addr = w.listen(w.server)
				c, s := w.pair()
				test.do(t, c)
				if !test.ends {
					wantReady(t, s)
					w.release()
					return
				}
				synctest.Wait()
				if r := s.CloseReason(); r == nil || !errors.Is(r, errIdle) {
					t.Errorf("the reason is %v, want %v", r, errIdle)
				}
			})
		})
	}
}
