package tp_test

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

func TestInvoke(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/int", func(_ tp.CallCtx, a *int) (int, error) { return *a + 1, nil })
		tp.HandleCall(p, "/pair", func(_ tp.CallCtx, a *Pair) (*Pair, error) { return &Pair{a.B, a.A}, nil })
		tp.HandleCall(p, "/bytes", func(_ tp.CallCtx, a *[]byte) ([]byte, error) { return *a, nil })
		tp.HandleCall(p, "/empty", func(tp.CallCtx, *[]byte) ([]byte, error) { return nil, nil })
		tp.HandleCall(p, "/fail", func(tp.CallCtx, *[]byte) (int, error) { return 1, tp.NewRerror(1001, "mine", "why").Err() })
		tp.HandleCall(p, "/slice", func(_ tp.CallCtx, a *int) ([]int, error) { return make([]int, *a), nil })
	}}
	e.dial(t)
	ctx := t.Context()

	if n, err := tp.Invoke[int](ctx, e.sess, "/int", 1); err != nil || n != 2 {
		t.Errorf("a value: %v, %v", n, err)
	}
	if p, err := tp.Invoke[Pair](ctx, e.sess, "/pair", Pair{"a", "b"}); err != nil || p != (Pair{"b", "a"}) {
		t.Errorf("a struct: %v, %v", p, err)
	}
	if p, err := tp.Invoke[*Pair](ctx, e.sess, "/pair", &Pair{"a", "b"}); err != nil || *p != (Pair{"b", "a"}) {
		t.Errorf("a pointer: %v, %v", p, err)
	}
	if v, err := tp.Invoke[any](ctx, e.sess, "/int", 1); err != nil || v != 2.0 {
		t.Errorf("an interface: %v, %v", v, err)
	}
	if b, err := tp.Invoke[[]byte](ctx, e.sess, "/bytes", []byte("any")); err != nil || string(b) != "any" {
		t.Errorf("bytes: %q, %v", b, err)
	}
	if p, err := tp.Invoke[*Pair](ctx, e.sess, "/empty", nil); err != nil || p == nil || *p != (Pair{}) {
		t.Errorf("a pointer with an empty body: %v, %v; want a new value", p, err)
	}
	if b, err := tp.Invoke[[]byte](ctx, e.sess, "/empty", nil); err != nil || len(b) != 0 {
		t.Errorf("bytes with an empty body: %q, %v", b, err)
	}

	n, err := tp.Invoke[int](ctx, e.sess, "/fail", nil)
	if n != 0 || tp.Code(err) != 1001 || tp.ToRerror(err).Reason != "why" || !errors.Is(err, tp.NewRerror(1001, "", "").Err()) {
		t.Errorf("an error: %v, %v", n, err)
	}
	if _, err := tp.Invoke[int](ctx, e.sess, "/no", nil); !errors.Is(err, tp.ErrNotFound) {
		t.Errorf("no route: %v", err)
	}
	if p, err := tp.Invoke[*Pair](ctx, e.sess, "/int", 1); !errors.Is(err, tp.ErrBadMessage) || p != nil {
		t.Errorf("a reply that does not decode: %v, %v", p, err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := tp.Invoke[int](canceled, e.sess, "/int", 1); !errors.Is(err, context.Canceled) || tp.Code(err) != tp.CodeCanceled {
		t.Errorf("a cancelled context: %v", err)
	}
	if n, err := tp.Invoke[int](ctx, e.sess, "/int", 1, tp.WithSetMeta("k", "v"), nil); err != nil || n != 2 {
		t.Errorf("with settings: %v, %v", n, err)
	}
}

// A call never sees what an earlier one left in a pool.
func TestInvokeResultsAreFresh(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/map", func(_ tp.CallCtx, k *string) (map[string]int, error) { return map[string]int{*k: 1}, nil })
		tp.HandleCall(p, "/pair", func(_ tp.CallCtx, a *map[string]string) (map[string]string, error) { return *a, nil })
		tp.HandleCall(p, "/slice", func(_ tp.CallCtx, n *int) ([]int, error) { return make([]int, *n), nil })
	}}
	e.dial(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var kept []map[string]int
			for i := range 25 {
				k := string(rune('a' + (g+i)%26))
				m, err := tp.Invoke[map[string]int](t.Context(), e.sess, "/map", k)
				if err != nil || !reflect.DeepEqual(m, map[string]int{k: 1}) {
					t.Errorf("got %v, %v; want %s alone", m, err, k)
				}
				kept = append(kept, m)
				p, err := tp.Invoke[Pair](t.Context(), e.sess, "/pair", map[string]string{[]string{"A", "B"}[i%2]: k})
				if err != nil || p.A+p.B != k {
					t.Errorf("got %v, %v; want one field", p, err)
				}
				s, err := tp.Invoke[[]int](t.Context(), e.sess, "/slice", i%5)
				if err != nil || len(s) != i%5 {
					t.Errorf("got %v, %v", s, err)
				}
				s = append(s, 77)
				_ = s
			}
			for i, m := range kept {
				if len(m) != 1 || m[string(rune('a'+(g+i)%26))] != 1 {
					t.Errorf("an earlier result is %v now", m)
				}
			}
		})
	}
	wg.Wait()
}

// wrapped is a CtxSession of another type than the engine's.
type wrapped struct {
	tp.CtxSession
	calls int
}

func (w *wrapped) Call(method string, arg, result any, set ...tp.MessageSetting) tp.CallCmd {
	w.calls++
	return w.CtxSession.Call(method, arg, result, set...)
}

func TestInvokeOfAnotherSession(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/int", func(_ tp.CallCtx, a *int) (int, error) { return *a + 1, nil })
		tp.HandleCall(p, "/pair", func(_ tp.CallCtx, a *Pair) (*Pair, error) { return a, nil })
	}}
	e.dial(t)
	w := &wrapped{CtxSession: e.sess}
	if n, err := tp.Invoke[int](t.Context(), w, "/int", 1); err != nil || n != 2 {
		t.Errorf("a value: %v, %v", n, err)
	}
	if p, err := tp.Invoke[*Pair](t.Context(), w, "/pair", Pair{"a", "b"}); err != nil || p.A != "a" {
		t.Errorf("a pointer: %v, %v", p, err)
	}
	if _, err := tp.Invoke[int](t.Context(), w, "/no", 1); !errors.Is(err, tp.ErrNotFound) || w.calls != 3 {
		t.Errorf("no route: %v after %d calls", err, w.calls)
	}
}

// someClient is a Caller that is no session.
type someClient struct{ sess tp.Session }

func (c *someClient) Call(method string, arg, result any, set ...tp.MessageSetting) tp.CallCmd {
	if c.sess == nil {
		return tp.NewFakeCallCmd(method, arg, result, tp.NewRerror(tp.CodeDialFailed, tp.CodeText(tp.CodeDialFailed), "no node"))
	}
	return c.sess.Call(method, arg, result, set...)
}

func TestInvokeOfACaller(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/int", func(_ tp.CallCtx, a *int) (int, error) { return *a + 1, nil })
	}}
	e.dial(t)
	var c tp.Caller = &someClient{e.sess}
	if n, err := tp.Invoke[int](t.Context(), c, "/int", 1); err != nil || n != 2 {
		t.Errorf("Invoke: %v, %v", n, err)
	}
	n := 7
	if err := tp.InvokeInto(t.Context(), c, "/int", 2, &n); err != nil || n != 3 {
		t.Errorf("InvokeInto: %v, %v", n, err)
	}
	if _, err := tp.Invoke[int](t.Context(), &someClient{}, "/int", 1); tp.Code(err) != tp.CodeDialFailed {
		t.Errorf("a client without a session: %v", err)
	}
}

// The typed handlers of a group have its plugins and its prefix.
func TestTypedHandlersOfAGroup(t *testing.T) {
	j := new(journal)
	e := &ends{routes: func(p tp.Peer) {
		g := p.SubRoute("g", note{"group", j})
		tp.HandleCall(g, "/c", func(ctx tp.CallCtx, _ *[]byte) (string, error) { return ctx.ServiceMethod(), nil }, note{"own", j})
		tp.HandlePush(g, "/p", func(ctx tp.PushCtx, a *string) error { pushed <- *a; return errors.New("refused") })
	}}
	e.dial(t)
	if s, err := tp.Invoke[string](t.Context(), e.sess, "/g/c", nil); err != nil || s != "/g/c" {
		t.Errorf("got %q, %v", s, err)
	}
	wantLines(t, "plugins", j.take(), "group", "own")
	e.sess.Push("/g/p", "hi")
	if got := receive(t, "the push", pushed); got != "hi" {
		t.Errorf("the push came as %q", got)
	}
	e.srvLines.want(t, "WARN PUSH", "refused")
}
