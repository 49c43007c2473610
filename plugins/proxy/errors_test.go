package proxy_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/proxy"
)

func TestErrors(t *testing.T) {
	c := newChain(t, config{})
	tp.HandleCall(c.backend, "/fail", func(_ tp.CallCtx, code *int32) (string, error) {
		return "", tp.NewRerror(*code, "words", "line 1\nline “2”").Err()
	})
	tp.HandleCall(c.backend, "/bare", func(_ tp.CallCtx, code *int32) (string, error) {
		return "", tp.NewRerror(*code, "words", "").Err()
	})
	tp.HandleCall(c.backend, "/panic", func(tp.CallCtx, *int32) (string, error) { panic("ouch") })
	for _, test := range []struct {
		method string
		code   int32
		want   *tp.Rerror
	}{
		{"/fail", 4018, tp.NewRerror(4018, "words", "line 1\nline “2”")},
		{"/fail", -1, tp.NewRerror(-1, "words", "line 1\nline “2”")},
		{"/fail", 99, tp.NewRerror(99, "words", "line 1\nline “2”")},
		{"/fail", 100, tp.NewRerror(502, "Bad Gateway", "line 1\nline “2”")},
		{"/fail", 102, tp.NewRerror(502, "Bad Gateway", "line 1\nline “2”")},
		{"/fail", 199, tp.NewRerror(502, "Bad Gateway", "line 1\nline “2”")},
		{"/fail", 200, tp.NewRerror(200, "words", "line 1\nline “2”")},
		{"/bare", 102, tp.NewRerror(502, "Bad Gateway", "words")},
		{"/bare", 4018, tp.NewRerror(4018, "words", "")},
		{"/panic", 0, tp.NewRerror(500, "Internal Server Error", "ouch")},
		{"/nowhere", 0, c.via.Call("/nowhere", 0, nil).Rerror()},
	} {
		t.Run(fmt.Sprint(test.method, test.code), func(t *testing.T) {
			if got := c.client.Call(test.method, test.code, nil).Rerror(); got.String() != test.want.String() {
				t.Errorf("got the error %s; want %s", got, test.want)
			}
		})
	}
}

// silent is a forwarder that does not keep its contract.
type silent struct{ refusing }

func (silent) Call(string, any, any, ...tp.MessageSetting) tp.CallCmd { return nil }

// noMeta is a call whose reply has no metadata at all.
type noMeta struct{ tp.CallCmd }

func (noMeta) InputMeta() *tp.Meta { return nil }

type withoutMeta struct{ refusing }

func (f withoutMeta) Call(method string, arg, result any, _ ...tp.MessageSetting) tp.CallCmd {
	return noMeta{tp.NewFakeCallCmd(method, arg, result, tp.NewRerror(f.code, "refused", "by the test"))}
}

func TestForwarders(t *testing.T) {
	for _, test := range []struct {
		name string
		f    proxy.Forwarder
		code int32
	}{
		{"nobody", nil, tp.CodeNotFound},
		{"nil command", silent{}, tp.CodeBadGateway},
		{"dial failed", refusing{tp.CodeDialFailed}, tp.CodeBadGateway},
		{"write failed", refusing{tp.CodeWriteFailed}, tp.CodeBadGateway},
		{"too busy", refusing{tp.CodeBusy}, tp.CodeBusy},
		{"nil metadata", withoutMeta{refusing{tp.CodeConnClosed}}, tp.CodeBadGateway},
		{"no error", refusing{tp.CodeOK}, tp.CodeOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newChain(t, config{choose: func(*proxy.Label) proxy.Forwarder { return test.f }})
			if got := c.client.Call("/x", 1, nil).Rerror(); got.HasError() && got.Code != test.code || !got.HasError() && test.code != 0 {
				t.Errorf("got the error %s; want code %d", got, test.code)
			}
			if r := c.client.Push("/x", 1); r != nil {
				t.Errorf("Push: %s", r)
			}
		})
	}
}

// The death of a backend is a 502 for the clients, and for its session what it was.
func TestBackendDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tptest.LeakCheck(t)
		c := newChain(t, config{})
		entered := make(chan struct{}, 1)
		tp.HandleCall(c.backend, "/wait", func(ctx tp.CallCtx, _ *int) (int, error) {
			own := ctx.Context()
			entered <- struct{}{}
			<-own.Done()
			return 0, nil
		})
		pending := c.client.AsyncCall("/wait", 1, nil, make(chan tp.CallCmd, 1))
		<-entered
		c.net.Find(c.via.LocalAddr().String()).Cut()
		_, got := pending.Reply()
		if got == nil || got.Code != tp.CodeBadGateway || got.Message != "Bad Gateway" || got.Reason == "" {
			t.Errorf("the pending call: %s; want 502 with a reason", got)
		}
		for range 3 {
			got := c.client.Call("/wait", 1, nil).Rerror()
			own := c.via.Call("/wait", 1, nil).Rerror()
			if own == nil || own.Code != tp.CodeConnClosed || !tp.IsConnRerror(own) {
				t.Fatalf("a call on the dead session: %s; want 102", own)
			}
			if got == nil || got.Code != tp.CodeBadGateway || got.Reason != own.Reason {
				t.Errorf("a call behind the proxy: %s; want 502 with the reason %q", got, own.Reason)
			}
		}
		if !c.client.Health() {
			t.Error("the client's session has ended with the backend's")
		}
		if r := c.client.Push("/wait", 1); r != nil {
			t.Errorf("Push: %s", r)
		}
	})
}

func TestRedial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tptest.LeakCheck(t)
		c := newChain(t, config{out: tp.PeerConfig{RedialTimes: 5}})
		got := c.record()
		for i := range 3 {
			if i > 0 {
				c.net.Find(c.via.LocalAddr().String()).Cut()
				synctest.Wait()
			}
			var raw []byte
			if r := c.client.Call("/raw", []byte("again"), &raw).Rerror(); r != nil || string(raw) != "again" {
				t.Fatalf("after break %d: %q, %s", i, raw, r)
			}
			<-got
			if r := c.client.Push("/raw", []byte("pushed")); r != nil {
				t.Fatalf("after break %d: Push: %s", i, r)
			}
			if g := <-got; g.body != "pushed" {
				t.Fatalf("after break %d: pushed %q", i, g.body)
			}
		}
	})
}

// The backend gets the rest of the caller's time, and no more.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tptest.LeakCheck(t)
		var c *chain
		c = newChain(t, config{choose: func(*proxy.Label) proxy.Forwarder {
			<-time.After(3 * time.Second) // as if it had to dial
			return c.via
		}})
		type seen struct {
			left time.Duration
			meta string
		}
		began, over, answered := make(chan seen, 1), make(chan time.Time, 1), make(chan struct{})
		tp.HandleCall(c.backend, "/wait", func(ctx tp.CallCtx, wait *bool) (int, error) {
			own := ctx.Context()
			at, ok := own.Deadline()
			if !ok {
				at = time.Now()
			}
			began <- seen{time.Until(at), string(ctx.PeekMeta(tp.MetaTimeout))}
			if *wait {
				<-own.Done()
				over <- time.Now()
				<-answered // a reply of the same moment may be in time
			}
			return 0, nil
		})
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r := c.client.Call("/wait", true, nil, tp.WithContext(ctx)).Rerror()
		close(answered)
		if r == nil || r.Code != tp.CodeHandleTimeout || time.Since(start) != 10*time.Second {
			t.Errorf("the caller got %s after %v; want 408 after 10s", r, time.Since(start))
		}
		got := <-began
		if n, err := strconv.Atoi(got.meta); err != nil || n < 6_900 || n > 7_000 || got.left > 7*time.Second || got.left < 6900*time.Millisecond {
			t.Errorf("the backend got %q and has %v; want 7000 milliseconds", got.meta, got.left)
		}
		if took := (<-over).Sub(start); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("the backend's context has ended after %v; want 10s", took)
		}
		for _, hostile := range []string{"", "-1", "0", "99999999999", "soon"} {
			if r := c.client.Call("/wait", false, nil, tp.WithSetMeta(tp.MetaTimeout, hostile)).Rerror(); r != nil {
				t.Errorf("X-Timeout %q: %s", hostile, r)
				continue
			}
			if got := <-began; got.meta != "" || got.left != 0 {
				t.Errorf("X-Timeout %q: the backend got %q; want nothing", hostile, got.meta)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r := c.client.Call("/wait", true, nil, tp.WithContext(short)).Rerror(); r == nil || r.Code != tp.CodeHandleTimeout {
			t.Errorf("a call of 1s: %s; want 408", r)
		}
		<-time.After(5 * time.Second)
		synctest.Wait()
		if len(began) > 0 {
			t.Error("a call whose time was over has reached the backend")
		}
	})
}

// When the client goes, its calls behind the proxy end; pushes that have arrived
// go on.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tptest.LeakCheck(t)
		open := make(chan struct{})
		var c *chain
		c = newChain(t, config{choose: func(l *proxy.Label) proxy.Forwarder {
			if l.ServiceMethod == "/raw" {
				<-open
			}
			return c.via
		}})
		got := c.record()
		entered, ended := make(chan struct{}, 1), make(chan struct{}, 1)
		tp.HandleCall(c.backend, "/wait", func(ctx tp.CallCtx, _ *int) (int, error) {
			entered <- struct{}{}
			<-ctx.Context().Done()
			ended <- struct{}{}
			return 0, nil
		})
		c.client.AsyncCall("/wait", 1, nil, make(chan tp.CallCmd, 1))
		<-entered
		if r := c.client.Push("/raw", []byte("last words")); r != nil {
			t.Fatalf("Push: %s", r)
		}
		synctest.Wait()
		c.net.Find(c.client.LocalAddr().String()).Cut()
		synctest.Wait()
		close(open)
		if g := <-got; g.body != "last words" {
			t.Errorf("the backend got %q; want the push", g.body)
		}
		if n := c.proxy.CountSession(); n != 0 {
			t.Errorf("the proxy has %d clients; want none", n)
		}
		<-ended // the proxy has given the call up
	})
}
