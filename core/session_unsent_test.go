package tp

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// lateBreak is a connection whose writes fail once it is broken, and whose reads fail
// only when the gate is open.
type lateBreak struct {
	net.Conn
	broken atomic.Bool
	gate   chan struct{}
}

func (d *lateBreak) Write(p []byte) (int, error) {
	if d.broken.Load() {
		return 0, net.ErrClosed
	}
	return d.Conn.Write(p)
}

func (d *lateBreak) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	if err != nil {
		<-d.gate
	}
	return n, err
}

// breakLate makes the first connection of the client a lateBreak.
func (w *world) breakLate() *lateBreak {
	d := &lateBreak{gate: make(chan struct{})}
	w.client.PluginContainer().AppendRight(&connHook{"breakLate", &w.log, func(moment string, s PreSession) *Rerror {
		if moment == "dial" && d.Conn == nil {
			s.ModifySocket(func(conn net.Conn) (net.Conn, ProtoFunc) {
				d.Conn = conn
				return d, nil
			})
		}
		return nil
	}})
	return d
}

// A call that a broken link has not accepted waits for the redial, even if the
// reader has not noticed the break yet; one that was accepted fails.
func TestCallsThatABrokenLinkRefuses(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		d := w.breakLate()
		c := w.dial()
		d.broken.Store(true)
		accepted := call(c, "/echo", "accepted")
		wantWaiting(t, accepted)
		refused := call(c, "/echo", "refused")
		wantWaiting(t, refused)
		ctx, cancel := context.WithCancel(t.Context())
		given := call(c, "/echo", "given up", WithContext(ctx))
		wantWaiting(t, given)
		cancel()
		wantRerror(t, ended(t, given).v.Rerror(), CodeCanceled)
		async := c.AsyncCall("/echo", "async", new(string), nil)
		wantRerror(t, c.Push("/note", "push"), CodeConnClosed)

		close(d.gate)
		pass(time.Second)
		wantRerror(t, ended(t, accepted).v.Rerror(), CodeConnClosed)
		wantReply(t, ended(t, refused).v, "refused")
		wantReply(t, async, "async")
		wantReady(t, c)
	})
}

func TestCloseOfALinkThatRefuses(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		d := w.breakLate()
		c := w.dial()
		d.broken.Store(true)
		accepted := call(c, "/echo", "accepted")
		wantWaiting(t, accepted)
		refused := call(c, "/echo", "refused")
		wantWaiting(t, refused)
		closing := begin(c.Close)
		wantWaiting(t, closing)
		close(d.gate)
		pass(10 * time.Second)
		ended(t, closing)
		wantRerror(t, ended(t, accepted).v.Rerror(), CodeConnClosed)
		wantRerror(t, ended(t, refused).v.Rerror(), CodeConnClosed)
		wantState(t, c, closed)
	})
}
