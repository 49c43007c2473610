package tp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

// CopyStream passes codec, metadata and bytes of each message on, and takes one only when the
// other stream has credit: until then it is in the account of the stream on which it came. The
// end needs none.
func TestCopyStream(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		type pair struct {
			from, to *stream
			err      error
		}
		made, done := make(chan *pair, 1), make(chan *pair, 1)
		HandleStream(w.server, "/relay", func(ctx StreamCtx, s *Stream[[]byte, []byte]) error {
			to, err := OpenStream[[]byte, []byte](ctx.Context(), ctx.Session(), "/far")
			if err != nil {
				return err
			}
			p := &pair{from: s.st, to: to.st}
			made <- p
			p.err = CopyStream(to, s)
			done <- p
			return p.err
		})
		s, end := w.rawStreams() // the other side takes 1,000 bytes of a stream at first
		end.send(TypeCall, 1, "/relay", "", WithAddMeta(MetaStream, "500"))
		p := <-made
		seq := end.want(TypeCall, p.to.key, "").Seq()
		for i := range 3 {
			end.send(TypeData, 1, "", fmt.Sprint(i, strings.Repeat("x", 599)), WithBodyCodec(200), WithAddMeta("k", "1"), WithAddMeta("k", "2"))
		}
		got := func(i int) {
			t.Helper()
			m := end.want(TypeData, seq, "")
			if body := fmt.Sprint(i, strings.Repeat("x", 599)); m.BodyCodec() != 200 || string(m.RawBody()) != body || m.Meta().String() != "k=1&k=2" {
				t.Errorf("message %d: codec %d, metadata %s, body %.20q; want 200, k=1&k=2, %.20q", i, m.BodyCodec(), m.Meta(), m.RawBody(), body)
			}
		}
		got(0)
		got(1)
		synctest.Wait()
		if p.from.received != 2 || len(p.from.queue)+len(p.from.taken)-p.from.next != 1 {
			t.Errorf("CopyStream has received %d messages without credit for more than 2", p.from.received)
		}
		end.send(TypeControl, -seq, "credit", "", WithAddMeta("n", "700"), WithAddMeta("m", "2"))
		got(2)
		end.send(TypeControl, 1, "end", "", WithAddMeta("m", "3"), WithAddMeta("k", "v"))
		if m := end.want(TypeControl, seq, "end"); m.Meta().String() != "k=v&m=3" {
			t.Errorf("end has the metadata %s; want that it came with, and 3 messages", m.Meta())
		}
		if <-done; p.err != nil {
			t.Errorf("CopyStream: %v", p.err)
		}
		end.want(TypeReply, 1, "")
		wantNoStreams(t, s)
	})
}

// What ends a stream ends CopyStream: without an error what ends Recv with io.EOF.
func TestCopyStreamEnds(t *testing.T) {
	for _, test := range []struct {
		name, from, to string
		err            error // of CopyStream; nil: none
		half           bool  // CloseSend was called on the second stream
	}{
		{"the handler behind the first returns", "/count?n=3", "/hold", nil, false},
		{"it calls CloseSend", "/half", "/hold", nil, true},
		{"it fails", "/failing?why=x", "/hold", NewRerror(1234, "", "").Err(), false},
		{"there is none", "/nowhere", "/hold", ErrNotFound, false},
		{"the handler behind the second fails", "/endless", "/failing?why=x", NewRerror(1234, "", "").Err(), false},
		{"it returns", "/endless", "/count?n=1", ErrStreamEnded, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inStreamWorld(t, nil, func(t *testing.T, w *world) {
				HandleStream(w.server, "/half", func(ctx StreamCtx, s *Stream[string, string]) error {
					s.CloseSend()
					<-ctx.Context().Done()
					return nil
				})
				HandleStream(w.server, "/endless", func(ctx StreamCtx, s *Stream[string, string]) error {
					for s.Send("x") == nil {
					}
					return nil
				})
				c, s := w.pair()
				from, err1 := OpenStream[[]byte, []byte](t.Context(), c, test.from)
				to, err2 := OpenStream[[]byte, []byte](t.Context(), c, test.to)
				if err1 != nil || err2 != nil {
					t.Fatal(err1, err2)
				}
				if err := CopyStream(to, from); !errors.Is(err, test.err) || err == io.EOF {
					t.Errorf("CopyStream: %v; want %v", err, test.err)
				}
				to.st.mu.Lock()
				half := to.st.sendDone
				to.st.mu.Unlock()
				if half != test.half {
					t.Errorf("CloseSend was called: %t; want %t", half, test.half)
				}
				from.Close()
				to.Close()
				synctest.Wait()
				wantNoStreams(t, c, s)
			})
		})
	}
}

// The end of the context of the first stream ends CopyStream also while the second takes
// nothing: its own context goes on.
func TestCopyStreamContextEnds(t *testing.T) {
	inStreamWorld(t, func(cfg *PeerConfig) { cfg.StreamWindow = 100 }, func(t *testing.T, w *world) {
		done := make(chan error, 1)
		HandleStream(w.server, "/copy", func(ctx StreamCtx, s *Stream[[]byte, []byte]) error {
			to, err := OpenStream[[]byte, []byte](context.Background(), ctx.Session(), "/hold")
			if err != nil {
				done <- err
				return err
			}
			done <- CopyStream(to, s)
			return to.Close()
		})
		c, s := w.pair()
		ctx, cancel := context.WithCancel(t.Context())
		from, err := OpenStream[[]byte, []byte](ctx, c, "/copy")
		if err == nil {
			err = from.Send(make([]byte, 100)) // all that the second one takes
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case err := <-done:
			if Code(err) != CodeCanceled {
				t.Errorf("CopyStream: %v; want 499", err)
			}
		default:
			t.Error("CopyStream waits, and nobody sends any more")
		}
		c.Close()
		s.Close()
	})
}

// The hooks of both streams see what is copied, and can change and refuse it.
func TestCopyStreamHooks(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendLeft(&PluginImpl{
			PluginName: "marks",
			OnPostReadData: func(ctx ReadCtx) *Rerror {
				if string(ctx.Input().RawBody()) == "2" {
					return NewRerror(7, "refused", "")
				}
				ctx.Input().UnmarshalBody(append([]byte("read "), ctx.Input().RawBody()...))
				ctx.Input().Meta().Set("read", "yes")
				return nil
			},
			OnPreWriteData: func(ctx WriteCtx) *Rerror {
				ctx.Output().SetBody(append([]byte("written "), ctx.Output().Body().([]byte)...))
				ctx.Output().Meta().Set("written", "yes")
				return nil
			},
		})
		HandleStream(w.server, "/show", func(ctx StreamCtx, s *Stream[string, string]) error {
			for v, err := range s.All() {
				if err != nil {
					return err
				}
				w.log.add("%s", *v)
			}
			return nil
		})
		c, _ := w.pair()
		from, err1 := OpenStream[[]byte, []byte](t.Context(), c, "/count?n=3")
		to, err2 := OpenStream[[]byte, []byte](t.Context(), c, "/show")
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if err := CopyStream(to, from); Code(err) != 7 {
			t.Errorf("CopyStream: %v; want the error of the hook", err)
		}
		synctest.Wait()
		w.log.want(t, "written read 0", "written read 1")
	})
}

// Streams without a route have a handler of their own, beside that of CALLs.
func TestSetUnknownStream(t *testing.T) {
	for _, test := range []struct {
		name  string
		calls bool
		set   bool
		code  int32
	}{
		{"a handler", false, true, 0},
		{"beside one of CALLs", true, true, 0},
		{"one of CALLs alone", true, false, CodeNotImplemented},
		{"none", false, false, CodeNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			inStreamWorld(t, nil, func(t *testing.T, w *world) {
				if test.calls {
					w.server.SetUnknownCall(func(UnknownCallCtx) (any, *Rerror) { return "called", nil })
				}
				if test.set {
					SetUnknownStream(w.server.SubRoute("/group"), func(ctx StreamCtx, s *Stream[[]byte, []byte]) error {
						return s.Send([]byte(ctx.ServiceMethod()))
					})
				}
				c, _ := w.pair()
				if test.code == 0 {
					wantMessages(t, openStream(t, c, "/nowhere?x=y"), io.EOF, "/nowhere?x=y")
				} else {
					wantMessages(t, openStream(t, c, "/nowhere"), NewRerror(test.code, "", "").Err())
				}
				wantMessages(t, openStream(t, c, "/count?n=1"), io.EOF, "0")
				var got string
				code := CodeNotFound
				if test.calls {
					code = CodeNoError
				}
				if r := c.Call("/nowhere", "x", &got).Rerror(); r.HasError() && r.Code != code || !r.HasError() && code != CodeNoError {
					t.Errorf("a call: %s; want code %d", r, code)
				}
				var names []string
				for h := range w.server.Handlers() {
					if h.IsUnknown() {
						names = append(names, fmt.Sprint(h.RouterTypeName(), " ", h.IsStream(), " ", h.ArgElemType()))
					}
				}
				want := []string{}
				if test.calls {
					want = append(want, "UNKNOWN_CALL false <nil>")
				}
				if test.set {
					want = append(want, "UNKNOWN_STREAM true <nil>")
				}
				if fmt.Sprint(names) != fmt.Sprint(want) {
					t.Errorf("the unknown handlers are %q; want %q", names, want)
				}
			})
		})
	}
}
