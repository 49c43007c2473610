package tp

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// PUSHes to a handler that stands still take no more memory than the session may use:
// the reader pauses, their sender is held up, and in the end all are handled, in order.
func TestBudgetHoldsUpSenderOfPushes(t *testing.T) {
	const n, size = 200, 32 << 10
	inWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory = 1 << 20 }, func(t *testing.T, w *world) {
		var order []string
		HandlePush(w.server, "/standstill", func(_ PushCtx, arg *string) error {
			<-w.gate
			order = append(order, strings.TrimSpace(*arg))
			return nil
		}, Ordered())
		s, end := w.serveRaw(w.server)
		sent := make(chan int, n)
		go func() {
			for i := range n {
				end.start(TypePush, 1, "/standstill", fmt.Sprintf("%*d", size, i))
				if end.sock.WaitFlushed(t.Context()) == nil {
					sent <- i
				}
			}
		}()
		synctest.Wait()
		if got, most := s.work.bytes(), int64(1<<20+2*size); got < 1<<20 || got > most {
			t.Errorf("the PUSHes that wait take %d bytes; want 1 MiB to %d", got, most)
		}
		if len(sent) > n/2 {
			t.Errorf("%d of %d PUSHes were accepted by the network; want their sender held up", len(sent), n)
		}
		if used := w.server.env.memory.Used(); used < 1<<20-drawStep || used > 1<<20+2*drawStep {
			t.Errorf("%d bytes are in the peer's account; want about 1 MiB", used)
		}
		if p := s.currentLink().state.phase(); p != paused {
			t.Errorf("the reader is in phase %d, want paused", p)
		}
		w.release()
		synctest.Wait()
		for i := range n {
			if i >= len(order) || order[i] != fmt.Sprint(i) {
				t.Fatalf("%d PUSHes were handled; want %d, in order: %q", len(order), n, order[:min(i+1, len(order))])
			}
		}
		wantAccountsEmpty(t, s)
	})
}

// Small requests take memory too, for their handlers: however short they are, so many are
// accepted that these have room.
func TestBudgetOfManyHandlers(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory = 1 << 20 }, func(t *testing.T, w *world) {
		const n, most = 400, 1<<20/requestBytes + 1
		HandleCall(w.server, "/standstill", func(_ CallCtx, arg *string) (string, error) {
			if *arg == "" {
				<-w.gate
			}
			return "", nil
		})
		s, end := w.serveRaw(w.server)
		end.send(TypeCall, 1, "/standstill", "now")
		end.receive()
		for i := range int32(n) {
			end.start(TypeCall, i+2, "/standstill", "")
		}
		synctest.Wait()
		if got := s.work.running(); got < most/2 || got > most {
			t.Errorf("%d requests have been accepted; want the reader paused before the %dth", got, most)
		}
		w.release()
		for range n {
			wantRerror(t, end.receive().Rerror(), 0)
		}
		synctest.Wait()
		wantAccountsEmpty(t, s)
	})
}

func wantAccountsEmpty(t *testing.T, s *session) {
	t.Helper()
	if n, used := s.work.word.Load(), s.env.memory.Used(); n != 0 || used != 0 {
		t.Errorf("the workload is %d, and %d bytes are in the peer's account; want 0", n, used)
	}
}

// While a call of this side is pending, its reply must be read: CALLs over the bound are
// refused, and PUSHes are accepted up to twice the bound; then the session ends.
func TestBudgetWhileCallIsPending(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory = 1 << 20 }, func(t *testing.T, w *world) {
		HandlePush(w.server, "/standstill", func(PushCtx, *string) error { <-w.gate; return nil })
		s, end := w.serveRaw(w.server)
		body := strings.Repeat("x", 60<<10)
		for range 30 {
			end.start(TypePush, 1, "/standstill", body)
		}
		synctest.Wait()
		if p := s.currentLink().state.phase(); p != paused {
			t.Fatalf("the reader is in phase %d, want paused", p)
		}
		cmd := s.AsyncCall("/unanswered", "x", new(string), make(chan CallCmd, 1)) // ends the pause
		end.receive()
		end.send(TypeCall, 7, "/echo", "x")
		m := end.receive()
		wantRerror(t, m.Rerror(), CodeBusy, "Busy", "SessionMemory")
		end.send(TypeReply, cmd.(*callCmd).seq, "", "y")
		<-cmd.Done()
		wantRerror(t, cmd.Rerror(), 0)
		s.AsyncCall("/unanswered", "x", new(string), make(chan CallCmd, 1))
		end.receive()
		for range 30 {
			end.start(TypePush, 1, "/standstill", body)
		}
		synctest.Wait()
		wantReason(t, s, SideLocal, errPushes.Error())
		w.release()
		synctest.Wait()
		wantAccountsEmpty(t, s)
	})
}

// A session with an open stream does not pause either, and takes no more for that.
func TestBudgetWhileStreamIsOpen(t *testing.T) {
	inStreamWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory = 1 << 20 }, func(t *testing.T, w *world) {
		HandleCall(w.server, "/standstill", func(CallCtx, *string) (string, error) { <-w.gate; return "", nil })
		HandlePush(w.server, "/standstill", func(PushCtx, *string) error { <-w.gate; return nil })
		s, end := w.rawStreams()
		end.send(TypeCall, 1, "/hold", "", WithAddMeta(MetaStream, "500"))
		body := strings.Repeat("x", 60<<10)
		const n = 30
		for i := range int32(n) {
			end.start(TypeCall, i+2, "/standstill", body)
		}
		synctest.Wait()
		if got, most := s.work.bytes(), int64(1<<20+72<<10); got < 1<<20 || got > most {
			t.Fatalf("the CALLs that have begun take %d bytes; want 1 MiB to %d", got, most)
		}
		if got := w.server.Stats().RefusedCalls; got == 0 {
			t.Error("no CALL was refused")
		}
		for range n {
			end.start(TypePush, 1, "/standstill", body)
		}
		synctest.Wait()
		wantReason(t, s, SideLocal, errPushes.Error())
		w.release()
		synctest.Wait()
		wantAccountsEmpty(t, s)
	})
}

// A route that makes large replies is not asked for more of them than there is memory
// for, however many CALLs have arrived at once.
func TestBudgetOfReplies(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory, cfg.WriteBound = 4<<20, 1<<20 }, func(t *testing.T, w *world) {
		var began int
		reply := strings.Repeat("r", 256<<10)
		HandleCall(w.server, "/large", func(CallCtx, *string) (string, error) { began++; return reply, nil }, Ordered())
		s, end := w.serveRaw(w.server)
		end.send(TypeCall, 1, "/large", "x")
		end.receive()
		for i := range 300 {
			end.start(TypeCall, int32(i+2), "/large", "x")
		}
		synctest.Wait()
		if got := s.work.bytes(); got > 5<<20 {
			t.Errorf("the CALLs and their replies take %d bytes; want at most about 4 MiB", got)
		}
		for range 300 {
			wantRerror(t, end.receive().Rerror(), 0)
		}
		synctest.Wait()
		if began != 301 {
			t.Errorf("%d handlers ran, want 301", began)
		}
		wantAccountsEmpty(t, s)
	})
}

// Large messages of many sessions together stay below ReadMemory, while a session with
// small ones goes on.
func TestBudgetOfPeer(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory, cfg.ReadMemory = 2<<20, 6<<20 }, func(t *testing.T, w *world) {
		HandlePush(w.server, "/standstill", func(PushCtx, *string) error { <-w.gate; return nil })
		body := strings.Repeat("x", 60<<10)
		var all []*session
		for range 6 {
			s, end := w.serveRaw(w.server)
			all = append(all, s)
			go func() {
				for range 40 {
					end.start(TypePush, 1, "/standstill", body)
				}
			}()
		}
		synctest.Wait()
		sum := int64(0)
		for _, s := range all {
			sum += s.work.bytes()
		}
		unused := int64(len(all) * (drawStep + 2*len(body))) // steps that are not full, and frames that arrive
		if sum < 4<<20-unused || sum > 5<<20 {
			t.Errorf("the PUSHes of all sessions take %d bytes; want 4 MiB, two thirds of ReadMemory, without %d at most", sum, unused)
		}
		_, small := w.serveRaw(w.server)
		small.send(TypeCall, 1, "/echo", "x")
		wantRerror(t, small.receive().Rerror(), 0)
		w.release()
		time.Sleep(time.Second)
		synctest.Wait()
		for _, s := range all {
			wantAccountsEmpty(t, s)
		}
	})
}

// A paused reader does not keep its session: it notices that the connection was closed.
func TestBudgetPausedSessionEnds(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory, cfg.CloseTimeout = 1<<20, time.Second }, func(t *testing.T, w *world) {
		HandlePush(w.server, "/standstill", func(PushCtx, *string) error { <-w.gate; return nil })
		s, end := w.serveRaw(w.server)
		for range 20 {
			end.start(TypePush, 1, "/standstill", strings.Repeat("x", 60<<10))
		}
		synctest.Wait()
		began := time.Now()
		s.Close()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("Close took %v", took)
		}
		<-s.CloseNotify()
		w.release()
		synctest.Wait()
		wantAccountsEmpty(t, s)
	})
}

// Each thing that was refused or dropped is counted.
func TestPeerStats(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory, cfg.MaxHandlers = 1<<20, 3 }, func(t *testing.T, w *world) {
		HandlePush(w.server, "/standstill", func(PushCtx, *string) error { <-w.gate; return nil })
		s, end := w.serveRaw(w.server)
		cmd := s.AsyncCall("/unanswered", "x", new(string), make(chan CallCmd, 1)) // so that the reader does not pause
		end.receive()
		for i := range 3 {
			end.send(TypeCall, int32(i+1), "/stuck", "x")
		}
		end.send(TypeCall, 4, "/echo", "x")
		end.send(TypePush, 5, "/note", "x")
		end.send(TypeReply, 4711, "", "x")
		end.send(99, 6, "/note", "x")
		if m := end.receive(); m.Seq() != 4 {
			t.Errorf("received seq %d; want the refusal of 4", m.Seq())
		}
		want := PeerStats{RefusedCalls: 1, DroppedPushes: 1, DroppedReplies: 1, DroppedMessages: 1}
		if got := w.server.Stats(); got != want {
			t.Errorf("Stats() = %+v, want %+v", got, want)
		}
		end.send(TypeReply, cmd.(*callCmd).seq, "", "y")
		<-cmd.Done()
		end.start(TypePush, 8, "/note", "x")
		synctest.Wait()
		end.conn.Close()
		synctest.Wait()
		w.release()
		synctest.Wait()
		got := w.server.Stats()
		want.Pauses, want.UnsentReplies = 1, min(got.UnsentReplies, 3) // a reply may have been in the batch before
		if got != want {
			t.Errorf("Stats() = %+v after the connection has ended, want %+v", got, want)
		}
	})
}

// A reader does not pause for ever: after longestPause it reads, so that it notices when
// the peer has gone, and refuses what is over the bound. The handlers that hold the memory
// learn from their contexts that the connection has ended.
func TestBudgetPauseEnds(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory = 1 << 20 }, func(t *testing.T, w *world) {
		HandlePush(w.server, "/whileconnected", func(c PushCtx, _ *string) error { <-c.Context().Done(); return nil })
		body := strings.Repeat("x", 60<<10)
		refuses, end := w.serveRaw(w.server)
		for range 18 {
			end.start(TypePush, 1, "/whileconnected", body)
		}
		end.start(TypeCall, 2, "/echo", "x")
		synctest.Wait()
		if p := refuses.currentLink().state.phase(); p != paused {
			t.Fatalf("the reader is in phase %d, want paused", p)
		}
		wantRerror(t, end.receive().Rerror(), CodeBusy, "Busy", "SessionMemory")
		end.start(TypeCall, 3, "/echo", "x") // at once: it does not pause again
		before := time.Now()
		wantRerror(t, end.receive().Rerror(), CodeBusy)
		if took := time.Since(before); took > 0 {
			t.Errorf("the second refusal took %v", took)
		}

		gone, end := w.serveRaw(w.server)
		for range 18 {
			end.start(TypePush, 1, "/whileconnected", body)
		}
		synctest.Wait()
		end.conn.Close()
		pass(longestPause + 10*time.Second) // and as long as a session drains
		wantState(t, gone, closed)
		if word := gone.work.word.Load(); word != 0 {
			t.Errorf("the workload is %d after the end, want 0", word)
		}
	})
}

// What is known of the replies of a route comes from those that were sent, not from errors:
// a peer could make as many of these as it likes before it asks for what is large.
func TestBudgetOfRepliesForgetsNothingForErrors(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		HandleCall(w.server, "/large", func(_ CallCtx, arg *string) ([]byte, error) {
			if *arg == "fail" {
				return nil, NewRerror(1234, "failed", "").Err()
			}
			return make([]byte, 1<<20), nil
		})
		_, end := w.serveRaw(w.server)
		seq := int32(0)
		call := func(body string, code int32) {
			seq++
			end.send(TypeCall, seq, "/large", body)
			wantRerror(t, end.receive().Rerror(), code)
			synctest.Wait()
		}
		began := time.Now()
		for range 3 * mostBlind {
			call("fail", 1234)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("%d calls that fail took %v: they have waited for a reply that says how large it is", seq, took)
		}
		h := w.server.env.router.lookup(kindCall, "/large")
		if n := h.replySize.Load(); n != 0 {
			t.Errorf("after errors alone the size of the replies is %d; want 0, unknown", n)
		}
		call("", 0)
		for range 100 {
			call("fail", 1234)
		}
		if n := h.replySize.Load(); n < 1<<20 {
			t.Errorf("after errors the size of the replies is %d; want 1 MiB, as before", n)
		}
	})
}
