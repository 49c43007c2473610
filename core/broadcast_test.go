package tp

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/xfer"
)

// countingCodec is a codec of texts that counts what it encodes.
type countingCodec struct{ testwire.TextCodec }

const countingID = 239

var encodings atomic.Int64

func (countingCodec) ID() byte     { return countingID }
func (countingCodec) Name() string { return "test counting" }
func (c countingCodec) Marshal(v any) ([]byte, error) {
	encodings.Add(1)
	return c.TextCodec.Marshal(v)
}
func (c countingCodec) Append(dst []byte, v any) ([]byte, error) {
	encodings.Add(1)
	return c.TextCodec.Append(dst, v)
}

// countingFilter counts what it packs.
type countingFilter struct{ packed *atomic.Int64 }

const countingFilterID = 239

var packings atomic.Int64

func (countingFilter) ID() byte     { return countingFilterID }
func (countingFilter) Name() string { return "test counting" }
func (f countingFilter) OnPack(b []byte) ([]byte, error) {
	f.packed.Add(1)
	return append([]byte{'#'}, b...), nil
}
func (countingFilter) OnUnpack(b []byte) ([]byte, error) { return slices.Clone(b[1:]), nil }

var registerCounting = sync.OnceFunc(func() {
	codec.Register(countingCodec{})
	xfer.Register(countingFilter{&packings})
})

// crowd makes sessions of the server, and their other ends.
func crowd(w *world, n int, opts ...memnet.Option) (sessions []*session, ends []*rawEnd) {
	for range n {
		s, end := w.serveRaw(w.server, opts...)
		sessions, ends = append(sessions, s), append(ends, end)
	}
	return sessions, ends
}

// A Broadcast encodes once, whatever it is given, and goes through the filters once.
func TestBroadcastEncodesOnce(t *testing.T) {
	registerCounting()
	prepare := func(t *testing.T, pipe ...byte) *Prepared {
		p, err := Prepare(countingID, "x", pipe...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, test := range []struct {
		name string
		arg  func(t *testing.T) any
		pipe []string
		set  []MessageSetting
		want int64 // packings
	}{
		{"a value", func(*testing.T) any { return "x" }, nil, []MessageSetting{WithBodyCodec(countingID)}, 0},
		{"a value through a filter", func(*testing.T) any { return "x" }, nil, []MessageSetting{WithBodyCodec(countingID), WithXferPipe(countingFilterID)}, 1},
		{"prepared", func(t *testing.T) any { return prepare(t) }, nil, nil, 0},
		{"prepared with a filter", func(t *testing.T) any { return prepare(t, countingFilterID) }, nil, nil, 1},
		{"prepared, and a filter", func(t *testing.T) any { return prepare(t) }, nil, []MessageSetting{WithXferPipe(countingFilterID)}, 1},
		{"prepared, and the peer's filter", func(t *testing.T) any { return prepare(t) }, []string{"test counting"}, nil, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(cfg *PeerConfig) { cfg.DefaultXferPipe, cfg.XferPipeMin = test.pipe, 1 }, func(t *testing.T, w *world) {
				const n = 20
				_, ends := crowd(w, n)
				encodings.Store(0)
				packings.Store(0)
				res := Broadcast(w.server.RangeSession, "/note", test.arg(t), test.set...)
				if res != (BroadcastResult{Taken: n}) {
					t.Errorf("Broadcast = %+v, want %d taken", res, n)
				}
				for _, end := range ends {
					if m := end.receive(); m.ServiceMethod() != "/note" || string(m.RawBody()) != "x" || m.BodyCodec() != countingID {
						t.Errorf("received %q %q with codec %d", m.ServiceMethod(), m.RawBody(), m.BodyCodec())
					}
				}
				if e, p := encodings.Load(), packings.Load(); e != 1 || p != test.want {
					t.Errorf("the body was encoded %d times and packed %d times; want 1, %d", e, p, test.want)
				}
			})
		})
	}
}

// One reader that stands still: the others get everything, in order, and nothing waits. What
// is not taken is counted, for each policy.
func TestBroadcastPassesByAReaderThatStandsStill(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.WriteBound, cfg.WriteTimeout = 100<<10, time.Hour }, func(t *testing.T, w *world) {
		const n, size = 50, 10 << 10
		sessions, ends := crowd(w, 4, memnet.Buffer(n*size*2))
		stuck, stuckEnds := crowd(w, 3, memnet.Buffer(1<<10))
		stuck[1].SetPushPolicy(PushDropNewest)
		stuck[2].SetPushPolicy(PushDropOldest)
		began := time.Now()
		var sum BroadcastResult
		for i := range n {
			res := Broadcast(w.server.RangeSession, "/tick", fmt.Sprintf("%d %*s", i, size, ""))
			synctest.Wait() // until the others have read
			if res.Taken+res.Dropped+res.Refused != 7 || (res.Refused == 0) != (res.Err == nil) {
				t.Errorf("Broadcast = %+v; want all 7 sessions in it", res)
			}
			sum.Taken, sum.Dropped, sum.Refused = sum.Taken+res.Taken, sum.Dropped+res.Dropped, sum.Refused+res.Refused
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("the broadcasts have waited for %v", took)
		}
		q := [3]Queue{stuck[0].Queue(), stuck[1].Queue(), stuck[2].Queue()}
		for _, q := range q {
			if q.Bytes > 100<<10+64<<10 {
				t.Errorf("%d bytes are queued; want the bound of 100 KiB and 64 KiB at most", q.Bytes)
			}
		}
		if uint64(sum.Refused) != q[0].Dropped || uint64(sum.Dropped) != q[1].Dropped || q[2].Dropped == 0 {
			t.Errorf("%d were refused, %d dropped; the queues say %+v", sum.Refused, sum.Dropped, q)
		}
		for i, end := range ends {
			if got := end.pushes(); len(got) != n || got[0] != "0" || got[n-1] != fmt.Sprint(n-1) {
				t.Errorf("session %d has got %v", i, got)
			}
			if q := sessions[i].Queue(); q.Dropped != 0 {
				t.Errorf("session %d has dropped %d", i, q.Dropped)
			}
		}
		if got := stuckEnds[2].pushes(); got[len(got)-1] != fmt.Sprint(n-1) {
			t.Errorf("with drop-oldest the last is %s, want the newest", got[len(got)-1])
		}
	})
}

// A setting may still choose to wait.
func TestBroadcastThatWaits(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.WriteBound, cfg.WriteTimeout = 100<<10, time.Hour }, func(t *testing.T, w *world) {
		const n = 30
		_, ends := crowd(w, 1, memnet.Buffer(1<<10))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range n {
				if res := Broadcast(w.server.RangeSession, "/tick", strings.Repeat("x", 10<<10), WithPushPolicy(PushWait)); res.Taken != 1 {
					t.Errorf("Broadcast = %+v", res)
				}
			}
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Error("nothing has waited")
		default:
		}
		if got := ends[0].pushes(); len(got) != n {
			t.Errorf("the peer has got %d of %d", len(got), n)
		}
		<-done
	})
}

// What cannot be encoded is an error before anything is sent; so are settings that are wrong.
func TestBroadcastErrors(t *testing.T) {
	registerCounting()
	inWorld(t, nil, func(t *testing.T, w *world) {
		if res := Broadcast(w.server.RangeSession, "/note", "x"); res != (BroadcastResult{}) {
			t.Errorf("without sessions: %+v", res)
		}
		_, ends := crowd(w, 2)
		p, err := Prepare(countingID, "x")
		if err != nil || p.BodyCodec() != countingID || string(p.Bytes()) != "x" {
			t.Fatalf("Prepare = %v %q, %v", p.BodyCodec(), p.Bytes(), err)
		}
		for _, test := range []struct {
			name  string
			res   BroadcastResult
			words []string
		}{
			{"a value that its codec refuses", Broadcast(w.server.RangeSession, "/note", make(chan int)), []string{"prepare a chan int"}},
			{"no such filter", Broadcast(w.server.RangeSession, "/note", "x", WithXferPipe(66)), []string{"66"}},
			{"another codec", Broadcast(w.server.RangeSession, "/note", p, WithBodyCodec(testwire.Text)), []string{"prepared with the codec test counting", "testtext"}},
		} {
			if test.res.Taken != 0 {
				t.Errorf("%s: %+v", test.name, test.res)
			}
			wantRerror(t, test.res.Err, CodeWriteFailed, test.words...)
		}
		for _, end := range ends {
			end.silent()
		}
	})
	if _, err := Prepare(countingID, "x", 66); err == nil || !containsAll(err.Error(), "prepare a string", "66") {
		t.Errorf("Prepare with an unknown filter: %v", err)
	}
	if p, err := Prepare(0, []byte("raw")); err != nil || string(p.Bytes()) != "raw" {
		t.Errorf("Prepare of bytes: %v", err)
	}
	if _, err := Prepare(66, "x"); err == nil || !containsAll(err.Error(), "66") {
		t.Errorf("Prepare with an unknown codec: %v", err)
	}
}

// A prepared body is the argument of CALLs and the reply of handlers as well.
func TestPreparedElsewhere(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.PrintDetail = true }, func(t *testing.T, w *world) {
		p, err := Prepare(testwire.Text, "prepared")
		if err != nil {
			t.Fatal(err)
		}
		HandleCall(w.server, "/prepared", func(CallCtx, *string) (*Prepared, error) { return p, nil })
		c, _ := w.pair()
		for range 3 {
			var got string
			wantRerror(t, c.Call("/echo", p, &got).Rerror(), 0)
			if got != "prepared" {
				t.Errorf("the echo is %q", got)
			}
			got = ""
			wantRerror(t, c.Call("/prepared", "x", &got).Rerror(), 0)
			if got != "prepared" {
				t.Errorf("the reply is %q", got)
			}
		}
	})
}
