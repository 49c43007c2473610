package tp

import (
	"context"
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/poison"
)

// headHook calls Context before the header of the message is known.
type headHook struct {
	PluginImpl
	ask func(PreCtx)
}

func (h *headHook) PreReadHeader(c PreCtx) error { h.ask(c); return nil }

func TestReviewContextThatWasAskedForEarlyGetsItsDeadline(t *testing.T) {
	for _, test := range []struct {
		name      string
		age, left time.Duration // ContextAge and X-Timeout; 0: none
		want      time.Duration
	}{
		{"caller's", 0, time.Second, time.Second},
		{"age", 2 * time.Second, 0, 2 * time.Second},
		{"the earlier, of the caller", 2 * time.Second, time.Second, time.Second},
		{"the earlier, of age", time.Second, 2 * time.Second, time.Second},
		{"none", 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(cfg *PeerConfig) { cfg.DefaultContextAge = test.age }, func(t *testing.T, w *world) {
				var early context.Context
				hook := &headHook{PluginImpl{PluginName: "early"}, func(c PreCtx) {
					if early == nil { // of the first message
						early = c.Context()
					}
				}}
				w.server.PluginContainer().AppendLeft(hook)
				var late context.Context
				HandleCall(w.server, "/ask", func(c CallCtx, _ *string) (string, error) {
					late = c.Context()
					if test.want > 0 {
						select {
						case <-late.Done():
						case <-w.gate:
						}
						w.log.add("%v", late.Err())
					}
					return "", nil
				})
				_, end := w.serveRaw(w.server)
				var set []MessageSetting
				if test.left > 0 {
					set = append(set, func(m Message) { setTimeout(m.Meta(), test.left) })
				}
				start := time.Now()
				end.send(TypeCall, 1, "/ask", "", set...)
				at, ok := late.Deadline()
				if ok != (test.want > 0) || ok && at.Sub(start).Round(50*time.Millisecond) != test.want {
					t.Errorf("deadline in %v, %v; want %v", at.Sub(start), ok, test.want)
				}
				if test.want > 0 {
					pass(test.want + 20*time.Millisecond)
					w.log.want(t, context.DeadlineExceeded.Error())
				}
				synctest.Wait()
				if early.Err() == nil || late.Err() == nil {
					t.Errorf("contexts end with %v, %v; want both ended with the handler", early.Err(), late.Err())
				}
			})
		})
	}
}

// After AsyncCall has returned arg is the caller's again, while redialling too.
func TestReviewWaitingCallLeavesItsArgumentAlone(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.RedialTimes = -1 }, func(t *testing.T, w *world) {
		HandleCall(w.server, "/size", func(_ CallCtx, arg *[]byte) ([]byte, error) { return (*arg)[:1], nil })
		c, _ := w.pair()
		mem(c).Cut()
		synctest.Wait()
		arg := make([]byte, 20<<10)
		var got []byte
		cmd := c.AsyncCall("/size", &arg, &got, nil)
		stop := make(chan struct{})
		changed := begin(func() int {
			for n := 0; ; n++ {
				arg = make([]byte, 10) // not ordered after anything that the engine does
				select {
				case <-stop:
					return n
				case <-time.After(time.Millisecond):
				}
			}
		})
		<-cmd.Done()
		close(stop)
		ended(t, changed)
		wantRerror(t, cmd.Rerror(), 0)
	})
}

// A hook may read the message that has been sent while the reply arrives.
func TestReviewPostWriteCallLooksAtWhatWasSent(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendLeft(&PluginImpl{PluginName: "reader", OnPostWriteCall: func(c WriteCtx) *Rerror {
			time.Sleep(time.Millisecond) // the reply is handled meanwhile; nothing orders the two
			if got := c.Output().UriObject().Query().Get("a"); got != "1" {
				t.Errorf("query a is %q; want 1", got)
			}
			return nil
		}})
		c, _ := w.pair()
		wantReply(t, c.Call("/echo?a=1", "x", new(string)), "x")
	})
}

// TLS and PostAccept share one HandshakeTimeout.
func TestReviewHandshakeTimeoutCoversAll(t *testing.T) {
	config := GenerateTLSConfigForServer() // outside the bubble, whose clock is another
	inWorld(t, func(cfg *PeerConfig) { cfg.HandshakeTimeout = 10 * time.Second }, func(t *testing.T, w *world) {
		p := w.peer(func(cfg *PeerConfig) { cfg.HandshakeTimeout = 10 * time.Second }, &PluginImpl{PluginName: "patient",
			OnPostAccept: func(s PreSession) *Rerror {
				_, r := s.Receive(nil)
				w.log.add("%s", r)
				return r
			}})
		if err := p.SetTLSConfig(config); err != nil {
			t.Fatal(err)
		}
		conn, err := w.net.Dial(t.Context(), w.listen(p))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		pass(6 * time.Second)
		if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(3 * time.Second)
		if n := w.log.len(); n != 0 {
			t.Errorf("over after 9 s; want 10 s")
		}
		pass(2 * time.Second)
		if n := w.log.len(); n != 1 {
			t.Errorf("not over after 11 s; want 10 s for all")
		}
	})
}

// Poison mode does not scribble over values that the handler owns.
func TestReviewKeptBodySurvivesPoison(t *testing.T) {
	defer poison.Switch()()
	inWorld(t, nil, func(t *testing.T, w *world) {
		var kept []byte
		w.server.SetUnknownPush(func(c UnknownPushCtx) *Rerror { kept = c.InputBodyBytes(); return nil })
		_, end := w.serveRaw(w.server)
		end.send(TypePush, 1, "/nowhere", "keep me")
		if string(kept) != "keep me" {
			t.Errorf("the kept body is %q; want what was sent", kept)
		}
	})
}
