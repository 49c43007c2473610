package tp

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/socket"
)

// stream opens a stream on s, in a walk of TestModelWalks, and sends and receives at random.
// What comes back are the messages sent, in order and without a gap, whatever happens.
func (k *walk) stream(s *session, set []MessageSetting) {
	rng := rand.New(rand.NewPCG(k.rng.Uint64(), 2))
	k.ops.Go(func() {
		ctx, _ := contextOf(rng)
		st, err := OpenStream[string, string](ctx, s, "/mirror", set...)
		if err != nil {
			return
		}
		if rng.IntN(2) == 0 {
			defer st.Close()
		}
		n := rng.IntN(200)
		k.ops.Go(func() {
			for i := range n {
				text := strconv.Itoa(i)
				if rng.IntN(10) == 0 {
					text += string(make([]byte, rng.IntN(20_000)))
				}
				if st.Send(text) != nil {
					return
				}
				if i%50 == 0 {
					time.Sleep(time.Duration(i) * time.Millisecond)
				}
			}
			st.CloseSend()
		})
		for i := 0; ; i++ {
			v, err := st.Recv()
			if k.corrupted.Load() { // the bytes of a message may be another's
				if err != nil {
					return
				}
				continue
			}
			if errors.Is(err, io.EOF) && i != n {
				k.wrong("a stream of %d messages ended after %d", n, i)
			}
			if err != nil {
				return
			}
			var got int
			if fmt.Sscan(*v, &got); got != i {
				k.wrong("message %d of a stream is %d", i, got)
			}
		}
	})
}

func (k *walk) routeStreams(p *peer) {
	HandleStream(p, "/mirror", func(ctx StreamCtx, s *Stream[string, string]) error {
		k.mu.Lock()
		k.contexts = append(k.contexts, ctx.Context())
		k.mu.Unlock()
		for v, err := range s.All() {
			if err != nil {
				return err
			}
			if err := s.Send(*v); err != nil {
				return err
			}
		}
		return nil
	})
}

// The credit of a sender, and what its receiver counts, agree: the sender has never more
// credit than the receiver has room for, and never waits for ever. The model is the sender,
// which sends what it may as soon as it may.
func TestStreamCreditModel(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			w := newWorld(t, memnet.Buffer(1<<20))
			w.open(func(cfg *PeerConfig) { cfg.StreamWindow = 1 + rng.Int64N(50_000) })
			take := make(chan int)
			var received int
			HandleStream(w.server, "/take", func(ctx StreamCtx, s *Stream[[]byte, string]) error {
				for n := range take {
					for range n {
						if _, err := s.Recv(); err != nil {
							return err
						}
						received++
					}
				}
				return nil
			})
			s, end := w.rawStreams()
			first := min(s.env.cfg.StreamWindow, firstWindow)
			end.send(TypeCall, 1, "/take", "", WithAddMeta("X-Stream", "1"))
			st := s.currentLink().stream(-1)
			credit, sent, acked := first, 0, 0
			for range 100 {
				if rng.IntN(2) == 0 && credit > 0 {
					n := rng.IntN(3000)
					if rng.IntN(20) == 0 {
						n = rng.IntN(200_000)
					}
					end.send(TypeData, 1, "", string(make([]byte, n)))
					credit -= int64(n) + dataOverhead
					sent++
				} else if sent > received {
					take <- 1 + rng.IntN(sent-received)
					synctest.Wait()
				}
				for m := end.tryNext(); m != nil; m = end.tryNext() {
					if m.Mtype() != TypeControl || m.ServiceMethod() == verbHello {
						continue
					}
					if m.ServiceMethod() != verbCredit || m.Seq() != -1 {
						t.Fatalf("seed %d: received %s %q of %d", seed, TypeText(m.Mtype()), m.ServiceMethod(), m.Seq())
					}
					n, _ := strconv.ParseInt(string(m.Meta().Peek("n")), 10, 64)
					credit += n
					acked, _ = strconv.Atoi(string(m.Meta().Peek("m")))
				}
				switch {
				case credit > s.env.cfg.StreamWindow:
					t.Fatalf("seed %d: %d bytes of credit in a window of %d", seed, credit, s.env.cfg.StreamWindow)
				case credit != st.granted-st.spent:
					t.Fatalf("seed %d: %d bytes of credit; the receiver counts %d", seed, credit, st.granted-st.spent)
				case credit <= 0 && received == sent:
					t.Fatalf("seed %d: no credit, and all was received", seed)
				case acked > received:
					t.Fatalf("seed %d: %d messages acknowledged of %d", seed, acked, received)
				}
			}
			close(take)
			synctest.Wait()
			wantNoStreams(t, s)
		})
	}
}

// tryNext reads a message if one has come.
func (e *rawEnd) tryNext() *socket.Envelope {
	e.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	defer e.conn.SetReadDeadline(time.Time{})
	m, err := e.next()
	if err != nil {
		return nil
	}
	return m
}

// FuzzData sends messages of streams, and CONTROL about them, to a session with an open
// stream in each direction. Whatever they say, the session serves on, and nothing is left.
func FuzzData(f *testing.F) {
	for _, verb := range []string{"", "end", "credit", "reset", "cancel"} {
		for _, meta := range []string{"", "n=1", "n=2147483647", "n=-1&m=-1", "n=0", "n=5&m=9223372036854775807", "code=0", "code=x&reason=y", "code=-2147483648"} {
			for _, seq := range []int32{1, -1, 0, 2} {
				f.Add(verb, seq, meta, uint16(3))
			}
		}
		f.Add(verb, int32(1), "", uint16(65535))
	}
	f.Fuzz(func(t *testing.T, verb string, seq int32, meta string, size uint16) {
		inStreamWorld(t, nil, func(t *testing.T, w *world) {
			s, end := w.rawStreams()
			end.send(TypeCall, 1, "/hold", "", WithAddMeta("X-Stream", "1000"))
			mine := openStream(t, s, "/x")
			synctest.Wait()
			var m socket.Envelope
			m.SetMtype(TypeControl)
			m.SetServiceMethod(verb)
			m.SetSeq(seq)
			m.Meta().Parse(meta)
			if verb == verbHello || verb == verbBye {
				return // FuzzControl has them
			}
			for range 3 {
				if verb == "" {
					end.send(TypeData, seq, "", string(make([]byte, size)), func(d Message) { d.Meta().Parse(meta) })
				} else {
					s.currentLink().acceptControl(&m)
				}
			}
			mine.Close()
			end.send(TypeControl, 1, "cancel", "")
			end.send(TypeCall, 2, "/echo", "after")
			for m := end.receive(); m.Seq() != 2 || m.Mtype() != TypeReply; m = end.receive() {
			}
			wantNoStreams(t, s)
			if n := s.env.memory.Used(); n != 0 {
				t.Errorf("%d bytes of memory are in use", n)
			}
		})
	})
}
