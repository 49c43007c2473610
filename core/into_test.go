package tp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// pooledArg counts how often one was emptied by its own method.
type pooledArg struct{ Words []string }

var emptied atomic.Int32

func (p *pooledArg) ResetVT() {
	emptied.Add(1)
	p.Words = p.Words[:0]
}

// promoted has ResetVT from an embedded field: that does not empty Own.
type promoted struct {
	pooledArg
	Own string
}

// Another call does not see what a call leaves in its argument and its reply.
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

// lendingCodec is a codec of strings. The decoded string may alias the body.
type lendingCodec struct{ testwire.TextCodec }

var _ codec.Decoder = lendingCodec{}

func (lendingCodec) ID() byte     { return 247 }
func (lendingCodec) Name() string { return "testlending" }

func (lendingCodec) Borrows(any) bool { return true }

func (c lendingCodec) Decode(b []byte, v any, mode codec.Mode) error {
	if mode&codec.Borrowed == 0 {
		return c.Unmarshal(b, v)
	}
	*v.(*string) = unsafe.String(unsafe.SliceData(b), len(b))
	return nil
}

// newLending returns two ends that use lendingCodec. Their server keeps the last
// argument of "/into" without a copy.
func newLending(t *testing.T) (e *ends, kept *string) {
	codec.Replace(lendingCodec{})
	kept = new(string)
	e = &ends{both: func(c *tp.PeerConfig) { c.DefaultBodyCodec = "testlending" }, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/echo", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
		tp.HandleCallInto(p, "/into", func(_ tp.CallCtx, arg, reply *string) error {
			*kept = *arg
			*reply = *arg // a part of it
			return nil
		})
		tp.HandleCallInto(p, "/lend", func(_ tp.CallCtx, arg, reply *string) error { *reply = *arg; return nil })
		tp.HandleCall(p, "/kept", func(_ tp.CallCtx, arg *string) (string, error) { *kept = *arg; return "", nil })
	}}
	return e.dial(t), kept
}

func TestReused(t *testing.T) {
	e, _ := newLending(t)
	ctx := t.Context()
	w := &wrapped{CtxSession: e.sess}
	for _, method := range []string{"/echo", "/into"} {
		for _, s := range []tp.CtxSession{e.sess, w} {
			var r tp.Reused[string]
			for _, want := range []string{"first", "second", "", "third", strings.Repeat("large ", 50_000), "small", strings.Repeat("x", 60<<10), ""} {
				if err := tp.InvokeInto(ctx, s, method, want, &r); err != nil || r.Value != want {
					t.Errorf("%s: got %d bytes, %v; want %d: %.10q", method, len(r.Value), err, len(want), want)
				}
			}
			if err := tp.InvokeInto(ctx, s, "/no", "", &r); !errors.Is(err, tp.ErrNotFound) {
				t.Errorf("no route: %v", err)
			}
			canceled, cancel := context.WithCancel(ctx)
			cancel()
			if err := tp.InvokeInto(canceled, s, method, "x", &r); !errors.Is(err, context.Canceled) {
				t.Errorf("a cancelled context: %v", err)
			}
		}
	}
	if w.calls != 2*10 {
		t.Errorf("another kind of session got %d calls, want 20", w.calls)
	}
}

// A result is valid until the next call, and all results lie in the same memory; large
// ones do not.
func TestReusedMemory(t *testing.T) {
	e, _ := newLending(t)
	ctx := t.Context()
	var r tp.Reused[string]
	invoke := func(want string) string {
		t.Helper()
		if err := tp.InvokeInto(ctx, e.sess, "/echo", want, &r); err != nil || r.Value != want {
			t.Fatalf("got %.10q, %v; want %.10q", r.Value, err, want)
		}
		return r.Value
	}
	first := invoke("first")
	at := unsafe.StringData(first)
	large := invoke(strings.Repeat("l", 100<<10))
	if first != "first" {
		t.Errorf("a large result was put over a small one: %q", first)
	}
	if again := invoke("again"); unsafe.StringData(again) != at || first != "again" {
		t.Error("the memory is not used again")
	}
	if strings.Trim(large, "l") != "" {
		t.Error("a large result was written over")
	}
}

// Results of many callers at once do not mix.
func TestReusedConcurrently(t *testing.T) {
	e, _ := newLending(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			var r tp.Reused[string]
			for i := range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				if i%3 == 0 {
					go cancel() // at any moment
				}
				want := strings.Repeat(fmt.Sprint(g, " ", i, " "), 1+i*20)
				err := tp.InvokeInto(ctx, e.sess, "/lend", want, &r)
				cancel()
				if err == nil && r.Value != want || err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("got %.20q, %v; want %.20q", r.Value, err, want)
				}
				r.Value = "" // no call writes to it any more
			}
		})
	}
	wg.Wait()
}

// In poison mode a handler that keeps a pooled argument finds it scribbled over; other arguments belong to the handler.
func TestHandleCallIntoMemory(t *testing.T) {
	defer poison.Switch()()
	e, kept := newLending(t)
	for _, test := range []struct {
		method, want string
	}{
		{"/into", strings.Repeat("\xdb", 5)},
		{"/kept", "lent?"},
	} {
		if err := tp.InvokeInto(t.Context(), e.sess, test.method, "lent?", nil); err != nil {
			t.Fatal(err)
		}
		serving := e.serverSession(t)
		e.sess.Close()
		<-serving.CloseNotify()
		e.srv.Close() // the handler has ended
		if *kept != test.want {
			t.Errorf("%s kept %q, want %q", test.method, *kept, test.want)
		}
		if test.method == "/into" {
			e, kept = newLending(t)
		}
	}
}

// modalCodec encodes strings unchanged, and prefixes decoded ones with the decode mode.
type modalCodec struct{ lendingCodec }

func (modalCodec) ID() byte     { return 248 }
func (modalCodec) Name() string { return "testmodal" }

func (c modalCodec) Unmarshal(b []byte, v any) error { return c.Decode(b, v, 0) }

func (modalCodec) Decode(b []byte, v any, mode codec.Mode) error {
	*v.(*string) = []string{"used ", "fresh ", "lent ", "fresh lent "}[mode] + string(b)
	return nil
}

// The engine passes codecs the right mode: values that the engine makes are empty,
// those of callers need not be.
func TestDecodeModes(t *testing.T) {
	codec.Replace(modalCodec{})
	e := &ends{both: func(c *tp.PeerConfig) { c.DefaultBodyCodec = "testmodal" }, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/value", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
		tp.HandleCallInto(p, "/into", func(_ tp.CallCtx, arg, reply *string) error { *reply = *arg; return nil })
	}}
	s := e.dial(t).sess
	ctx := t.Context()
	for _, test := range []struct {
		name   string
		method string
		call   func(method string) (string, error)
		want   string
	}{
		{"Invoke", "/value", func(m string) (string, error) { return tp.Invoke[string](ctx, s, m, "x") }, "fresh fresh x"},
		{"Invoke of a pointer", "/value", func(m string) (string, error) {
			p, err := tp.Invoke[*string](ctx, s, m, "x")
			if err != nil {
				return "", err
			}
			return *p, nil
		}, "fresh fresh x"},
		{"InvokeInto", "/value", func(m string) (r string, err error) {
			err = tp.InvokeInto(ctx, s, m, "x", &r)
			return r, err
		}, "used fresh x"},
		{"Reused", "/value", func(m string) (string, error) {
			var r tp.Reused[string]
			err := tp.InvokeInto(ctx, s, m, "x", &r)
			return r.Value, err
		}, "lent fresh x"},
		{"Call", "/value", func(m string) (r string, err error) {
			err = s.Call(m, "x", &r).Rerror().Err()
			return r, err
		}, "used fresh x"},
		{"HandleCallInto", "/into", func(m string) (string, error) { return tp.Invoke[string](ctx, s, m, "x") }, "fresh fresh lent x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 3 { // so that values from the pool are used
				if got, err := test.call(test.method); err != nil || got != test.want {
					t.Errorf("got %q, %v; want %q", got, err, test.want)
				}
			}
		})
	}
}
