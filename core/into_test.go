package tp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// pooledArg counts how often one was emptied by its own method.
type pooledArg struct{ Words []string }

var emptied atomic.Int32

func (p *pooledArg) ResetVT() {
	emptied.Add(1)
	p.Words = p.Words[:0]
}

// promoted has ResetVT from a field: that would leave Own behind.
type promoted struct {
	pooledArg
	Own string
}

// What a call leaves in its argument and its reply does not show in another.
func TestHandleCallInto(t *testing.T) {
	before := emptied.Load()
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCallInto(p, "/swap", func(_ tp.CallCtx, arg, reply *Pair) error {
			if *reply != (Pair{}) {
				return fmt.Errorf("the reply began as %+v", *reply)
			}
			*reply = Pair{arg.B, arg.A}
			return nil
		})
		tp.HandleCallInto(p, "/words", func(_ tp.CallCtx, arg *pooledArg, reply *string) error {
			*reply = fmt.Sprint(len(arg.Words), strings.Join(arg.Words, ","))
			return nil
		})
		tp.HandleCallInto(p, "/promoted", func(_ tp.CallCtx, arg *promoted, reply *string) error {
			*reply = arg.Own
			return nil
		})
		tp.HandleCallInto(p, "/fail", func(_ tp.CallCtx, arg, reply *string) error {
			*reply = "left behind"
			if *arg == "" {
				return nil
			}
			return tp.NewRerror(1001, "mine", *arg).Err()
		})
		tp.HandleCallInto(p, "/panic", func(_ tp.CallCtx, _ *string, reply *string) error {
			*reply = "left behind"
			panic("aside")
		})
	}}
	e.dial(t)
	ctx := t.Context()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				arg, want := map[string]string{"A": fmt.Sprint(g, i)}, Pair{B: fmt.Sprint(g, i)}
				if i%2 == 0 {
					arg, want = map[string]string{"B": "x"}, Pair{A: "x"}
				}
				if got, err := tp.Invoke[Pair](ctx, e.sess, "/swap", arg); err != nil || got != want {
					t.Errorf("swap: got %+v, %v; want %+v", got, err, want)
				}
				if got, err := tp.Invoke[string](ctx, e.sess, "/promoted", map[string]string{"Own": "o"}); err != nil || got != "o" {
					t.Errorf("promoted: got %q, %v", got, err)
				}
				if got, err := tp.Invoke[string](ctx, e.sess, "/promoted", map[string]string{}); err != nil || got != "" {
					t.Errorf("promoted: got %q, %v; want nothing of an earlier call", got, err)
				}
				if got, err := tp.Invoke[string](ctx, e.sess, "/words", map[string][]string{"Words": {"a"}}); err != nil || got != "1a" {
					t.Errorf("words: got %q, %v", got, err)
				}
				if got, err := tp.Invoke[string](ctx, e.sess, "/words", map[string][]string{}); err != nil || got != "0" {
					t.Errorf("words: got %q, %v; want nothing of an earlier call", got, err)
				}
				if _, err := tp.Invoke[string](ctx, e.sess, "/fail", "why"); tp.Code(err) != 1001 {
					t.Errorf("an error: %v", err)
				}
				if _, err := tp.Invoke[string](ctx, e.sess, "/panic", ""); tp.Code(err) != tp.CodeInternalServerError {
					t.Errorf("a panic: %v", err)
				}
				if got, err := tp.Invoke[string](ctx, e.sess, "/fail", ""); err != nil || got != "left behind" {
					t.Errorf("after an error: got %q, %v", got, err)
				}
				if _, err := tp.Invoke[string](ctx, e.sess, "/swap", "no object"); !errors.Is(err, tp.ErrBadMessage) {
					t.Errorf("an argument that does not decode: %v", err)
				}
			}
		})
	}
	wg.Wait()
	e.sess.Close()
	e.srv.Close()
	if got := emptied.Load() - before; got != 4*50*2 {
		t.Errorf("ResetVT ran %d times, want once for each of 400 calls", got)
	}
}

func TestHandleCallIntoNil(t *testing.T) {
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), `"/x"`) {
			t.Errorf("panic %v, want one that names the route", v)
		}
	}()
	p := tp.NewPeer(tp.PeerConfig{})
	defer p.Close()
	tp.HandleCallInto[int, int](p, "/x", nil)
}

func TestInvokeInto(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/pair", func(_ tp.CallCtx, a *Pair) (Pair, error) { return *a, nil })
		tp.HandleCall(p, "/nothing", func(tp.CallCtx, *Pair) ([]byte, error) { return nil, nil })
		tp.HandleCallInto(p, "/bytes", func(_ tp.CallCtx, arg, reply *[]byte) error { *reply = *arg; return nil })
	}}
	e.dial(t)
	ctx := t.Context()
	w := &wrapped{CtxSession: e.sess}
	for _, s := range []tp.CtxSession{e.sess, w} {
		var got Pair
		for i := range 3 {
			want := Pair{A: fmt.Sprint(i), B: "b"}
			if err := tp.InvokeInto(ctx, s, "/pair", want, &got); err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		}
		if err := tp.InvokeInto(ctx, s, "/nothing", nil, &got); err != nil || got != (Pair{}) {
			t.Errorf("an empty body: got %+v, %v; want nothing of an earlier reply", got, err)
		}
		if s == e.sess {
			room := make([]byte, 0, 100)
			bytes := room
			for _, want := range []string{"many bytes", "few", ""} {
				if err := tp.InvokeInto(ctx, s, "/bytes", []byte(want), &bytes); err != nil || string(bytes) != want || &bytes[:1][0] != &room[:1][0] {
					t.Errorf("bytes: got %q, %v; want %q, in the same place", bytes, err, want)
				}
			}
		}
		if err := tp.InvokeInto(ctx, s, "/pair", Pair{}, nil); err != nil {
			t.Errorf("without a result: %v", err)
		}
		if err := tp.InvokeInto(ctx, s, "/no", Pair{}, &got); !errors.Is(err, tp.ErrNotFound) {
			t.Errorf("no route: %v", err)
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if err := tp.InvokeInto(canceled, s, "/pair", Pair{}, &got); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled context: %v", err)
		}
	}
	if w.calls != 7 {
		t.Errorf("another kind of session got %d calls, want 7", w.calls)
	}
}
