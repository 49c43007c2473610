//go:build !race

package tp_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/socket"
)

// numberCodec encodes an int without allocating.
type numberCodec struct{}

func (numberCodec) ID() byte                        { return 249 }
func (numberCodec) Name() string                    { return "testnumber" }
func (numberCodec) Pure() bool                      { return true }
func (c numberCodec) Marshal(v any) ([]byte, error) { return c.Append(nil, v) }
func (numberCodec) Size(any) int                    { return 20 }
func (numberCodec) Unmarshal(b []byte, v any) (e error) {
	n := 0
	for _, d := range b {
		n = n*10 + int(d-'0')
	}
	*v.(*int) = n
	return nil
}

func (numberCodec) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case *int:
		return strconv.AppendInt(dst, int64(*v), 10), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	}
	return dst, strconv.ErrSyntax
}

// leanProto has a frame of size, type, seq, codec, method and body: the least that the
// test needs, without allocations.
type leanProto struct{ r socket.PeekReader }

func newLean(rw socket.IOWithReadBuffer) tp.Proto { return &leanProto{rw.(socket.PeekReader)} }

func (*leanProto) Version() (byte, string) { return 248, "lean" }

func (*leanProto) Pack(tp.Message) error { panic("AppendFrame is used") }

func (*leanProto) AppendFrame(dst []byte, m tp.Message) ([]byte, error) {
	start := len(dst)
	seq := uint32(m.Seq())
	method := m.ServiceMethod()
	b := append(dst, 0, 0, m.Mtype(), byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq), m.BodyCodec(), byte(len(method)))
	b = append(b, method...)
	b, err := m.AppendBody(b)
	if err != nil {
		return dst, err
	}
	n := len(b) - start
	b[start], b[start+1] = byte(n>>8), byte(n)
	return b, m.SetSize(uint32(n))
}

func (p *leanProto) Unpack(m tp.Message) error {
	b, err := p.r.Peek(2)
	if err != nil {
		return err
	}
	n := int(b[0])<<8 | int(b[1])
	if b, err = p.r.Peek(n); err != nil {
		return err
	}
	defer p.r.Discard(n)
	if err := m.SetSize(uint32(n)); err != nil {
		return err
	}
	m.SetMtype(b[2])
	m.SetSeq(int32(uint32(b[3])<<24 | uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6])))
	m.SetBodyCodec(b[7])
	k := 9 + int(b[8])
	m.SetServiceMethodBytes(b[9:k])
	return m.UnmarshalBody(b[k:])
}

// The allocations of a call, counted over the whole process: both sides, their readers,
// flushers and handlers. The connection is a real one, over loopback; codec and
// protocol do not allocate, so what is left is the engine's, and what the user's
// data need: here the argument of the handler, new(int), which the handler owns.
func TestAllocations(t *testing.T) { allocations(t, nil) }

// A line of the access log that is not logged, because of the level or of the logger,
// allocates nothing.
func TestQuietLogCostsNothing(t *testing.T) {
	was := tp.GetLoggerLevel()
	defer func() { tp.SetLoggerLevel2(was) }()
	tp.SetLoggerLevel("ERROR")
	allocations(t, new(lineLog))
}

func allocations(t *testing.T, log *lineLog) {
	if inlining.Always {
		return // each handler then costs a goroutine that takes the reading over
	}
	// On a busy machine a handler may lose its place in the reader, for up to a minute;
	// that of another peer has its own.
	for try := 1; ; try++ {
		wrong := countAllocations(t, log)
		if wrong == "" {
			return
		}
		if try == 5 {
			t.Error(wrong)
			return
		}
	}
}

// countAllocations says what takes more allocations than wanted, of a pair of peers.
func countAllocations(t *testing.T, log *lineLog) (wrong string) {
	codec.Replace(numberCodec{})
	cfg := tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: newLean, DefaultBodyCodec: "testnumber", Logger: newQuiet(log)}
	srv, cli := tp.NewPeer(cfg), tp.NewPeer(cfg)
	defer srv.Close()
	defer cli.Close()
	tp.HandleCall(srv, "/next", func(_ tp.CallCtx, n *int) (int, error) { return *n + 1, nil })
	tp.HandleCallInto(srv, "/into", func(_ tp.CallCtx, n, reply *int) error { *reply = *n + 1; return nil })
	handled := make(chan struct{}, 1)
	tp.HandlePush(srv, "/push", func(tp.PushCtx, *int) error { handled <- struct{}{}; return nil })
	if err := srv.Listen(); err != nil {
		t.Fatal(err)
	}
	sess, r := cli.Dial(srv.Addrs()[0].String())
	if r != nil {
		t.Fatal(r)
	}
	arg, result := 41000, 0
	for _, test := range []struct {
		name string
		do   func()
		want float64 // the user's own: the handler's argument; Call: and the CallCmd
	}{
		{"Invoke and HandleCall", func() {
			n, err := tp.Invoke[int](t.Context(), sess, "/next", &arg)
			if err != nil || n != 41001 {
				panic(err)
			}
		}, 1},
		{"InvokeInto and HandleCallInto", func() {
			if err := tp.InvokeInto(t.Context(), sess, "/into", &arg, &result); err != nil || result != 41001 {
				panic(err)
			}
		}, 0},
		{"Call and HandleCall", func() {
			if r := sess.Call("/next", &arg, &result).Rerror(); r != nil || result != 41001 {
				panic(r)
			}
		}, 2},
		{"Push and HandlePush", func() {
			if r := sess.Push("/push", &arg); r != nil {
				panic(r)
			}
			<-handled // else the number of running handlers grows, and so do the pools
		}, 1},
	} {
		if least := leastAllocations(test.want, test.do); least > test.want+aFew {
			wrong += fmt.Sprintf("%s: %.2f allocations in the process; want %v. ", test.name, least, test.want)
		}
	}
	return wrong
}

// Strings that alias the body allocate nothing, at neither end.
func TestAllocationsOfReused(t *testing.T) {
	if inlining.Always {
		return
	}
	codec.Replace(lendingCodec{})
	cfg := tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: newLean, DefaultBodyCodec: "testlending", Logger: newQuiet(nil)}
	srv, cli := tp.NewPeer(cfg), tp.NewPeer(cfg)
	defer srv.Close()
	defer cli.Close()
	tp.HandleCallInto(srv, "/into", func(_ tp.CallCtx, arg, reply *string) error { *reply = *arg; return nil })
	if err := srv.Listen(); err != nil {
		t.Fatal(err)
	}
	sess, r := cli.Dial(srv.Addrs()[0].String())
	if r != nil {
		t.Fatal(r)
	}
	arg, result := "a text of some length, so that it matters", tp.Reused[string]{}
	do := func() {
		if err := tp.InvokeInto(t.Context(), sess, "/into", &arg, &result); err != nil || result.Value != arg {
			t.Fatalf("got %q, %v", result.Value, err)
		}
	}
	if n := leastAllocations(0, do); n > aFew {
		t.Errorf("%v allocations in the process, want none", n)
	}
}

// aFew is how many allocations per call more than wanted are tolerated: pools grow.
const aFew = 0.1

// leastAllocations returns how many allocations the process makes while do runs once,
// the least of many runs. On a busy machine goroutines change processors, their pools
// grow, and handlers change goroutines, but not in all runs. So it repeats the run until
// the number is at most what is wanted, or far too much time has passed.
func leastAllocations(want float64, do func()) float64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
	const n = 200
	least := 1e9
	for end := time.Now().Add(4 * time.Second); least > want+aFew && time.Now().Before(end); {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			do()
		}
		runtime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs)/n)
	}
	return least
}
