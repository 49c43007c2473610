package tp_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

func TestCallCmd(t *testing.T) {
	hold := make(chan struct{})
	e := &ends{both: func(c *tp.PeerConfig) { c.CountTime = true }, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/hold", func(ctx tp.CallCtx, a *string) (string, error) {
			<-hold
			ctx.SetMeta("k", "v")
			return *a, nil
		})
	}}
	e.dial(t)
	type key struct{}
	var result string
	ch := make(chan tp.CallCmd, 1)
	cmd := e.sess.AsyncCall("/hold", "hi", &result, ch, tp.WithContext(context.WithValue(t.Context(), key{}, "v")))
	if cmd.Rerror() != nil {
		t.Errorf("Rerror before the end is %v; want nil", cmd.Rerror())
	}
	select {
	case <-cmd.Done():
		t.Error("Done before the reply")
	default:
	}
	if p, ok := cmd.TracePeer(); !ok || p != e.cli {
		t.Error("TracePeer does not give the peer")
	}
	if s, ok := cmd.TraceSession(); !ok || s != e.sess {
		t.Error("TraceSession does not give the session")
	}
	if cmd.Context().Value(key{}) != "v" {
		t.Error("Context is not the caller's")
	}
	if m := cmd.Output(); m.ServiceMethod() != "/hold" || m.Mtype() != tp.TypeCall || m.Seq() != 1 || m.Body() != "hi" {
		t.Errorf("Output is %v", m)
	}
	var wg sync.WaitGroup
	for range 4 { // the methods that wait, from many goroutines
		wg.Go(func() {
			if v, r := cmd.Reply(); r != nil || *v.(*string) != "hi" {
				t.Errorf("Reply gives %v, %v", v, r)
			}
		})
		wg.Go(func() {
			if id := cmd.InputBodyCodec(); id != 250 {
				t.Errorf("InputBodyCodec is %d", id)
			}
		})
		wg.Go(func() {
			if m := cmd.InputMeta(); m == nil || m.String() != "k=v" {
				t.Errorf("InputMeta is %v", m)
			}
		})
		wg.Go(func() {
			if d := cmd.CostTime(); d <= 0 || d > time.Minute {
				t.Errorf("CostTime is %v", d)
			}
		})
	}
	close(hold)
	wg.Wait()
	if got := receive(t, "the finished call", ch); got != cmd || result != "hi" {
		t.Errorf("the channel gives %v; the result is %q", got, result)
	}
	<-cmd.Done()
}

func TestCallCmdsOfFailedCalls(t *testing.T) {
	e := new(ends).dial(t)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for _, test := range []struct {
		name string
		cmd  tp.CallCmd
		code int32
		is   error
	}{
		{"404", e.cmd(t, "/no", nil, nil), 404, tp.ErrNotFound},
		{"argument that cannot be encoded", e.sess.Call("/x", stubborn{}, nil), 104, tp.ErrWriteFailed},
		{"cancelled before", e.sess.Call("/x", nil, nil, tp.WithContext(canceled)), tp.CodeCanceled, context.Canceled},
		{"expired before", e.sess.Call("/x", nil, nil, tp.WithContext(expired)), tp.CodeHandleTimeout, context.DeadlineExceeded},
		{"expired before, asynchronous", e.sess.AsyncCall("/x", nil, nil, nil, tp.WithContext(expired)), tp.CodeHandleTimeout, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			receive(t, "Done", test.cmd.Done())
			wantRerror(t, "Rerror", test.cmd.Rerror(), test.code)
			if err := test.cmd.Rerror().Err(); !errors.Is(err, test.is) {
				t.Errorf("the error %v is not %v", err, test.is)
			}
			if test.cmd.InputMeta() == nil || test.cmd.InputMeta().Len() != 0 || test.cmd.CostTime() != 0 || test.cmd.InputBodyCodec() != 0 {
				t.Errorf("InputMeta %v, CostTime %v; want empty and 0", test.cmd.InputMeta(), test.cmd.CostTime())
			}
		})
	}
	e.sess.Close()
	cmd := e.sess.Call("/x", nil, nil)
	wantRerror(t, "a call of a closed session", cmd.Rerror(), tp.CodeConnClosed)
	if cmd.InputMeta() == nil {
		t.Error("InputMeta is nil")
	}
}

func TestFakeCallCmd(t *testing.T) {
	result := 7
	for _, r := range []*tp.Rerror{nil, tp.NewRerror(1000, "no", "")} {
		cmd := tp.NewFakeCallCmd("/x", "arg", &result, r)
		<-cmd.Done()
		_, hasPeer := cmd.TracePeer()
		_, hasSession := cmd.TraceSession()
		v, got := cmd.Reply()
		if hasPeer || hasSession || v != &result || got != r || cmd.Rerror() != r || cmd.InputMeta() == nil || cmd.InputBodyCodec() != 0 || cmd.CostTime() != 0 ||
			cmd.Context() == nil || cmd.Output().ServiceMethod() != "/x" || cmd.Output().Body() != "arg" {
			t.Errorf("the fake of %v is %v %v %v %v", r, hasPeer, hasSession, v, got)
		}
	}
}

func TestAsyncCallChannels(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) { tp.HandleCall(p, "/echo", echo) }}
	e.dial(t)
	wantPanic(t, "an unbuffered channel", func() { e.sess.AsyncCall("/echo", nil, nil, make(chan tp.CallCmd)) },
		"*session.AsyncCall(): callCmdChan channel is unbuffered")
	if _, r := e.sess.AsyncCall("/echo", nil, nil, nil).Reply(); r != nil {
		t.Errorf("without a channel: %v", r)
	}
	// A full channel does not block the engine.
	ch := make(chan tp.CallCmd, 1)
	const n = 50
	for range n {
		e.sess.AsyncCall("/echo", nil, nil, ch)
	}
	if r := e.call(t, "/echo", nil, nil); r != nil {
		t.Errorf("beside a full channel a call gives %v", r)
	}
	seen := map[tp.CallCmd]bool{}
	for range n {
		cmd := receive(t, "a finished call", ch)
		if seen[cmd] || cmd.Rerror() != nil {
			t.Errorf("twice, or failed: %v", cmd.Rerror())
		}
		seen[cmd] = true
	}
}

// The argument belongs to the caller again when AsyncCall and Push return.
func TestArgumentIsReadBeforeTheCallReturns(t *testing.T) {
	got := make(chan string, 100)
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/c", func(_ tp.CallCtx, a *[]byte) (string, error) { return string(*a), nil })
		tp.HandlePush(p, "/p", func(_ tp.PushCtx, a *[]byte) error { got <- string(*a); return nil })
	}}
	e.dial(t)
	for _, n := range []int{5, 100_000} {
		arg := make([]byte, n)
		var cmds []tp.CallCmd
		results := make([]string, 5)
		for i := range 5 {
			for k := range arg {
				arg[k] = byte('a' + i)
			}
			cmds = append(cmds, e.sess.AsyncCall("/c", arg, &results[i], nil))
			e.sess.Push("/p", arg)
		}
		for i, cmd := range cmds {
			if _, r := cmd.Reply(); r != nil || len(results[i]) != n || results[i][0] != byte('a'+i) || results[i][n-1] != byte('a'+i) {
				t.Errorf("call %d of %d bytes: the other side saw a changed argument, %v", i, n, r)
			}
		}
		letters := map[byte]int{}
		for range 5 {
			s := receive(t, "a push", got)
			letters[s[0]]++
			letters[s[n-1]]++
		}
		if len(letters) != 5 {
			t.Errorf("pushes of %d bytes saw changed arguments: %v", n, letters)
		}
	}
}

func TestLoggersOfSessionAndCall(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/c", func(ctx tp.CallCtx, _ *[]byte) (string, error) { ctx.Noticef("in the %s", "handler"); return "", nil })
	}}
	e.dial(t)
	cmd := e.cmd(t, "/c", nil, nil)
	cmd.Warnf("after the %s", "call")
	e.sess.Errorf("of the %s", "session")
	e.srvLines.want(t, "in the handler")
	e.cliLines.want(t, "WARN after the call")
	e.cliLines.want(t, "ERROR of the session")
}

// Calls that start while their session ends are resolved by other goroutines than
// those that launch them. The test is for the race detector.
func TestAsyncCallsBesideTheEnd(t *testing.T) {
	for range 20 {
		e := &ends{both: func(c *tp.PeerConfig) {
			c.CountTime, c.PrintDetail, c.DefaultCallTimeout = true, true, time.Millisecond
		},
			cliPlugin: []tp.Plugin{swapper{}}, routes: func(p tp.Peer) { tp.HandleCall(p, "/echo", echo) }}
		e.dial(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range 30 {
					var got string
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
					cmd := e.sess.AsyncCall("/echo", "x", &got, nil, tp.WithContext(ctx), tp.WithSetMeta("m", "x"))
					e.sess.AsyncCall("/echo", "x", nil, nil)
					e.sess.Push("/echo", "x")
					<-cmd.Done()
					cancel()
				}
			})
		}
		wg.Go(func() { e.serverSession(t).Close() })
		wg.Wait()
	}
}
