package tp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
)

// pushes reads what a peer that did not read has got: the numbers of the PUSHes, in order,
// and the methods of other messages.
func (e *rawEnd) pushes() (got []string) {
	for {
		e.conn.SetReadDeadline(time.Now().Add(time.Second))
		m, err := e.read()
		if err != nil {
			e.conn.SetReadDeadline(time.Time{})
			return got
		}
		if m.Mtype() != TypePush {
			got = append(got, TypeText(m.Mtype())+m.ServiceMethod())
			continue
		}
		number, _, _ := strings.Cut(string(m.RawBody()), " ")
		got = append(got, number)
	}
}

// A peer does not read: each policy, however it was chosen, does what its name says, and
// none but PushWait waits.
func TestPushPolicies(t *testing.T) {
	const size, n, bound = 10 << 10, 60, 200 << 10
	body := func(i int) string { return fmt.Sprintf("%d %*s", i, size, "") }
	for _, test := range []struct {
		policy  PushPolicy
		dropped uint64
		check   func(t *testing.T, s *session, errs []*Rerror, got []string)
	}{
		{PushFail, 41, func(t *testing.T, _ *session, errs []*Rerror, got []string) {
			wantRerror(t, errs[n-1], CodeWriteFailed, "bytes wait to be written", "WriteBound")
			if err := errs[n-1].Err(); !errors.Is(err, ErrQueueFull) || !errors.Is(err, ErrNotRun) {
				t.Errorf("the error %v is not ErrQueueFull and ErrNotRun", err)
			}
			for i, r := range errs {
				if (r == nil) != (i < len(got)) {
					t.Errorf("push %d: %s; the peer has got the first %d", i, r, len(got))
				}
			}
		}},
		{PushDropNewest, 41, func(t *testing.T, _ *session, _ []*Rerror, got []string) {
			if last := got[len(got)-1]; last != fmt.Sprint(len(got)-1) {
				t.Errorf("the peer has got %q; want the first %d", got, len(got))
			}
		}},
		{PushDropOldest, 42, func(t *testing.T, _ *session, _ []*Rerror, got []string) {
			if got[0] != "0" || got[len(got)-1] != fmt.Sprint(n-1) {
				t.Errorf("the peer has got %q; want the first, and the newest", got)
			}
		}},
		{PushLatest, 52, func(t *testing.T, _ *session, _ []*Rerror, got []string) {
			if got[0] != "0" || got[len(got)-1] != fmt.Sprint(n-1) || len(got) != n-52 {
				t.Errorf("the peer has got %q; want the first, and the newest alone", got)
			}
		}},
		{PushDisconnect, 1, func(t *testing.T, s *session, errs []*Rerror, _ []string) {
			wantState(t, s, closed)
			wantReason(t, s, SideLocal, "disconnect")
			wantRerror(t, errs[n-1], CodeConnClosed, "slow reader")
			if !errors.Is(s.CloseReason(), ErrQueueFull) {
				t.Errorf("the reason %v does not wrap ErrQueueFull", s.CloseReason())
			}
		}},
	} {
		for _, by := range []string{"peer", "session", "message"} {
			t.Run(fmt.Sprintf("%s, of the %s", test.policy, by), func(t *testing.T) {
				inWorld(t, func(cfg *PeerConfig) {
					cfg.WriteBound, cfg.WriteTimeout = bound, time.Hour
					if cfg.PushPolicy = PushDisconnect; by == "peer" {
						cfg.PushPolicy = test.policy
					}
				}, func(t *testing.T, w *world) {
					s, end := w.serveRaw(w.server, memnet.Buffer(1<<10))
					var set []MessageSetting
					switch by {
					case "session":
						if err := s.SetPushPolicy(test.policy); err != nil {
							t.Fatal(err)
						}
					case "message":
						s.SetPushPolicy(PushFail)
						set = append(set, WithPushPolicy(test.policy))
					}
					began := time.Now()
					var errs []*Rerror
					for i := range n {
						errs = append(errs, s.Push("/tick", body(i), set...))
						synctest.Wait()
						if q := s.Queue(); q.Bytes > bound+size {
							t.Fatalf("%d bytes are queued, the bound is %d", q.Bytes, bound)
						}
					}
					if took := time.Since(began); took > 0 {
						t.Errorf("the pushes have waited for %v", took)
					}
					var got []string
					if test.policy != PushDisconnect {
						for i, r := range errs {
							if r != nil && test.policy != PushFail {
								t.Errorf("push %d: %s", i, r)
							}
						}
						pass(time.Minute)
						q := s.Queue()
						if got = end.pushes(); q.Messages != len(got) || q.Age != time.Minute {
							t.Errorf("Queue() is %+v; %d messages waited for a minute", q, len(got))
						}
						if q.Dropped != n-uint64(len(got)) {
							t.Errorf("Queue() has dropped %d of %d, and the peer has got %d", q.Dropped, n, len(got))
						}
						synctest.Wait()
						if q := s.Queue(); q.Messages+q.Bytes > 0 || q.Age != 0 {
							t.Errorf("Queue() is %+v after all was read", q)
						}
					}
					test.check(t, s, errs, got)
					if d := s.Queue().Dropped; d < test.dropped-1 || test.policy != PushDisconnect && d > test.dropped+1 || d != w.server.Stats().UnsentPushes {
						t.Errorf("%d PUSHes were dropped or refused, of the peer %d; want about %d", d, w.server.Stats().UnsentPushes, test.dropped)
					}
				})
			})
		}
	}
}

// PushWait waits, until its context ends, and loses nothing.
func TestPushWaits(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.WriteBound, cfg.WriteTimeout = 50<<10, time.Hour }, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server, memnet.Buffer(1<<10))
		s.SetPushPolicy(PushFail)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		sent := 0
		for r := (*Rerror)(nil); r == nil; sent++ {
			r = s.Push("/tick", fmt.Sprintf("%d %*s", sent, 10<<10, ""), WithPushPolicy(PushWait), WithContext(ctx))
			if r != nil {
				wantRerror(t, r, CodeHandleTimeout)
				break
			}
		}
		if got := end.pushes(); len(got) != sent {
			t.Errorf("the peer has got %d of %d", len(got), sent)
		}
		if d := s.Queue().Dropped; d != 0 {
			t.Errorf("%d were dropped", d)
		}
	})
}

// CALLs and replies are never dropped, and stay in order with PUSHes that are.
func TestPushPolicyIsForPushes(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) {
		cfg.WriteBound, cfg.WriteTimeout, cfg.PushPolicy = 100<<10, time.Hour, PushDropOldest
	}, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server, memnet.Buffer(1<<10))
		push := func(from, n int) {
			for i := range n {
				if r := s.Push("/tick", fmt.Sprintf("%d %*s", from+i, 10<<10, "")); r != nil {
					t.Fatal(r)
				}
			}
			synctest.Wait()
		}
		push(0, 20)
		for range 3 {
			go s.Call("/later", strings.Repeat("c", 10<<10), new(string), WithPushPolicy(PushDropNewest)) // waits for room
			synctest.Wait()
		}
		end.start(TypeCall, 1, "/echo", strings.Repeat("r", 10<<10))
		synctest.Wait()
		push(100, 20)
		got := strings.Join(end.pushes(), " ")
		if strings.Count(got, "CALL/later") != 3 || strings.Count(got, "REPLY") != 1 {
			t.Errorf("the peer has got %s; want three CALLs and a REPLY", got)
		}
		if last := strings.LastIndex(got, "CALL/later"); !strings.HasSuffix(got, " 119") || strings.Contains(got[:last], " 1") && strings.Index(got, " 119") < last {
			t.Errorf("the peer has got %s; want the last PUSH last", got)
		}
		s.Close()
	})
}

// A session that redials, or is being prepared, or has ended, refuses a PUSH that does not
// wait.
func TestPushPolicyWithoutConnection(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		c, _ := w.pair()
		c.SetPushPolicy(PushLatest)
		w.server.Close()
		pass(time.Second)
		if c.cur.Load() != nil {
			t.Fatal("the session has a connection; want it redialling")
		}
		r := c.Push("/note", "x")
		wantRerror(t, r, CodeConnClosed, "no connection at present", "the policy wait")
		if !errors.Is(r.Err(), ErrNotRun) || c.Queue().Dropped != 1 {
			t.Errorf("%v, %+v; want ErrNotRun, and one that was refused", r.Err(), c.Queue())
		}
		c.Close()
		wantRerror(t, c.Push("/note", "x"), CodeConnClosed)
	})
}

func TestPushPolicyThatIsNone(t *testing.T) {
	if _, err := Open(PeerConfig{PushPolicy: "drop"}); err == nil || !containsAll(err.Error(), "push_policy", `"drop"`, "drop-newest") {
		t.Errorf("Open: %v; want an error that names the field and the policies", err)
	}
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		if err := c.SetPushPolicy("drop"); err == nil || !containsAll(err.Error(), `"drop"`, "drop-newest") {
			t.Errorf("SetPushPolicy: %v", err)
		}
		wantRerror(t, c.Push("/note", "x", WithPushPolicy("drop")), CodeWriteFailed, "no push policy", "drop-newest")
		if err := c.SetPushPolicy(""); err != nil || c.policy() != PushWait {
			t.Errorf(`SetPushPolicy(""): %v, the policy is %s`, err, c.policy())
		}
	})
}

// Messages with PushLatest and different keys do not take each other's place; without a key
// that is the method.
func TestPushKeys(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.WriteTimeout, cfg.PushPolicy = time.Hour, PushLatest }, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server, memnet.Buffer(1<<10))
		s.Push("/first", strings.Repeat("x", 100<<10))
		for i := range 5 {
			s.Push("/price", fmt.Sprintf("EUR%d", i), WithPushKey("EUR"))
			s.Push("/price", fmt.Sprintf("USD%d", i), WithPushKey("USD"))
			s.Push("/news", fmt.Sprintf("news%d", i))
		}
		if got := fmt.Sprint(end.pushes()[1:]); got != "[EUR4 USD4 news4]" {
			t.Errorf("the peer has got %s", got)
		}
	})
}
