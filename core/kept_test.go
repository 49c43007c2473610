package tp

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// This file tests requests that arrive while a hook waits for the reply of its PreCall.

// eager is a plugin of the server that pushes as soon as it has a connection.
var eager = &PluginImpl{PluginName: "eager", OnPostAccept: func(s PreSession) *Rerror {
	for i := range 5 {
		if r := s.RawPush("/ordered", fmt.Sprint(i)); r != nil {
			return r
		}
	}
	return nil
}}

// asks is a plugin of the client that makes a PreCall on each connection.
func asks(log *journal) Plugin {
	ask := func(s PreSession) *Rerror {
		var got string
		r := s.PreCall("/echo", "token", &got)
		log.add("asked: %s", got)
		return r
	}
	return &PluginImpl{PluginName: "asks", OnPostDial: ask, OnPostRedial: ask}
}

var askedAndPushed = []string{"asked: token", "ordered 0", "ordered 1", "ordered 2", "ordered 3", "ordered 4"}

func TestPreCallKeepsWhatIsNotItsOwn(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendLeft(eager)
		w.client.PluginContainer().AppendLeft(asks(&w.log))
		c := w.dial()
		synctest.Wait()
		w.log.want(t, askedAndPushed...)
		for range 30 {
			pass(shortLife) // so that the next attempt is made soon
			mem(c).Cut()
			pass(time.Second)
			wantReady(t, c)
			w.log.want(t, askedAndPushed...)
		}
		wantReply(t, c.Call("/echo", "after", new(string)), "after")
	})
}

// A connection that would be parked at once, were nothing kept.
func TestPreCallKeepsWhatIsNotItsOwnTCP(t *testing.T) {
	testwire.Register()
	var log journal
	open := func(plugin Plugin) *peer {
		p := NewPeer(PeerConfig{LocalIP: "127.0.0.1", DefaultBodyCodec: "testtext", Protocol: testwire.New,
			Logger: slog.New(slog.DiscardHandler)}, plugin).(*peer)
		t.Cleanup(func() { p.Close() })
		HandleCall(p, "/echo", func(_ CallCtx, arg *string) (string, error) { return *arg, nil })
		HandlePush(p, "/ordered", func(_ PushCtx, arg *string) error { log.add("ordered %s", *arg); return nil }, Ordered())
		return p
	}
	srv, cli := open(eager), open(asks(&log))
	if err := srv.Listen(); err != nil {
		t.Fatal(err)
	}
	c, r := cli.Dial(srv.Addrs()[0].String())
	if r != nil {
		t.Fatal(r)
	}
	soon(t, "the pushes are handled", func() bool { return log.len() == len(askedAndPushed) })
	log.want(t, askedAndPushed...)
	wantReply(t, c.Call("/echo", "after", new(string)), "after")
}

// asking serves a connection whose PostAccept makes a call, and returns its two ends.
func asking(t *testing.T, w *world, reads *atomic.Int32, then func(PreSession, *Rerror)) (<-chan outcome[Session], *rawEnd) {
	p := w.peer(nil, &PluginImpl{PluginName: "asks", OnPostAccept: func(s PreSession) *Rerror {
		var got string
		r := s.PreCall("/who", "are you", &got)
		w.log.add("it is %s", got)
		if then != nil {
			then(s, r)
		}
		return r
	}, OnPreReadHeader: func(PreCtx) error { reads.Add(1); return nil }})
	a, b := memnet.Pipe()
	end := newRawEnd(t, b)
	return begin(func() Session { return p.ServeConn(a) }), end
}

func TestPreCallKeepsCallsAndPushes(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		var reads atomic.Int32
		served, end := asking(t, w, &reads, func(s PreSession, _ *Rerror) { // a second one, while something is kept
			var got string
			s.PreCall("/and", "you", &got)
			w.log.add("and %s", got)
		})
		ask := end.receive()
		end.send(TypePush, 1, "/ordered", "first")
		end.send(TypeCall, 2, "/echo", "hello")
		end.send(TypeReply, ask.Seq(), "", "me")
		ask = end.receive()
		end.send(TypePush, 3, "/ordered", "second")
		w.log.want(t, "it is me") // nothing is handled before the session is ready
		end.send(TypeReply, ask.Seq(), "", "she")
		if s := ended(t, served).v; s == nil {
			t.Fatal("ServeConn refused")
		}
		if m := end.receive(); m.Mtype() != TypeReply || m.Seq() != 2 || string(m.RawBody()) != "hello" {
			t.Errorf("the kept call is answered by %v; want the echo", m)
		}
		end.send(TypePush, 4, "/ordered", "third")
		w.log.want(t, "and she", "ordered first", "ordered second", "ordered third")
		if n := reads.Load(); n != 5 { // the last one is for a message that has not come
			t.Errorf("PreReadHeader ran %d times for 4 messages; want once before each", n)
		}
	})
}

func TestPreCallKeepsNoMoreThanAMessage(t *testing.T) {
	for _, test := range []struct {
		name        string
		size, count int
		refused     bool
	}{
		{"one as large as may be", int(preparingLimit) - 100, 1, false},
		{"two that are too much", int(preparingLimit) / 2, 2, true},
		{"many small ones", 1, 100, false},
		{"too many small ones", 1, 200, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				var said atomic.Pointer[Rerror]
				served, end := asking(t, w, new(atomic.Int32), func(_ PreSession, r *Rerror) { said.Store(r) })
				ask := end.receive()
				body := strings.Repeat("x", test.size)
				for i := range test.count {
					if said.Load() == nil {
						end.send(TypePush, int32(i), "/stucknote", body)
					}
				}
				if !test.refused {
					end.send(TypeReply, ask.Seq(), "", "me")
				}
				pass(2 * time.Second) // a side that refuses waits a moment for the other
				s := ended(t, served).v
				if (s == nil) != test.refused {
					t.Errorf("the session is %v; want it refused: %v", s, test.refused)
				}
				if test.refused {
					wantRerror(t, said.Load(), CodeBadMessage, fmt.Sprint(preparingLimit), "before the reply")
				}
				w.release()
			})
		})
	}
}
