package tp_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/poison"
)

// The memory of large bodies is used again, but never while user code may still read it.

// bodyKeeper keeps bodies for ever, in a hook that sees them before they are decoded.
type bodyKeeper struct {
	mu   sync.Mutex
	kept [][2][]byte // the body, and a copy of it
}

func (*bodyKeeper) Name() string { return "body keeper" }

func (k *bodyKeeper) keep(c tp.ReadCtx) *tp.Rerror {
	b := c.Input().KeepBody()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, [2][]byte{b, bytes.Clone(b)})
	return nil
}

func (k *bodyKeeper) PreReadCallBody(c tp.ReadCtx) *tp.Rerror  { return k.keep(c) }
func (k *bodyKeeper) PreReadReplyBody(c tp.ReadCtx) *tp.Rerror { return k.keep(c) }

func (k *bodyKeeper) want(t *testing.T, n int) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.kept) != n {
		t.Errorf("%d bodies were kept, want %d", len(k.kept), n)
	}
	for i, x := range k.kept {
		if !bytes.Equal(x[0], x[1]) {
			t.Errorf("body %d of %d bytes was kept and has changed", i, len(x[1]))
		}
	}
}

var largeSizes = []int{600, 60 << 10, 64<<10 - 20, 64<<10 + 1, 150_000}

func TestLargeBodies(t *testing.T) {
	const rounds = 2
	for _, test := range []struct {
		name          string
		hooks, poison bool
	}{{"as it is", false, false}, {"poisoned", false, true}, {"a hook keeps bodies", true, false}, {"a hook keeps bodies, poisoned", true, true}} {
		t.Run(test.name, func(t *testing.T) {
			hooks := test.hooks
			if test.poison {
				defer poison.Switch()()
			}
			var mu sync.Mutex
			var owned [][2][]byte // arguments that are the handler's for ever, and copies
			e := &ends{routes: func(p tp.Peer) {
				tp.HandleCall(p, "/owned", func(_ tp.CallCtx, arg *[]byte) ([]byte, error) {
					mu.Lock()
					defer mu.Unlock()
					owned = append(owned, [2][]byte{*arg, bytes.Clone(*arg)})
					return *arg, nil
				})
				tp.HandleCallInto(p, "/into", func(_ tp.CallCtx, arg, reply *[]byte) error { *reply = *arg; return nil })
				tp.HandleCall(p, "/text", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
			}}
			srv, cli := new(bodyKeeper), new(bodyKeeper)
			if hooks {
				e.srvPlugin, e.cliPlugin = []tp.Plugin{srv}, []tp.Plugin{cli}
			}
			e.dial(t)
			var results [][2][]byte // replies that are the caller's for ever, and copies
			var wg sync.WaitGroup
			calls := 0
			for g := range 2 {
				for _, size := range largeSizes {
					calls += rounds * 4
					wg.Go(func() {
						var over []byte
						for i := range rounds {
							want := bytes.Repeat([]byte{byte('a' + g), byte('0' + i)}, size/2)
							check := func(how string, got []byte, err error) {
								if err != nil || !bytes.Equal(got, want) {
									t.Errorf("%s of %d bytes: %v, %.10q… of %d bytes", how, size, err, got, len(got))
								}
							}
							got, err := tp.Invoke[[]byte](t.Context(), e.sess, "/owned", want)
							check("Invoke", got, err)
							mu.Lock()
							results = append(results, [2][]byte{got, bytes.Clone(got)})
							mu.Unlock()
							err = tp.InvokeInto(t.Context(), e.sess, "/into", want, &over)
							check("InvokeInto", over, err)
							text, err := tp.Invoke[string](t.Context(), e.sess, "/text", string(want))
							check("text", []byte(text), err)
							var called []byte
							err = e.sess.Call("/into", want, &called).Rerror().Err()
							check("Call", called, err)
						}
					})
				}
			}
			wg.Wait()
			for what, list := range map[string][][2][]byte{"an argument": owned, "a reply": results} {
				for _, x := range list {
					if !bytes.Equal(x[0], x[1]) {
						t.Errorf("%s of %d bytes has changed", what, len(x[1]))
					}
				}
			}
			if hooks {
				srv.want(t, calls)
				cli.want(t, calls)
			}
		})
	}
}

// scribbler keeps bodies, and writes to them.
type scribbler struct{ body []byte }

func (*scribbler) Name() string { return "scribbler" }

func (s *scribbler) PreReadCallBody(c tp.ReadCtx) *tp.Rerror {
	s.body = c.Input().KeepBody()
	return nil
}

func (s *scribbler) PostReadCallBody(tp.ReadCtx) *tp.Rerror {
	clear(s.body)
	return nil
}

// A body that a hook keeps belongs to the hook: the handler's argument has other memory.
func TestKeptBodyIsNotLent(t *testing.T) {
	codec.Replace(lendingCodec{})
	for _, n := range []int{100, 100_000} {
		want := strings.Repeat("x", n)
		var got, gotBytes string
		e := &ends{both: func(c *tp.PeerConfig) { c.DefaultBodyCodec = "testlending" }, routes: func(p tp.Peer) {
			tp.HandleCallInto(p, "/text", func(_ tp.CallCtx, arg, _ *string) error { got = strings.Clone(*arg); return nil }, new(scribbler))
			tp.HandleCallInto(p, "/bytes", func(_ tp.CallCtx, arg, _ *[]byte) error { gotBytes = string(*arg); return nil }, new(scribbler))
		}}
		e.dial(t)
		for _, method := range []string{"/text", "/bytes"} {
			if err := tp.InvokeInto(t.Context(), e.sess, method, want, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got != want || gotBytes != want {
			t.Errorf("%d bytes: the arguments are %.10q… and %.10q…", n, got, gotBytes)
		}
	}
}

// Memory of the caller's is used, but the pool never gets it.
func TestLargeReplyIntoMemoryOfTheCaller(t *testing.T) {
	defer poison.Switch()()
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/text", func(_ tp.CallCtx, n *int) ([]byte, error) { return bytes.Repeat([]byte("x"), *n), nil })
	}}
	e.dial(t)
	mine := make([]byte, 2<<20)
	result := mine[: 0 : 1<<20]
	for _, n := range []int{70_000, 1 << 20, 64 << 10, 100} {
		if err := tp.InvokeInto(t.Context(), e.sess, "/text", n, &result); err != nil || string(result) != strings.Repeat("x", n) {
			t.Fatalf("%d bytes: %v, %d bytes", n, err, len(result))
		}
		if &result[0] != &mine[0] {
			t.Errorf("%d bytes lie elsewhere", n)
		}
	}
	if err := tp.InvokeInto(t.Context(), e.sess, "/text", 1<<20+1, &result); err != nil || len(result) != 1<<20+1 {
		t.Fatal(err, len(result))
	}
	for range 10 { // take what the pool has
		if err := tp.InvokeInto(t.Context(), e.sess, "/text", 1<<20, new([]byte)); err != nil {
			t.Fatal(err)
		}
	}
	if want := strings.Repeat("x", 100); string(mine[:100]) != want || mine[1<<20] != 0 {
		t.Error("memory of the caller's was used for others")
	}
}

// The reason why a body cannot be decoded has room in a reply, whatever the codec quotes of
// the body. The cause on the side that has decoded it is whole.
func TestReasonOfALargeBody(t *testing.T) {
	number := bytes.Repeat([]byte("7"), 200<<10)
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/int", func(_ tp.CallCtx, n *int) (int, error) { return *n, nil })
		tp.HandleCall(p, "/number", func(_ tp.CallCtx, _ *int) ([]byte, error) { return number, nil })
	}}
	e.dial(t)
	r := e.call(t, "/int", number, new(int))
	wantRerror(t, "a call", r, tp.CodeBadMessage, "777")
	if len(r.Reason) > 5000 {
		t.Errorf("a call: the reason has %d bytes", len(r.Reason))
	}
	r = e.call(t, "/number", 1, new(int))
	wantRerror(t, "a reply", r, tp.CodeBadMessage, "777")
	if whole := errors.Unwrap(r.Err()); len(r.Reason) > 5000 || whole == nil || len(whole.Error()) < len(number) {
		t.Errorf("a reply: the reason has %d bytes, the cause is %.100v", len(r.Reason), whole)
	}
}
