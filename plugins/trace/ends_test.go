package trace_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	tp "github.com/teleport-go/teleport/core"
)

// Every span that has begun ends, however its message does.
func TestEverySpanEnds(t *testing.T) {
	for _, test := range []struct {
		name     string
		srv, cli tp.PeerConfig
		do       func(t *testing.T, r *rig)
		out      []string
	}{
		{name: "the context is canceled", do: func(t *testing.T, r *rig) {
			ctx, stop := context.WithCancel(t.Context())
			cmd := r.sess.AsyncCall("/block", 1, nil, nil, tp.WithContext(ctx))
			synctest.Wait()
			stop()
			<-cmd.Done()
		}, out: []string{`client /block Error "context canceled" rpc.method=/block error.type=499`}},
		{name: "the deadline is over", do: func(t *testing.T, r *rig) {
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			tp.Invoke[int](ctx, r.sess, "/block", 1)
		}, out: []string{`client /block Error "context deadline exceeded" rpc.method=/block error.type=408`}},
		{name: "the handler's age is over", srv: tp.PeerConfig{DefaultContextAge: time.Second}, do: func(t *testing.T, r *rig) {
			r.sess.Call("/block", 1, nil)
		}, out: []string{`client /block Error "the handler's context age is over" rpc.method=/block error.type=408`}},
		{name: "the connection breaks", do: func(t *testing.T, r *rig) {
			var calls []tp.CallCmd
			for range 3 {
				calls = append(calls, r.sess.AsyncCall("/block", 1, nil, nil))
			}
			synctest.Wait()
			r.net.Find(r.sess.LocalAddr().String()).Cut()
			for _, c := range calls {
				<-c.Done()
			}
		}, out: slices.Repeat([]string{`client /block Error 102`}, 3)},
		{name: "the session is closed", do: func(t *testing.T, r *rig) {
			cmd := r.sess.AsyncCall("/block", 1, nil, nil)
			synctest.Wait()
			over, stop := context.WithCancel(t.Context())
			stop()
			r.sess.Drain(over)
			<-cmd.Done()
			r.sess.Call("/ok", 1, nil)
			r.sess.Push("/note", 1)
		}, out: []string{`client /block Error 102`, `client /ok Error 102`, `producer /note Error 102`}},
		{name: "the peer is closed", do: func(t *testing.T, r *rig) {
			go r.sess.Call("/block", 1, nil)
			synctest.Wait()
			r.from.Close()
		}, out: []string{`client /block Error 102`}},
		{name: "a redial in vain", cli: tp.PeerConfig{RedialTimes: 3, RedialWait: time.Minute}, do: func(t *testing.T, r *rig) {
			cmd := r.sess.AsyncCall("/block", 1, nil, nil)
			synctest.Wait()
			r.net.Partition(true)
			r.net.Find(r.sess.LocalAddr().String()).Cut()
			<-cmd.Done()
			r.sess.Call("/ok", 1, nil)
			r.sess.Push("/note", 1)
		}, out: []string{`client /block Error 102`, `client /ok Error 102`, `producer /note Error 102`}},
		{name: "a push finds no room", cli: tp.PeerConfig{WriteBound: 64 << 10}, do: func(t *testing.T, r *rig) {
			r.net.Find(r.sess.LocalAddr().String()).Freeze()
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			for range 100 {
				if r.sess.Push("/note", make([]int, 2000), tp.WithContext(ctx)) != nil {
					break
				}
			}
			r.cli.exporter.Reset()
			r.sess.Push("/note", make([]int, 2000), tp.WithContext(ctx))
			r.net.Find(r.sess.LocalAddr().String()).Cut()
		}, out: nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, rigConfig{srvPeer: test.srv, cliPeer: test.cli})
				test.do(t, r)
				if got := brief(r.cli.take(t), test.out); !slices.Equal(got, test.out) {
					t.Errorf("the spans here are %q; want %q", got, test.out)
				}
				close(r.block)
				for _, s := range r.srv.take(t) {
					if s.EndTime.IsZero() {
						t.Errorf("the span %q there has not ended", s.Name)
					}
				}
			})
		})
	}
}

// brief shows a span by kind, name and code alone where that is what is wanted.
func brief(list []tracetest.SpanStub, want []string) []string {
	got := lines(list)
	for i, s := range list {
		short := fmt.Sprintf("%s %s Error %s", s.SpanKind, s.Name, attrs(s)["error.type"])
		if slices.Contains(want, short) {
			got[i] = short
		}
	}
	slices.Sort(got)
	return got
}

func TestRedial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{cliPeer: tp.PeerConfig{RedialTimes: 5}})
		for range 3 {
			r.net.Partition(true)
			r.net.Find(r.sess.LocalAddr().String()).Cut()
			synctest.Wait() // the break is known
			cmd := r.sess.AsyncCall("/ok", 1, nil, nil)
			r.net.Partition(false)
			if _, rerr := cmd.Reply(); rerr != nil {
				t.Fatalf("a call that waited for the redial: %s", rerr)
			}
			r.sess.Push("/note", 1)
			out, in := r.cli.take(t), r.srv.take(t)
			if len(out) != 2 || len(in) != 2 {
				t.Fatalf("%d spans here, %d there; want 2 each", len(out), len(in))
			}
			under(t, find(t, in, oteltrace.SpanKindServer, "/ok"), find(t, out, oteltrace.SpanKindClient, "/ok"))
			under(t, find(t, in, oteltrace.SpanKindConsumer, "/note"), find(t, out, oteltrace.SpanKindProducer, "/note"))
		}
	})
}
