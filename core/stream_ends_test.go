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

	"github.com/teleport-go/teleport/core/internal/testwire"
)

// bothEnds is a stream on whose two ends a message waits to be received.
type bothEnds struct {
	opener, handler   *session
	o, h              *Stream[string, string]
	cancel            context.CancelFunc // of the opener's context
	returns           chan error         // of the handler
	handlerContextEnd func() error
}

// onStream opens a stream whose handler has sent h1, and whose opener has sent o1. The
// opener's context ends after a minute.
func onStream(t *testing.T, f func(e *bothEnds)) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		e := &bothEnds{returns: make(chan error, 2)}
		e.opener, e.handler = w.pair()
		HandleStream(w.server, "/ends", func(ctx StreamCtx, st *Stream[string, string]) error {
			c := ctx.Context()
			e.h, e.handlerContextEnd = st, func() error { return context.Cause(c) }
			st.Send("h1")
			return <-e.returns
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		e.cancel = cancel
		var err error
		if e.o, err = OpenStream[string, string](ctx, e.opener, "/ends"); err != nil {
			t.Fatal(err)
		}
		e.o.Send("o1")
		synctest.Wait()
		f(e)
		synctest.Wait()
		e.returns <- nil
		synctest.Wait()
	})
}

// sees returns what Send, and then Recv until its error, return on an end of a stream.
func sees(st *Stream[string, string]) string {
	what := func(err error) string {
		switch {
		case err == nil:
			return "ok"
		case err == io.EOF:
			return "EOF"
		case errors.Is(err, ErrStreamEnded):
			return "ended"
		}
		return fmt.Sprint(Code(err))
	}
	saw := "Send " + what(st.Send("late")) + ", Recv"
	for {
		received := make(chan string, 1)
		go func() {
			v, err := st.Recv()
			if err == nil {
				received <- *v
				return
			}
			received <- what(err) + "."
		}()
		synctest.Wait()
		select {
		case got := <-received:
			saw += " " + got
			if got[len(got)-1] == '.' {
				return saw
			}
		default: // the bubble ends it
			return saw + " waits"
		}
	}
}

// The ends of a stream, as DESIGN.md has them: what both sides see.
func TestStreamEnds(t *testing.T) {
	closes := func(s *session) { // a handler and a call that do not end are cut off
		go s.Close()
		pass(10 * time.Second)
	}
	fault := NewRerror(4711, "", "a fault")
	for _, test := range []struct {
		name            string
		act             func(e *bothEnds)
		opener, handler string
		cause           string // of the end of the handler's context
	}{
		{"nothing", func(e *bothEnds) {}, "Send ok, Recv h1 waits", "Send ok, Recv o1 late waits", "<nil>"},
		{"the opener calls CloseSend", func(e *bothEnds) { e.o.CloseSend() }, "Send 1, Recv h1 waits", "Send ok, Recv o1 EOF.", "<nil>"},
		{"the handler calls CloseSend", func(e *bothEnds) { e.h.CloseSend() }, "Send ok, Recv h1 EOF.", "Send 1, Recv o1 late waits", "<nil>"},
		{"the handler returns nil", func(e *bothEnds) { e.returns <- nil }, "Send ended, Recv h1 EOF.", "Send ended, Recv ended.", "context canceled"},
		{"the handler returns an error", func(e *bothEnds) { e.returns <- fault.Err() }, "Send 4711, Recv h1 4711.", "Send ended, Recv ended.", "context canceled"},
		{"the handler closes", func(e *bothEnds) { e.h.Close() }, "Send ok, Recv h1 waits", "Send 499, Recv 499.", "<nil>"},
		{"the opener closes", func(e *bothEnds) { e.o.Close() }, "Send 499, Recv 499.", "Send 499, Recv o1 499.", ErrCallerGone.Error()},
		{"the opener's context is canceled", func(e *bothEnds) { e.cancel() }, "Send 499, Recv 499.", "Send 499, Recv o1 499.", ErrCallerGone.Error()},
		{"the deadline passes", func(e *bothEnds) { pass(time.Minute) }, "Send 408, Recv 408.", "Send 408, Recv o1 408.", "context deadline exceeded"},
		{"the opener finds a fault", func(e *bothEnds) { e.opener.link.reset(e.o.st, fault, true); e.opener.link.sock.Flush(0) },
			"Send 4711, Recv h1 4711.", "Send 4711, Recv 4711.", "4711 Unknown Error: a fault"},
		{"the handler's side finds a fault", func(e *bothEnds) { e.handler.link.reset(e.h.st, fault, true); e.handler.link.sock.Flush(0) },
			"Send 4711, Recv h1 4711.", "Send 4711, Recv 4711.", "4711 Unknown Error: a fault"},
		{"the connection breaks", func(e *bothEnds) { mem(e.opener).Cut() },
			"Send 102, Recv h1 102.", "Send 102, Recv o1 102.", "network: read mem mem:1->mem:client:1: connection reset by peer while reading"},
		{"the opener's session is closed", func(e *bothEnds) { closes(e.opener) }, "Send 102, Recv h1 102.", "Send 499, Recv o1 499.", ErrCallerGone.Error()},
		{"the handler's session is closed", func(e *bothEnds) { closes(e.handler) }, "Send 102, Recv h1 102.", "Send 102, Recv o1 102.", "closed by this side"},
	} {
		t.Run(test.name, func(t *testing.T) {
			onStream(t, func(e *bothEnds) {
				test.act(e)
				synctest.Wait()
				if got := sees(e.o); got != test.opener {
					t.Errorf("the opener: %s; want %s", got, test.opener)
				}
				if got := sees(e.h); got != test.handler {
					t.Errorf("the handler: %s; want %s", got, test.handler)
				}
				if got := fmt.Sprint(e.handlerContextEnd()); got != test.cause {
					t.Errorf("the handler's context has ended: %s; want %s", got, test.cause)
				}
			})
		})
	}
}

// The ends of a stream, as DESIGN.md has them: what goes over the wire.
func TestStreamEndsOnTheWire(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *session, end *rawEnd, returns chan error)
	}{
		{"the opener calls CloseSend, and closes", func(t *testing.T, s *session, end *rawEnd, _ chan error) {
			st := openStream(t, s, "/x")
			end.want(TypeCall, 1, "")
			st.Send("o1")
			end.want(TypeData, 1, "")
			st.CloseSend()
			if m := end.want(TypeControl, 1, "end"); m.Meta().String() != "m=1" {
				t.Errorf("end has the metadata %s; want m=1", m.Meta())
			}
			st.Close()
			end.want(TypeControl, 1, "cancel")
		}},
		{"the handler returns", func(t *testing.T, s *session, end *rawEnd, returns chan error) {
			end.send(TypeCall, 1, "/ends", "", WithAddMeta("X-Stream", "500"))
			end.want(TypeData, -1, "")
			returns <- nil
			if m := end.want(TypeReply, 1, ""); m.Meta().String() != "X-Stream=1" || m.Rerror() != nil {
				t.Errorf("the REPLY has the metadata %s and the error %s; want X-Stream=1, and none", m.Meta(), m.Rerror())
			}
		}},
		{"the handler closes, and returns", func(t *testing.T, s *session, end *rawEnd, returns chan error) {
			end.send(TypeCall, 1, "/ends", "", WithAddMeta("X-Stream", "500"))
			end.want(TypeData, -1, "")
			returns <- errClosesFirst
			end.send(TypeCall, 2, "/echo", "between")
			end.want(TypeReply, 2, "") // nothing before
			returns <- nil
			end.want(TypeReply, 1, "")
		}},
		{"the opener gives up", func(t *testing.T, s *session, end *rawEnd, returns chan error) {
			end.send(TypeCall, 1, "/ends", "", WithAddMeta("X-Stream", "500"))
			end.want(TypeData, -1, "")
			end.send(TypeControl, 1, "cancel", "")
			returns <- nil
			synctest.Wait()
			end.send(TypeCall, 2, "/echo", "after")
			end.want(TypeReply, 2, "") // and no REPLY of the stream
		}},
		{"the handler returns after a reset", func(t *testing.T, s *session, end *rawEnd, returns chan error) {
			end.send(TypeCall, 1, "/ends", "", WithAddMeta("X-Stream", "500"))
			end.want(TypeData, -1, "")
			end.send(TypeControl, 1, "credit", "", WithAddMeta("n", "0"))
			end.want(TypeControl, -1, "reset")
			returns <- nil
			synctest.Wait()
			end.send(TypeCall, 2, "/echo", "after")
			end.want(TypeReply, 2, "")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inStreamWorld(t, nil, func(t *testing.T, w *world) {
				returns := make(chan error)
				HandleStream(w.server, "/ends", func(_ StreamCtx, st *Stream[string, string]) error {
					st.Send("h1")
					err := <-returns
					if err == errClosesFirst {
						st.Close()
						err = <-returns
					}
					return err
				})
				s, end := w.rawStreams(WithAddMeta("v", "1"), WithAddMeta("f", "cancel,stream"), WithAddMeta("w", "1000"))
				test.run(t, s, end, returns)
				wantNoStreams(t, s)
			})
		})
	}
}

// A message that must not be received ends its stream alone: one that cannot be read, if it is
// known which it is, and one for which there is no memory.
func TestStreamEndsAlone(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(end *rawEnd)
		code int32
		got  int // messages before it
	}{
		{"it cannot be read", func(end *rawEnd) {
			end.send(TypeData, -1, "", "x")
			end.conn.Write([]byte{0, 0, 0, 11, 0, 0xff, 0xff, 0xff, 0xff, TypeData, testwire.Text}) // nothing behind its number
			synctest.Wait()
		}, CodeBadMessage, 1},
		{"there is no memory", func(end *rawEnd) {
			for range 7 { // beyond 64 KiB they draw 256
				end.send(TypeData, -1, "", strings.Repeat("x", 15<<10))
			}
		}, CodeBusy, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			inStreamWorld(t, func(cfg *PeerConfig) { cfg.ReadMemory, cfg.SessionMemory = 400<<10, 1<<20 }, func(t *testing.T, w *world) {
				s, end := w.rawStreams()
				st := openStream(t, s, "/x")
				end.want(TypeCall, 1, "")
				test.send(end)
				if m := end.want(TypeControl, 1, "reset"); string(m.Meta().Peek("code")) != fmt.Sprint(test.code) {
					t.Errorf("reset with %s; want the code %d", m.Meta(), test.code)
				}
				got := 0
				for _, err := range st.All() {
					if err != nil {
						if Code(err) != test.code {
							t.Errorf("Recv: %v; want %d", err, test.code)
						}
						break
					}
					got++
				}
				if got != test.got {
					t.Errorf("%d messages were received; want %d", got, test.got)
				}
				end.send(TypeCall, 2, "/echo", "after")
				end.want(TypeReply, 2, "")
				wantNoStreams(t, s)
			})
		})
	}
}

var errClosesFirst = errors.New("close the stream, and do not return yet")
