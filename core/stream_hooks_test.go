package tp

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
)

// The hooks of DATA see each message, on both sides, in both directions, and can change and
// refuse it; those of a CALL run once for the stream.
func TestStreamHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var exchanges journal // those of both sides, which end in any order
		plugin := func(name string) *PluginImpl {
			return &PluginImpl{
				PluginName: name,
				OnPreWriteData: func(ctx WriteCtx) *Rerror {
					if ctx.Output().Body() == "refuse" {
						return NewRerror(1, "no", "")
					}
					ctx.Output().Meta().Set("from", name)
					w.log.add("%s writes %s of %s", name, ctx.Output().Body(), ctx.(*dataCtx).ServiceMethod())
					return nil
				},
				OnPostReadData: func(ctx ReadCtx) *Rerror {
					in := ctx.Input()
					w.log.add("%s reads %s of %s from %s, swap %d", name, in.RawBody(), ctx.Path(), ctx.PeekMeta("from"), ctx.Swap().Len())
					if string(in.RawBody()) == "bad" {
						return NewRerror(2, "bad", "")
					}
					in.UnmarshalBody(bytes.ToUpper(in.RawBody()))
					return nil
				},
				OnPostExchange: func(ctx PreCtx, r *Rerror) { exchanges.add("%s has exchanged: %d", name, r.Code) },
			}
		}
		w.server, w.client = w.peer(nil, plugin("server")), w.peer(nil, plugin("client"))
		w.addr = w.listen(w.server)
		w.routeStreams(w.server)
		c, _ := w.pair()
		st := openStream(t, c, "/chat?x=y")
		if err := st.Send("refuse"); Code(err) != 1 {
			t.Errorf("Send: %v", err)
		}
		st.Send("one")
		v, err := st.Recv()
		if err != nil || *v != "RE: ONE" {
			t.Errorf("Recv = %v, %v", v, err)
		}
		st.Send("bad")
		wantMessages(t, st, NewRerror(2, "", "").Err())
		synctest.Wait()
		w.log.want(t, "client writes one of /chat?x=y", "server reads one of /chat from client, swap 0",
			"server writes re: ONE of /chat?x=y", "client reads re: ONE of /chat from server, swap 0",
			"client writes bad of /chat?x=y", "server reads bad of /chat from client, swap 0",
			"chat: 2 bad")
		exchanges.wantAnyOrder(t, "server has exchanged: 2", "client has exchanged: 2")
	})
}

// Filters of the CALL are those of the messages, and count nothing in credit.
func TestStreamFilters(t *testing.T) {
	inStreamWorld(t, func(cfg *PeerConfig) { cfg.StreamWindow = 2000 }, func(t *testing.T, w *world) {
		c, s := w.pair()
		st := openStream(t, c, "/chat", WithXferPipe(253)) // hex
		var want []string
		go func() {
			for i := range 200 {
				st.Send(fmt.Sprint(i))
			}
			st.CloseSend()
		}()
		for i := range 200 {
			want = append(want, fmt.Sprint("re: ", i))
		}
		wantMessages(t, st, io.EOF, want...)
		wantNoStreams(t, c, s)
	})
}

// Each side may end its half first, with messages under way.
func TestStreamHalfCloses(t *testing.T) {
	// o: the opener, h: the handler; s: sends, c: CloseSend, e: receives the end, r: receives a message
	for _, order := range []string{"oc he hc oe", "hc oe oc he", "oc hs or he hc oe", "hc oe os hr oc he", "oc oc he hs hs or or hc hc oe", "hs os hc oc or hr oe he", "os hc hr oe os hr oc he"} {
		t.Run(order, func(t *testing.T) {
			inStreamWorld(t, nil, func(t *testing.T, w *world) {
				steps := make(chan byte)
				did := make(chan string)
				do := func(s *Stream[string, string], what byte) string {
					switch what {
					case 's':
						return fmt.Sprint("sent ", s.Send("x"))
					case 'c':
						return fmt.Sprint("closed ", s.CloseSend())
					default:
						v, err := s.Recv()
						return fmt.Sprint("received ", v != nil, " ", err)
					}
				}
				HandleStream(w.server, "/steps", func(ctx StreamCtx, s *Stream[string, string]) error {
					for what := range steps {
						did <- do(s, what)
					}
					return nil
				})
				c, s := w.pair()
				st := openStream(t, c, "/steps")
				for _, step := range strings.Fields(order) {
					want := map[byte]string{'s': "sent <nil>", 'c': "closed <nil>", 'e': "received false EOF", 'r': "received true <nil>"}[step[1]]
					got := ""
					if step[0] == 'o' {
						got = do(st, step[1])
					} else {
						steps <- step[1]
						got = <-did
					}
					if got != want {
						t.Errorf("%s: %s; want %s", step, got, want)
					}
				}
				close(steps)
				if err := st.Wait(); err != nil {
					t.Errorf("Wait: %v", err)
				}
				wantNoStreams(t, c, s)
			})
		})
	}
}

// Bytes go over a stream as through a pipe, whatever the size of writes and reads.
func TestStreamReaderWriter(t *testing.T) {
	for _, window := range []int64{100, 256 << 10} {
		inStreamWorld(t, func(cfg *PeerConfig) { cfg.StreamWindow = window }, func(t *testing.T, w *world) {
			HandleStream(w.server, "/sum", func(ctx StreamCtx, s *Stream[[]byte, []byte]) error {
				h := sha256.New()
				if _, err := io.Copy(h, StreamReader(s)); err != nil {
					return err
				}
				return s.Send(h.Sum(nil))
			})
			HandleStream(w.server, "/mirror", func(ctx StreamCtx, s *Stream[[]byte, []byte]) error {
				_, err := io.Copy(StreamWriter(s), StreamReader(s))
				return err
			})
			c, s := w.pair()
			rng := rand.New(rand.NewPCG(1, 2))
			data := make([]byte, 1<<20)
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			st, err := OpenStream[[]byte, []byte](t.Context(), c, "/sum")
			if err != nil {
				t.Fatal(err)
			}
			out := StreamWriter(st)
			for rest := data; len(rest) > 0; {
				n := min(len(rest), rng.IntN(100_000))
				if k, err := out.Write(rest[:n]); k != n || err != nil {
					t.Fatalf("Write = %d, %v", k, err)
				}
				rest = rest[n:]
			}
			out.Close()
			want := sha256.Sum256(data)
			if got, err := st.Recv(); err != nil || !bytes.Equal(*got, want[:]) {
				t.Errorf("the sum is %x, %v; want %x", got, err, want)
			}

			if st, err = OpenStream[[]byte, []byte](t.Context(), c, "/mirror"); err != nil {
				t.Fatal(err)
			}
			go func() {
				out := StreamWriter(st)
				out.Write(data)
				out.Close()
			}()
			var back []byte
			buf := make([]byte, 3000)
			in := StreamReader(st)
			for {
				n, err := in.Read(buf[:1+rng.IntN(len(buf)-1)])
				back = append(back, buf[:n]...)
				if err != nil {
					if err != io.EOF {
						t.Errorf("Read: %v", err)
					}
					break
				}
			}
			if !bytes.Equal(back, data) {
				t.Errorf("%d bytes came back, others than the %d that were sent", len(back), len(data))
			}
			in.Close()
			wantNoStreams(t, c, s)
		})
	}
}

// Acked counts messages that the other side's program has received, and no others.
func TestStreamAcked(t *testing.T) {
	inStreamWorld(t, func(cfg *PeerConfig) { cfg.StreamWindow = 1000 }, func(t *testing.T, w *world) {
		c, _ := w.pair()
		take := make(chan struct{})
		HandleStream(w.server, "/slow", func(ctx StreamCtx, s *Stream[string, string]) error {
			for range take {
				s.Recv()
			}
			return nil
		})
		st := openStream(t, c, "/slow")
		for range 9 {
			st.Send(strings.Repeat("x", 100-dataOverhead))
		}
		for n := range 8 {
			if n > 0 {
				take <- struct{}{}
			}
			synctest.Wait()
			if got := st.Acked(); got != n/5*5 { // credit comes for half of the window
				t.Errorf("%d messages received: Acked is %d", n, got)
			}
		}
		close(take)
		if err := st.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// The memory of RecvInto serves all messages of a stream.
func TestStreamRecvInto(t *testing.T) {
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		st := openStream(t, c, "/count?n=3")
		var v string
		for i := range 3 {
			if err := st.RecvInto(&v); err != nil || v != fmt.Sprint(i) {
				t.Errorf("message %d: %q, %v", i, v, err)
			}
		}
		if err := st.RecvInto(&v); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	})
}

// The hooks of the end run once, behind the messages, and can refuse it.
func TestStreamEndHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		number := func(ctx any) int64 { return ctx.(DataCtx).Number() }
		plugin := func(name string) *PluginImpl {
			return &PluginImpl{
				PluginName: name,
				OnPreWriteData: func(ctx WriteCtx) *Rerror {
					w.log.add("%s writes %d", name, number(ctx))
					if ctx.Output().Body() == "refuse" {
						return NewRerror(1, "no", "")
					}
					return nil
				},
				OnPostReadData: func(ctx ReadCtx) *Rerror {
					w.log.add("%s reads %d", name, number(ctx))
					return nil
				},
				OnPreWriteEnd: func(ctx WriteCtx) *Rerror {
					w.log.add("%s ends behind %d of %s", name, number(ctx), ctx.(*dataCtx).Path())
					ctx.Output().Meta().Add("by", name)
					ctx.Output().Meta().Add("by", "é")
					return nil
				},
				OnPostReadEnd: func(ctx ReadCtx) *Rerror {
					w.log.add("%s has read %d, and %s", name, number(ctx), ctx.CopyMeta())
					if ctx.Path() == "/count" || name == "server" {
						return nil
					}
					return NewRerror(7, "refused", "")
				},
			}
		}
		w.server, w.client = w.peer(nil, plugin("server")), w.peer(nil, plugin("client"))
		w.addr = w.listen(w.server)
		w.routeStreams(w.server)
		HandleStream(w.server, "/half", func(ctx StreamCtx, s *Stream[string, string]) error {
			s.CloseSend()
			for _, err := range s.All() {
				if err != nil {
					return err
				}
			}
			return nil
		})
		c, _ := w.pair()
		st := openStream(t, c, "/half")
		for range 2 {
			if _, err := st.Recv(); Code(err) != 7 {
				t.Errorf("Recv: %v; want the error of the hook", err)
			}
		}
		w.log.want(t, "server ends behind 0 of /half", "client has read 0, and by=server&by=%C3%A9")
		for _, text := range []string{"one", "refuse", "two"} {
			st.Send(text)
			synctest.Wait() // else the hooks of both sides run at once
		}
		if err := st.CloseSend(); err != nil {
			t.Error(err)
		}
		st.CloseSend() // again does nothing
		if err := st.Wait(); err != nil {
			t.Error(err)
		}
		w.log.want(t, "client writes 1", "server reads 1", "client writes 2", "client writes 2", "server reads 2",
			"client ends behind 2 of /half", "server has read 2, and by=client&by=%C3%A9")
		wantMessages(t, openStream(t, c, "/count?n=0"), io.EOF)
		w.log.want(t) // that is the end of the handler
	})
}

// The end of the messages may carry 1 KiB, on either side, and is passed on as it is.
func TestStreamEndSize(t *testing.T) {
	const fits = 1024 - 32 - 1 // of a key of one byte
	inStreamWorld(t, nil, func(t *testing.T, w *world) {
		size := fits + 1
		w.client.PluginContainer().AppendLeft(&PluginImpl{PluginName: "large", OnPreWriteEnd: func(ctx WriteCtx) *Rerror {
			ctx.Output().Meta().Add("k", strings.Repeat("v", size))
			return nil
		}})
		w.server.PluginContainer().AppendLeft(&PluginImpl{PluginName: "shows", OnPostReadEnd: func(ctx ReadCtx) *Rerror {
			w.log.add("%d bytes, key m %q", len(ctx.PeekMeta("k")), ctx.PeekMeta("m"))
			return nil
		}})
		c, _ := w.pair()
		st := openStream(t, c, "/chat")
		if err := st.CloseSend(); Code(err) != CodeWriteFailed || !strings.Contains(err.Error(), "has 1025 bytes of metadata") {
			t.Errorf("CloseSend: %v; want an error 104", err)
		}
		size = fits
		if err := st.CloseSend(); err != nil {
			t.Errorf("CloseSend: %v", err)
		}
		wantMessages(t, st, io.EOF)
		w.log.want(t, fmt.Sprintf(`%d bytes, key m ""`, fits))

		_, end := w.rawStreams()
		end.send(TypeCall, 1, "/hold", "", WithAddMeta("X-Stream", "500"))
		end.send(TypeControl, 1, "end", "", WithAddMeta("m", "0"), WithAddMeta("k", strings.Repeat("v", fits+1)))
		m := end.want(TypeControl, -1, "reset")
		if reason := string(m.Meta().Peek("reason")); !strings.Contains(reason, "has 1025 bytes of metadata") {
			t.Errorf("reset: %s", reason)
		}
	})
}
