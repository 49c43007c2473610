package tp

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// Frames whose filters run elsewhere: those of several run at once, and nothing else changes.

// far is the setting of a message with a remote filter, behind which others may be.
func far(more ...byte) MessageSetting { return WithXferPipe(append([]byte{testwire.Far}, more...)...) }

// row returns the frames of messages, one behind the other.
func row(t testing.TB, messages ...*socket.Envelope) (b []byte) {
	t.Helper()
	p := testwire.New(new(bytes.Buffer)).(socket.FrameAppender)
	for _, m := range messages {
		var err error
		if b, err = p.AppendFrame(b, m); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func message(mtype byte, seq int32, method, body string, set ...MessageSetting) *socket.Envelope {
	m := new(socket.Envelope)
	m.Reset(append([]MessageSetting{socket.WithSeq(seq), socket.WithMtype(mtype), WithServiceMethod(method),
		WithBodyCodec(testwire.Text), socket.WithBody([]byte(body))}, set...)...)
	return m
}

// onTheWay lets remote filters do what the body of a message says behind a slash: sleep for
// so many milliseconds, fail, panic or exit. It counts how many run at once.
type onTheWay struct{ now, most, all atomic.Int32 }

func (o *onTheWay) do(b []byte) error {
	n := o.now.Add(1)
	o.all.Add(1)
	defer o.now.Add(-1)
	for most := o.most.Load(); n > most && !o.most.CompareAndSwap(most, n); most = o.most.Load() {
	}
	_, what, ok := bytes.Cut(b, []byte("§"))
	if !ok {
		return nil
	}
	switch string(what) {
	case "fail":
		return errors.New("told to fail")
	case "panic":
		panic("told to panic")
	case "exit":
		runtime.Goexit()
	}
	if ms, err := strconv.Atoi(string(what)); err == nil {
		time.Sleep(time.Duration(ms) * time.Millisecond)
	}
	return nil
}

// inAhead is inWorld with a session of the server's that has read a remote frame already.
func inAhead(t *testing.T, change func(*PeerConfig), f func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay)) {
	t.Helper()
	inWorld(t, change, func(t *testing.T, w *world) {
		o := new(onTheWay)
		t.Cleanup(testwire.Away(o.do))
		s, end := w.serveRaw(w.server)
		end.send(TypePush, 1, "/note", "first", far())
		w.log.want(t, "note first")
		o.all.Store(0)
		f(t, w, s, end, o)
		synctest.Wait()
	})
}

func TestRemoteFiltersRunAtOnce(t *testing.T) {
	inAhead(t, nil, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
		end.sock.ReadAhead(1 << 20)
		var all []*socket.Envelope
		for i := range 100 {
			all = append(all, message(TypeCall, int32(i+1), "/echo", fmt.Sprintf("%d§100", i), far()))
		}
		began := time.Now()
		end.conn.Write(row(t, all...))
		for range all {
			m := end.receive()
			if want := fmt.Sprintf("%d§100", m.Seq()-1); string(m.RawBody()) != want {
				t.Errorf("reply %d is %q; want %q", m.Seq(), m.RawBody(), want)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("100 calls took %v, and the filter of each 100ms; most at once %d", took, o.most.Load())
		}
		if n := o.most.Load(); n > 2*64 {
			t.Errorf("%d filters ran at once; want at most 64 at each end", n)
		}
		if n := s.link.sock.Ahead(); n != 0 {
			t.Errorf("%d frames are queued; want none", n)
		}
	})
}

// Whatever takes how long, and has which filters, messages are handled in their order.
func TestRemoteFiltersKeepOrder(t *testing.T) {
	inAhead(t, nil, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
		var all []*socket.Envelope
		var want []string
		for i := range 200 {
			body := fmt.Sprintf("%d§%d", i, (i*37)%50)
			var set MessageSetting
			switch i % 5 {
			case 0, 1, 2:
				set = far()
			case 3:
				set = WithXferPipe(testwire.XOR, testwire.Sum)
			}
			all = append(all, message(TypePush, 0, "/ordered", body, set))
			want = append(want, "ordered "+body)
		}
		end.conn.Write(row(t, all...))
		pass(time.Minute)
		w.log.want(t, want...)
		if o.most.Load() < 8 {
			t.Errorf("%d filters ran at once; want more", o.most.Load())
		}
	})
}

// A frame of which only a part has arrived does not hold up those before it.
func TestRemoteFiltersAndHalfAFrame(t *testing.T) {
	for _, size := range []int{10, 200_000} {
		inAhead(t, nil, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
			last := "last" + string(make([]byte, size))
			b := row(t, message(TypePush, 0, "/note", "a§20", far()), message(TypePush, 0, "/note", "b§10", far()), message(TypePush, 0, "/note", last, far()))
			cut := len(b) - size/2
			end.conn.Write(b[:cut])
			pass(time.Second)
			w.log.wantAnyOrder(t, "note a§20", "note b§10")
			if n := s.link.sock.Ahead(); n != 0 {
				t.Errorf("%d frames are queued; want none", n)
			}
			end.conn.Write(b[cut:])
			pass(time.Second)
			w.log.want(t, "note "+last)
		})
	}
}

// What a filter does wrong is the fault of its message, as without the queue.
func TestRemoteFiltersFail(t *testing.T) {
	for _, test := range []struct {
		what    string
		pending bool
		reason  string // why the session ends; "": it does not
	}{
		{"fail", false, ""},
		{"fail", true, "a message that may be the reply to a pending call cannot be read: testwire: "},
		{"panic", false, "protocol panicked while reading: told to panic"},
		{"exit", false, "runtime.Goexit"},
	} {
		t.Run(fmt.Sprint(test.what, " pending ", test.pending), func(t *testing.T) {
			inAhead(t, nil, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
				var ch <-chan outcome[CallCmd]
				if test.pending {
					ch = call(s, "/x", "y")
					end.receive()
				}
				end.conn.Write(row(t, message(TypePush, 0, "/ordered", "before§20", far()), message(TypePush, 0, "/ordered", "bad§"+test.what, far()), message(TypePush, 0, "/ordered", "after", far())))
				pass(time.Minute)
				if test.reason == "" {
					w.log.want(t, "ordered before§20", "ordered after")
					return
				}
				w.log.want(t, "ordered before§20")
				if test.pending {
					_, r := ended(t, ch).v.Reply()
					wantRerror(t, r, CodeConnClosed, test.reason)
				}
				if !isClosed(s.done.Done()) || !containsAll(s.CloseReason().Error(), test.reason) {
					t.Errorf("the session has ended: %v, %v; want %q", isClosed(s.done.Done()), s.CloseReason(), test.reason)
				}
			})
		})
	}
}

// A filter that does not return ends the session, which says which one, and Close does not
// wait for it.
func TestRemoteFiltersHang(t *testing.T) {
	const hour = "3600000"
	for _, ends := range []string{"by itself", "by Close"} {
		t.Run(ends, func(t *testing.T) {
			inAhead(t, nil, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
				ch := call(s, "/x", "y")
				end.receive()
				end.conn.Write(row(t, message(TypePush, 0, "/ordered", "before§20", far()), message(TypePush, 0, "/ordered", "a§"+hour, far()), message(TypePush, 0, "/ordered", "b§"+hour, far())))
				pass(time.Minute)
				w.log.want(t, "ordered before§20")
				if isClosed(s.done.Done()) {
					t.Fatalf("the session has ended after a minute: %v", s.CloseReason())
				}
				if ends == "by Close" {
					go s.Close()
				}
				pass(2 * time.Minute)
				if !isClosed(s.done.Done()) {
					t.Fatal("the session has not ended")
				}
				if _, r := ended(t, ch).v.Reply(); r.Code != CodeConnClosed {
					t.Errorf("the pending call has the error %s; want one with the code %d", r, CodeConnClosed)
				}
				if want := "the filters testfar of a message have not returned within 2m0s"; ends == "by itself" && !containsAll(s.CloseReason().Error(), want) {
					t.Errorf("the session has ended for %q; want %q", s.CloseReason(), want)
				}
				if n := o.now.Load(); n != 2 {
					t.Errorf("%d filters run; want 2", n)
				}
				pass(time.Hour)
			})
		})
	}
}

// What a filter makes may be larger than what there was room for ahead of its turn; and the
// limit of a message holds.
func TestRemoteFiltersMakeMuch(t *testing.T) {
	registerGrow()
	inAhead(t, func(cfg *PeerConfig) { cfg.MessageSizeLimit = 100_000 }, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
		b := row(t, message(TypePush, 0, "/note", "a§20", far()), message(TypePush, 0, "/note", "b", far(203)))
		b = append(b, row(t, message(TypePush, 0, "/note", "c", far()))...)
		end.conn.Write(b)
		pass(time.Second)
		w.log.wantAnyOrder(t, "note a§20", "note c") // b has become 10,000 first bytes of the message, which are none
	})
	inAhead(t, func(cfg *PeerConfig) { cfg.MessageSizeLimit = 1000 }, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
		end.conn.Write(row(t, message(TypePush, 0, "/ordered", "a§20", far()), message(TypePush, 0, "/ordered", string(make([]byte, 5000)), far(203))))
		pass(time.Second)
		w.log.want(t, "ordered a§20")
		if r := s.CloseReason(); r == nil || !containsAll(r.Error(), "testgrow", "the limit is 1000") {
			t.Errorf("the session has ended for %v; want the limit", r)
		}
	})
	inAhead(t, nil, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
		large := string(bytes.Repeat([]byte("x"), 300_000))
		end.conn.Write(row(t, message(TypePush, 0, "/ordered", "a§20", far()), message(TypePush, 0, "/ordered", large, far(testwire.Hex)), message(TypePush, 0, "/ordered", large), message(TypePush, 0, "/ordered", "b§1", far())))
		pass(time.Minute)
		w.log.want(t, "ordered a§20", "ordered "+large, "ordered "+large, "ordered b§1")
	})
}

// Queued frames count in the memory of the peer, and in what a session may take; at the end
// of the session nothing is left, and no goroutine.
func TestRemoteFiltersAndMemory(t *testing.T) {
	for _, ends := range []bool{false, true} {
		inAhead(t, func(cfg *PeerConfig) { cfg.SessionMemory = 400 << 10 }, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
			var all []*socket.Envelope
			for i := range 40 {
				all = append(all, message(TypePush, 0, "/note", fmt.Sprintf("%d§1000", i), far()))
			}
			end.conn.Write(row(t, all...))
			synctest.Wait()
			const each = 12 << 10 // about
			if used, n := w.server.env.memory.Used(), s.link.sock.Ahead(); n < 2 || n > 2+(100<<10)/each || used < int64(n-1)*each || used > 100<<10+each {
				t.Errorf("%d frames are queued and take %d bytes; want at most a quarter of SessionMemory", n, used)
			}
			if ends {
				end.conn.Close()
				s.Break(errors.New("enough"))
				<-s.done.Done()
				if n := o.now.Load(); n != 0 {
					t.Errorf("%d filters run at the end of the session; want none", n)
				}
			}
			pass(time.Minute)
			if n := w.log.len(); !ends && n != len(all) {
				t.Errorf("%d pushes were handled; want %d", n, len(all))
			}
			if used := w.server.env.memory.Used(); used != 0 {
				t.Errorf("%d bytes are used at the end; want none", used)
			}
			if n := s.link.sock.Ahead(); n != 0 {
				t.Errorf("%d frames are queued at the end; want none", n)
			}
			w.log.lines = nil
		})
	}
}

// A session that drains handles what has arrived.
func TestDrainWaitsForRemoteFilters(t *testing.T) {
	inAhead(t, nil, func(t *testing.T, w *world, s *session, end *rawEnd, o *onTheWay) {
		end.conn.Write(row(t, message(TypePush, 0, "/ordered", "a§3000", far()), message(TypePush, 0, "/ordered", "b§2000", far()), message(TypePush, 0, "/ordered", "c"), message(TypeCall, 9, "/echo", "d", far())))
		synctest.Wait()
		began := time.Now()
		draining := begin(func() error { return s.Drain(t.Context()) })
		if m := end.receive(); m.Mtype() != TypeReply || m.Seq() != 9 || m.Rerror().Code != CodeConnClosed {
			t.Errorf("received %s of seq %d with %s; want the refusal of the call", TypeText(m.Mtype()), m.Seq(), m.Rerror())
		}
		synctest.Wait()
		w.log.want(t, "ordered a§3000", "ordered b§2000", "ordered c")
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("after %v; want 3s", took)
		}
		end.conn.Close()
		pass(time.Minute)
		if err := ended(t, draining).v; err != nil {
			t.Errorf("Drain = %v", err)
		}
	})
}

// A hook before the header runs once a message, in order.
func TestRemoteFiltersAndPreReadHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := new(onTheWay)
		defer testwire.Away(o.do)()
		var headers atomic.Int32
		w.open(nil, &countHeaders{n: &headers})
		_, end := w.serveRaw(w.server)
		end.send(TypePush, 1, "/note", "first", far())
		end.conn.Write(row(t, message(TypePush, 0, "/note", "a§20", far()), message(TypePush, 0, "/note", "b"), message(TypePush, 0, "/note", "c§20", far())))
		pass(time.Second)
		w.log.wantAnyOrder(t, "note first", "note a§20", "note b", "note c§20")
		if n := headers.Load(); n != 5 { // it runs before each wait, too
			t.Errorf("PreReadHeader has run %d times for 4 messages; want 5", n)
		}
	})
}

type countHeaders struct{ n *atomic.Int32 }

func (*countHeaders) Name() string                 { return "countHeaders" }
func (c *countHeaders) PreReadHeader(PreCtx) error { c.n.Add(1); return nil }

// The remote filters of several senders run at once, too.
func TestRemoteFiltersOfSenders(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		registerSlowPack()
		c, _ := w.pair()
		wantReply(t, c.Call("/echo", "x", new(string)), "x") // so that the route knows how large replies are
		var all []<-chan outcome[CallCmd]
		for range 40 {
			all = append(all, call(c, "/echo", "x", WithXferPipe(slowPack{}.ID())))
		}
		pass(time.Second)
		for _, ch := range all {
			o := ended(t, ch)
			wantReply(t, o.v, "x")
			if o.took > 200*time.Millisecond {
				t.Fatalf("a call took %v, and its filters twice 100ms", o.took)
			}
		}
	})
}

// slowPack is a remote filter that takes its time to pack.
type slowPack struct{}

func (slowPack) ID() byte     { return 204 }
func (slowPack) Name() string { return "testslowpack" }
func (slowPack) Remote() bool { return true }
func (slowPack) OnPack(b []byte) ([]byte, error) {
	time.Sleep(100 * time.Millisecond)
	return b, nil
}
func (slowPack) OnUnpack(b []byte) ([]byte, error) { return b, nil }

var registerSlowPack = sync.OnceFunc(func() { xfer.Register(slowPack{}) })
