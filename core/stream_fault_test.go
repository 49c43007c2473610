package tp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// rawStreams is a session of the server whose other end, the test, has said hello.
func (w *world) rawStreams(hello ...MessageSetting) (*session, *rawEnd) {
	if hello == nil {
		hello = []MessageSetting{WithAddMeta("v", "1"), WithAddMeta("f", "stream"), WithAddMeta("w", "1000")}
	}
	s, end := w.serveRaw(w.server)
	end.send(TypeControl, 0, "hello", "", hello...)
	return s, end
}

// want receives messages until one is of the type and the verb, and checks its number.
func (e *rawEnd) want(mtype byte, seq int32, verb string) *socket.Envelope {
	e.t.Helper()
	for {
		m := e.receive()
		if m.Mtype() == TypeControl && m.ServiceMethod() == verbCredit && verb != verbCredit {
			continue
		}
		if m.Mtype() != mtype || m.Seq() != seq || verb != "" && m.ServiceMethod() != verb {
			e.t.Fatalf("received %s %q of seq %d, %s; want %s %q of %d", TypeText(m.Mtype()), m.ServiceMethod(), m.Seq(), m.Rerror(), TypeText(mtype), verb, seq)
		}
		return m
	}
}

// A side that breaks the rules of a stream gets a reset, and its session goes on.
func TestStreamFaults(t *testing.T) {
	open := func(end *rawEnd) { end.send(TypeCall, 1, "/hold", "", WithAddMeta("X-Stream", "500")) }
	for _, test := range []struct {
		name  string
		run   func(end *rawEnd)
		code  int32 // of the reset
		text  string
		cause string // of the end of the handler's context
	}{
		{"more than the window", func(end *rawEnd) {
			for range 17 { // the handler receives none
				end.send(TypeData, 1, "", strings.Repeat("x", 1<<10-dataOverhead))
			}
		}, CodeBadMessage, errOverdrawn.Error(), "400"},
		{"more metadata than the window", func(end *rawEnd) {
			for range 5 {
				end.send(TypeData, 1, "", "", WithAddMeta("k", strings.Repeat("v", 4<<10)))
			}
		}, CodeBadMessage, errOverdrawn.Error(), "400"},
		{"credit that overflows", func(end *rawEnd) {
			end.send(TypeControl, 1, "credit", "", WithAddMeta("n", "2147483647"))
		}, CodeBadMessage, "credit: 2147483647 bytes more than 500", "400"},
		{"credit of nothing", func(end *rawEnd) {
			end.send(TypeControl, 1, "credit", "", WithAddMeta("n", "0"))
		}, CodeBadMessage, `credit: n is "0"`, "400"},
		{"credit without a number", func(end *rawEnd) { end.send(TypeControl, 1, "credit", "") }, CodeBadMessage, `credit: n is ""`, "400"},
		{"credit below 0", func(end *rawEnd) {
			end.send(TypeControl, 1, "credit", "", WithAddMeta("n", "-7"))
		}, CodeBadMessage, `credit: n is "-7"`, "400"},
		{"an end behind other messages than have come", func(end *rawEnd) {
			end.send(TypeData, 1, "", "x")
			end.send(TypeControl, 1, "end", "", WithAddMeta("m", "2"))
		}, CodeBadMessage, `1 messages of the stream have come; the other side says that it has sent "2"`, "400"},
		{"a message behind the end", func(end *rawEnd) {
			end.send(TypeControl, 1, "end", "")
			end.send(TypeData, 1, "", "x")
		}, CodeBadMessage, "behind its end", "400"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inStreamWorld(t, nil, func(t *testing.T, w *world) {
				s, end := w.rawStreams()
				open(end)
				test.run(end)
				m := end.want(TypeControl, -1, "reset")
				if code := string(m.Meta().Peek("code")); code != fmt.Sprint(test.code) || !strings.Contains(string(m.Meta().Peek("reason")), test.text) {
					t.Errorf("reset with code %s, reason %q; want %d, %q", code, m.Meta().Peek("reason"), test.code, test.text)
				}
				synctest.Wait()
				w.log.wantPrefix(t, "hold: cause "+test.cause)
				end.send(TypeData, 1, "", "late")
				if n := w.server.Stats().DroppedData; n != 1 {
					t.Errorf("DroppedData is %d; want 1", n)
				}
				end.send(TypeCall, 2, "/echo", "after")
				end.want(TypeReply, 2, "")
				wantNoStreams(t, s)
			})
		})
	}
}

func (j *journal) wantPrefix(t testing.TB, prefix string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) != 1 || !strings.HasPrefix(j.lines[0], prefix) {
		t.Errorf("what happened is %q; want one line that begins with %q", j.lines, prefix)
	}
	j.lines = nil
}

// A message that cannot be read may have been one of a stream, which must not go on with a
// gap.
func TestStreamUnreadable(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.rawStreams()
		end.send(TypeData, 1, "", "x", WithXferPipe(testwire.Fail)) // of no stream: dropped
		end.send(TypeCall, 1, "/hold", "", WithAddMeta("X-Stream", "500"))
		end.send(TypeData, 1, "", "x", WithXferPipe(testwire.Fail))
		<-s.done.Done()
		if reason := s.CloseReason(); !strings.Contains(reason.Error(), "a message that may be one of an open stream cannot be read") {
			t.Errorf("the session has ended: %v", reason)
		}
		w.log.wantPrefix(t, "hold: cause ")
	})
}

// wantNoStreams checks that nothing of streams is left.
func wantNoStreams(t testing.TB, sessions ...*session) {
	t.Helper()
	synctest.Wait()
	for _, s := range sessions {
		for _, what := range leftOfStreams(s.currentLink()) {
			t.Error(what)
		}
	}
}

func leftOfStreams(l *link) (all []string) {
	tab := l.streams.Load()
	if tab == nil {
		return nil
	}
	tab.mu.Lock()
	defer tab.mu.Unlock()
	if len(tab.open) != 0 || tab.windows != 0 || tab.bytes.Load() != 0 || tab.drawn.Load() != 0 {
		all = append(all, fmt.Sprintf("left of the streams: %d open, %d bytes of windows, %d of messages, %d of them drawn", len(tab.open), tab.windows, tab.bytes.Load(), tab.drawn.Load()))
	}
	return all
}

// A CALL that does not open a stream as it should is refused.
func TestStreamRefused(t *testing.T) {
	const stream = "X-Stream"
	for _, test := range []struct {
		name, method string
		hello        []MessageSetting
		set          []MessageSetting
		code         int32
		text         string
	}{
		{"without hello", "/chat", []MessageSetting{}, []MessageSetting{WithAddMeta(stream, "1")}, CodeNotImplemented, "without saying hello"},
		{"after a hello without a window", "/chat", []MessageSetting{WithAddMeta("f", "stream")}, []MessageSetting{WithAddMeta(stream, "1")}, CodeNotImplemented, "without saying hello"},
		{"after a hello with the window 0", "/chat", []MessageSetting{WithAddMeta("f", "stream"), WithAddMeta("w", "0")}, []MessageSetting{WithAddMeta(stream, "1")}, CodeNotImplemented, "without saying hello"},
		{"no room", "/chat", nil, []MessageSetting{WithAddMeta(stream, "0")}, CodeBadMessage, `is "0"`},
		{"no number", "/chat", nil, []MessageSetting{WithAddMeta(stream, "")}, CodeBadMessage, `is ""`},
		{"below 0", "/chat", nil, []MessageSetting{WithAddMeta(stream, "-1")}, CodeBadMessage, `is "-1"`},
		{"too large", "/chat", nil, []MessageSetting{WithAddMeta(stream, "2147483648")}, CodeBadMessage, `is "2147483648"`},
		{"no stream", "/chat", nil, nil, CodeBadMessage, `"/chat" is the route of a stream`},
		{"no stream's route", "/echo", nil, []MessageSetting{WithAddMeta(stream, "1")}, CodeBadMessage, `"/echo" is not the route of a stream`},
		{"no route", "/nowhere", nil, []MessageSetting{WithAddMeta(stream, "1")}, CodeNotFound, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inStreamWorld(t, nil, func(t *testing.T, w *world) {
				s, end := w.rawStreams(test.hello...)
				if test.hello != nil && len(test.hello) == 0 {
					s, end = w.serveRaw(w.server)
				}
				end.send(TypeCall, 1, test.method, "", test.set...)
				m := end.want(TypeReply, 1, "")
				if r := m.Rerror(); r == nil || r.Code != test.code || !strings.Contains(r.Reason, test.text) {
					t.Errorf("the reply is %s; want %d with %q", r, test.code, test.text)
				}
				end.send(TypeData, 1, "", "x")
				if n := w.server.Stats().DroppedData; n != 1 {
					t.Errorf("DroppedData is %d; want 1", n)
				}
				wantNoStreams(t, s)
			})
		})
	}
	t.Run("a number twice", func(t *testing.T) {
		inStreamWorld(t, nil, func(t *testing.T, w *world) {
			_, end := w.rawStreams()
			end.send(TypeCall, 1, "/wait", "", WithAddMeta(stream, "1"))
			end.send(TypeCall, 1, "/wait", "", WithAddMeta(stream, "1"))
			if r := end.want(TypeReply, 1, "").Rerror(); r == nil || r.Code != CodeBadMessage || !strings.Contains(r.Reason, "open already") {
				t.Errorf("the second one got %s", r)
			}
		})
	})
	t.Run("an unknown handler", func(t *testing.T) {
		inStreamWorld(t, nil, func(t *testing.T, w *world) {
			w.server.SetUnknownCall(func(UnknownCallCtx) (any, *Rerror) { return nil, nil })
			c, _ := w.pair()
			wantMessages(t, openStream(t, c, "/nowhere"), ErrNotImplemented)
		})
	})
	t.Run("too many handlers", func(t *testing.T) {
		inStreamWorld(t, func(cfg *PeerConfig) { cfg.MaxHandlers = 1 }, func(t *testing.T, w *world) {
			c, _ := w.pair()
			st := openStream(t, c, "/wait")
			wantMessages(t, openStream(t, c, "/wait"), ErrBusy)
			st.Close()
		})
	})
}

// Messages for numbers without a stream are counted and dropped, whatever they are.
func TestDataWithoutStream(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		n := uint64(0)
		for _, seq := range []int32{0, 1, -1, 7, math.MaxInt32, math.MinInt32} {
			for range 100 {
				end.start(TypeData, seq, "", "x")
				for _, verb := range []string{"end", "credit", "reset"} {
					end.start(TypeControl, seq, verb, "", WithAddMeta("n", "1"), WithAddMeta("code", "9"))
				}
				n += 4
			}
		}
		end.send(TypeCall, 1, "/echo", "after")
		end.want(TypeReply, 1, "")
		if got := w.server.Stats().DroppedData; got != n {
			t.Errorf("DroppedData is %d; want %d", got, n)
		}
		wantNoStreams(t, s)
	})
}

// A reset ends the stream with its code, on either side.
func TestStreamReset(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.rawStreams()
		end.send(TypeCall, 1, "/wait", "", WithAddMeta("X-Stream", "1"))
		end.send(TypeControl, 1, "reset", "", WithAddMeta("code", "4711"), WithAddMeta("reason", "because"))
		w.log.want(t, "wait: 4711, cause 4711 Unknown Error: because")

		st := openStream(t, s, "/x")
		m := end.want(TypeCall, 1, "")
		if m.Meta().String() != fmt.Sprintf("X-Stream=%d", s.env.cfg.StreamWindow) {
			t.Errorf("the CALL has the metadata %s", m.Meta())
		}
		end.send(TypeControl, -1, "reset", "", WithAddMeta("code", "4711"))
		wantMessages(t, st, NewRerror(4711, "", "").Err())
		if err := st.Send("late"); Code(err) != 4711 {
			t.Errorf("Send: %v", err)
		}
		wantNoStreams(t, s)
	})
}

// A side that does not receive holds up the sender, whose wait ends with its context; and nobody
// else.
func TestStreamNobodyReads(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		c, s := w.pair()
		ctx, cancel := context.WithCancel(t.Context())
		st, err := OpenStream[string, string](ctx, c, "/hold")
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		blocked := make(chan error)
		go func() {
			for {
				if err := st.Send(strings.Repeat("x", 10_000)); err != nil {
					blocked <- err
					return
				}
				sent++
			}
		}()
		synctest.Wait()
		if most := 1 + firstWindow/10_000; sent != most { // the handler receives nothing
			t.Errorf("%d messages were sent; want %d", sent, most)
		}
		wantReply(t, c.Call("/echo", "y", new(string)), "y")
		if n := s.link.streams.Load().bytes.Load(); n > firstWindow+10_000+dataOverhead {
			t.Errorf("%d bytes wait; the window is %d", n, firstWindow)
		}
		cancel()
		if err := <-blocked; !errors.Is(err, context.Canceled) {
			t.Errorf("Send: %v; want the end of the context", err)
		}
		wantNoStreams(t, c, s)
		if n := s.env.memory.Used(); n != 0 {
			t.Errorf("%d bytes of memory are in use", n)
		}
	})
}

// Whether the peer has streams is known at once, or after a bounded wait.
func TestStreamHello(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(t *testing.T, s *session, end *rawEnd)
		ctx  func(t *testing.T) context.Context
		want error
		took time.Duration
	}{
		{"no answer", func(*testing.T, *session, *rawEnd) {}, nil, ErrNotImplemented, 10 * time.Second},
		{"an answer without streams", func(_ *testing.T, _ *session, end *rawEnd) {
			end.send(TypeControl, 0, "hello", "", WithAddMeta("f", "cancel"))
		}, nil, ErrNotImplemented, 0},
		{"the end of the context", func(*testing.T, *session, *rawEnd) {}, func(t *testing.T) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return ctx
		}, context.DeadlineExceeded, time.Second},
		{"the end of the connection", func(_ *testing.T, _ *session, end *rawEnd) { end.conn.Close() }, nil, ErrConnClosed, 0},
		{"the session is closed", func(_ *testing.T, s *session, _ *rawEnd) { s.Close() }, nil, ErrConnClosed, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inStreamWorld(t, nil, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.server)
				ctx := t.Context()
				if test.ctx != nil {
					ctx = test.ctx(t)
				}
				start := time.Now()
				result := make(chan error, 1)
				go func() {
					_, err := OpenStream[string, string](ctx, s, "/chat")
					result <- err
				}()
				synctest.Wait()
				test.do(t, s, end)
				if err := <-result; !errors.Is(err, test.want) {
					t.Errorf("OpenStream: %v; want %v", err, test.want)
				}
				if took := time.Since(start); took < test.took || took > test.took+time.Second {
					t.Errorf("it took %v; want %v", took, test.took)
				}
			})
		})
	}
}

// The end of a stream says how many messages were sent, so that a gap is noticed.
func TestStreamGap(t *testing.T) {
	for m, want := range map[string]error{"": io.EOF, "1": io.EOF, "2": ErrBadMessage, "x": ErrBadMessage} {
		inStreamWorld(t, nil, func(t *testing.T, w *world) {
			s, end := w.rawStreams()
			st := openStream(t, s, "/x")
			end.want(TypeCall, 1, "")
			end.send(TypeData, -1, "", "one")
			end.send(TypeReply, 1, "", "", WithAddMeta("X-Stream", m))
			wantMessages(t, st, want, "one")
		})
	}
}

// OpenStream waits for a redial; streams that are open end with it.
func TestStreamRedial(t *testing.T) {
	inStreamWorld(t, func(cfg *PeerConfig) { cfg.RedialTimes, cfg.RedialInterval = -1, time.Second }, func(t *testing.T, w *world) {
		c, _ := w.pair()
		st := openStream(t, c, "/chat")
		st.Send("one")
		synctest.Wait()
		mem(c).Cut()
		wantMessages(t, st, ErrConnClosed, "re: one")
		if err := st.Send("late"); !errors.Is(err, ErrConnClosed) {
			t.Errorf("Send: %v", err)
		}
		synctest.Wait()
		if c.getState() != redialing {
			t.Fatalf("the session is in state %v", c.getState())
		}
		st = openStream(t, c, "/chat")
		st.Send("two")
		st.CloseSend()
		wantMessages(t, st, io.EOF, "re: two")
		wantNoStreams(t, c)
	})
}

// Drain waits for streams of both sides, Close for those that it has opened, and cuts off
// what does not end.
func TestStreamDrain(t *testing.T) {
	for _, side := range []string{"opener", "handler"} {
		t.Run(side, func(t *testing.T) {
			inStreamWorld(t, nil, func(t *testing.T, w *world) {
				c, s := w.pair()
				st := openStream(t, c, "/chat")
				st.Send("one")
				synctest.Wait()
				drained := make(chan error, 1)
				go func() {
					if side == "opener" {
						drained <- c.Drain(t.Context())
					} else {
						drained <- s.Drain(t.Context())
					}
				}()
				pass(time.Minute)
				select {
				case err := <-drained:
					t.Fatalf("Drain has returned %v while a stream is open", err)
				default:
				}
				st.Send("two")
				st.CloseSend()
				wantMessages(t, st, io.EOF, "re: one", "re: two")
				if err := <-drained; err != nil {
					t.Errorf("Drain: %v", err)
				}
			})
		})
	}
	t.Run("cut off", func(t *testing.T) {
		inStreamWorld(t, nil, func(t *testing.T, w *world) {
			c, _ := w.pair()
			st := openStream(t, c, "/wait")
			synctest.Wait()
			if err := c.Close(); err == nil || !strings.Contains(err.Error(), "1 calls cut off") {
				t.Errorf("Close: %v", err)
			}
			wantMessages(t, st, ErrConnClosed)
			pass(time.Second)
			w.log.wantPrefix(t, "wait: ")
		})
	})
}

// 100 streams each way, with tiny windows and little room between the peers, all end.
func TestStreamsNoDeadlock(t *testing.T) {
	for _, window := range []int64{1, 100, 5000} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, memnet.Buffer(1024))
				w.open(func(cfg *PeerConfig) { cfg.StreamWindow, cfg.WriteBound = window, 4096 })
				w.routeStreams(w.server)
				w.routeStreams(w.client)
				c, s := w.pair()
				const streams, messages = 100, 20
				done := make(chan string, 2*streams)
				for _, from := range []*session{c, s} {
					for i := range streams {
						st := openStream(t, from, "/chat")
						go func() {
							for n := range messages {
								if err := st.Send(fmt.Sprint(n, strings.Repeat("x", i*n))); err != nil {
									done <- err.Error()
									return
								}
							}
							st.CloseSend()
						}()
						go func() {
							n := 0
							for v, err := range st.All() {
								if err != nil || *v != "re: "+fmt.Sprint(n, strings.Repeat("x", i*n)) {
									done <- fmt.Sprint(n, err)
									return
								}
								n++
							}
							if n != messages {
								done <- fmt.Sprint("only ", n)
								return
							}
							done <- ""
						}()
					}
				}
				for range 2 * streams {
					if what := <-done; what != "" {
						t.Error(what)
					}
				}
				wantNoStreams(t, c, s)
			})
		})
	}
}
