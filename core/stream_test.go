package tp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// routeStreams registers the handlers of streams of every test.
func (w *world) routeStreams(p Peer) {
	// chat answers each message, and returns at the end of the opener's.
	HandleStream(p, "/chat", func(ctx StreamCtx, s *Stream[string, string]) error {
		for v, err := range s.All() {
			if err != nil {
				w.log.add("chat: %v", err)
				return err
			}
			if err := s.Send("re: " + *v); err != nil {
				return err
			}
		}
		return nil
	})
	// count sends so many numbers as the argument says.
	HandleStream(p, "/count", func(ctx StreamCtx, s *Stream[string, string]) error {
		var n int
		fmt.Sscan(ctx.Query().Get("n"), &n)
		for i := range n {
			if err := s.Send(fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	})
	// fail returns the error that the query says.
	HandleStream(p, "/failing", func(ctx StreamCtx, s *Stream[string, string]) error {
		s.Send("last words")
		return NewRerror(1234, "failed", ctx.Query().Get("why")).Err()
	})
	// hold waits for the end of its context, and receives nothing.
	HandleStream(p, "/hold", func(ctx StreamCtx, s *Stream[string, string]) error {
		<-ctx.Context().Done()
		w.log.add("hold: cause %v", context.Cause(ctx.Context()))
		return nil
	})
	// wait waits for the end of its context.
	HandleStream(p, "/wait", func(ctx StreamCtx, s *Stream[string, string]) error {
		_, err := s.Recv()
		w.log.add("wait: %d, cause %v", Code(err), context.Cause(ctx.Context()))
		return err
	})
}

func inStreamWorld(t *testing.T, change func(*PeerConfig), f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open(change)
		w.routeStreams(w.server)
		w.routeStreams(w.client)
		f(t, w)
	})
}

func openStream(t *testing.T, s *session, method string, setting ...MessageSetting) *Stream[string, string] {
	t.Helper()
	st, err := OpenStream[string, string](t.Context(), s, method, setting...)
	if err != nil {
		t.Fatalf("OpenStream %q: %v", method, err)
	}
	return st
}

// wantMessages receives messages and the error behind them.
func wantMessages(t *testing.T, s *Stream[string, string], end error, want ...string) {
	t.Helper()
	var got []string
	for {
		v, err := s.Recv()
		if err != nil {
			if !errors.Is(err, end) {
				t.Errorf("Recv: %v; want %v", err, end)
			}
			break
		}
		got = append(got, *v)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("received %.300q; want %.300q", got, want)
	}
}

// Both sides open streams, and send and receive in any order.
func TestStream(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, w *world, s *session)
	}{
		{"ping-pong", func(t *testing.T, w *world, s *session) {
			st := openStream(t, s, "/chat")
			for i := range 3 {
				if err := st.Send(fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
				v, err := st.Recv()
				if err != nil || *v != fmt.Sprintf("re: %d", i) {
					t.Fatalf("Recv = %v, %v", v, err)
				}
			}
			st.CloseSend()
			wantMessages(t, st, io.EOF)
			if err := st.Wait(); err != nil {
				t.Errorf("Wait: %v", err)
			}
			if err := st.Send("late"); !errors.Is(err, ErrStreamEnded) {
				t.Errorf("Send at the end: %v; want ErrStreamEnded", err)
			}
		}},
		{"an empty message", func(t *testing.T, w *world, s *session) {
			st := openStream(t, s, "/chat")
			st.Send("")
			st.CloseSend()
			wantMessages(t, st, io.EOF, "re: ")
		}},
		{"many one way", func(t *testing.T, w *world, s *session) {
			st := openStream(t, s, "/count?n=10000")
			for i := range 10000 {
				v, err := st.Recv()
				if err != nil || *v != fmt.Sprint(i) {
					t.Fatalf("message %d: %v, %v", i, v, err)
				}
			}
			wantMessages(t, st, io.EOF)
		}},
		{"messages larger than the window", func(t *testing.T, w *world, s *session) {
			st := openStream(t, s, "/chat")
			large := strings.Repeat("x", 1<<20)
			for range 3 {
				st.Send(large)
			}
			st.CloseSend()
			wantMessages(t, st, io.EOF, "re: "+large, "re: "+large, "re: "+large)
		}},
		{"an error of the handler", func(t *testing.T, w *world, s *session) {
			st := openStream(t, s, "/failing?why=because")
			wantMessages(t, st, NewRerror(1234, "", "").Err(), "last words")
			if err := st.Wait(); Code(err) != 1234 {
				t.Errorf("Wait: %v", err)
			}
		}},
		{"no route", func(t *testing.T, w *world, s *session) {
			wantMessages(t, openStream(t, s, "/nowhere"), ErrNotFound)
		}},
		{"a CALL's route", func(t *testing.T, w *world, s *session) {
			wantMessages(t, openStream(t, s, "/echo"), ErrBadMessage)
		}},
		{"a CALL to a stream's route", func(t *testing.T, w *world, s *session) {
			wantRerror(t, s.Call("/chat", "x", nil).Rerror(), CodeBadMessage)
		}},
		{"the opener closes", func(t *testing.T, w *world, s *session) {
			st := openStream(t, s, "/wait")
			synctest.Wait()
			st.Close()
			wantMessages(t, st, ErrCanceled)
			synctest.Wait()
			w.log.want(t, "wait: 499, cause tp: the caller has given up")
		}},
		{"the opener's context ends", func(t *testing.T, w *world, s *session) {
			ctx, cancel := context.WithCancel(t.Context())
			st, err := OpenStream[string, string](ctx, s, "/wait")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			cancel()
			wantMessages(t, st, context.Canceled)
			synctest.Wait()
			w.log.want(t, "wait: 499, cause tp: the caller has given up")
		}},
	} {
		for _, side := range []string{"client", "server"} {
			t.Run(test.name+", opened by the "+side, func(t *testing.T) {
				inStreamWorld(t, nil, func(t *testing.T, w *world) {
					c, s := w.pair()
					if side == "server" {
						c.Call("/echo", "x", nil) // the server hears that the peer is there
						c, s = s, c
					}
					test.run(t, w, c)
					synctest.Wait()
					wantNoStreams(t, c, s)
					for _, s := range []*session{c, s} {
						if n := s.env.memory.Used(); n != 0 {
							t.Errorf("%d bytes of memory are in use", n)
						}
					}
				})
			})
		}
	}
}

// The handler has failed before OpenStream returns: what it has sent is received all the
// same.
func TestStreamFailsEarly(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendLeft(&PluginImpl{PluginName: "slow", OnPostWriteCall: func(WriteCtx) *Rerror {
			time.Sleep(time.Second) // of the bubble: the reply has come
			return nil
		}})
		c, _ := w.pair()
		wantMessages(t, openStream(t, c, "/failing?why=because"), NewRerror(1234, "", "").Err(), "last words")
	})
}

// When Wait has returned the stream is over for Send too.
func TestStreamSendAfterWait(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		for i := range 2000 {
			st := openStream(t, c, "/count?n=0")
			if err := st.Wait(); err != nil {
				t.Fatal(err)
			}
			if err := st.Send("late"); !errors.Is(err, ErrStreamEnded) {
				t.Fatalf("stream %d: Send after Wait: %v", i, err)
			}
		}
	})
}

// A Recv that finds that messages have come, and that the context has ended with the stream
// behind them, receives them.
func TestStreamEndsBehindMessages(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.rawStreams()
		st := openStream(t, s, "/chat")
		seq := end.want(TypeCall, st.st.key, "").Seq()
		if more, err := st.st.takeQueue(); more || err != nil { // Recv is about to wait
			t.Fatalf("takeQueue: %t, %v", more, err)
		}
		end.send(TypeData, -seq, "", "last words")
		end.send(TypeReply, seq, "", "", WithAddMeta(MetaStream, "1"))
		<-st.st.ctx.Done()
		st.st.contextEnded() // that it has looked at first
		wantMessages(t, st, io.EOF, "last words")
	})
}

// The same if the user's context ends when the last message has come.
func TestStreamEndsAsContextEnds(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.rawStreams()
		ctx, cancel := context.WithCancel(t.Context())
		st, err := OpenStream[string, string](ctx, s, "/chat")
		if err != nil {
			t.Fatal(err)
		}
		seq := end.want(TypeCall, st.st.key, "").Seq()
		end.send(TypeData, -seq, "", "last words")
		st.st.cmd.async.unhook() // the reply is faster than the context
		cancel()
		end.send(TypeReply, seq, "", "", WithAddMeta(MetaStream, "1"))
		synctest.Wait()
		wantMessages(t, st, io.EOF, "last words")
	})
}
