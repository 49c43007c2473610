package tp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// early is a plugin that sends and receives before the reader starts.
type early struct {
	name         string
	dial, accept func(tp.PreSession) *tp.Rerror
}

func (p early) Name() string { return p.name }

func (p early) PostDial(s tp.PreSession) *tp.Rerror {
	if p.dial == nil {
		return nil
	}
	return p.dial(s)
}

func (p early) PostAccept(s tp.PreSession) *tp.Rerror {
	if p.accept == nil {
		return nil
	}
	return p.accept(s)
}

// talk makes two peers whose hooks send and receive, and returns the error of Dial.
func talk(t *testing.T, e *ends, dial, accept func(tp.PreSession) *tp.Rerror) *tp.Rerror {
	t.Helper()
	e.cliPlugin = append(e.cliPlugin, early{"early", dial, nil})
	e.srvPlugin = append(e.srvPlugin, early{"early", nil, accept})
	if e.routes == nil {
		e.routes = func(p tp.Peer) { tp.HandleCall(p, "/echo", echo) }
	}
	e.listen(t)
	var r *tp.Rerror
	e.sess, r = e.cli.Dial(e.addr)
	return r
}

func text(tp.Header) any { return new(string) }

func wrong(format string, args ...any) *tp.Rerror {
	return tp.NewRerror(9999, "wrong", fmt.Sprintf(format, args...))
}

func TestPreSendAndReceive(t *testing.T) {
	j := new(journal)
	e := &ends{srvPlugin: []tp.Plugin{&hooked{name: "S", j: j}}}
	r := talk(t, e, func(s tp.PreSession) *tp.Rerror {
		if r := s.PreSend(tp.TypeAuthCall, "/auth", "password", nil, tp.WithSetMeta("k", "v"), tp.WithXferPipe(testwire.XOR)); r != nil {
			return r
		}
		m := s.PreReceive(text)
		if got := *m.Body().(*string); m.Mtype() != tp.TypeAuthReply || m.Seq() != 1 || got != "welcome" || m.Rerror().HasError() || m.XferPipe().Len() != 1 {
			return wrong("reply is %v", m)
		}
		if r := s.Send("/send", "body", nil, tp.WithMtype(77)); r != nil {
			return r
		}
		m, r := s.Receive(text)
		if r != nil || m.Mtype() != tp.TypeReply || m.Seq() != 2 || m.Rerror() == nil || m.Rerror().Code != 1234 {
			return wrong("Receive gives %v, %v", m, r)
		}
		if r := s.RawPush("/push", "a push"); r != nil {
			return r
		}
		var got string
		sets := 0
		if r := s.PreCall("/pre", "ask", &got, func(tp.Message) { sets++ }); r != nil || got != "answer" || sets != 1 {
			return wrong("PreCall gives %q, %v, and its setting has run %d times; want once", got, r, sets)
		}
		got = "untouched"
		if r := s.PreCall("/pre", "fail", &got); r == nil || r.Code != 1235 || got != "untouched" {
			return wrong("PreCall gives %q, %v", got, r)
		}
		return nil
	}, func(s tp.PreSession) *tp.Rerror {
		m := s.PreReceive(text)
		if m.Rerror() != nil || m.Mtype() != tp.TypeAuthCall || m.ServiceMethod() != "/auth" || *m.Body().(*string) != "password" || m.Meta().String() != "k=v" {
			return wrong("auth call is %v", m)
		}
		if r := s.PreReply(m, "welcome", nil); r != nil {
			return r
		}
		m, r := s.Receive(text)
		if r != nil || m.Mtype() != 77 || m.ServiceMethod() != "/send" || *m.Body().(*string) != "body" {
			return wrong("send is %v, %v", m, r)
		}
		if r := s.PreReply(m, "not sent", tp.NewRerror(1234, "no", "")); r != nil {
			return r
		}
		m = s.PreReceive(text)
		if m.Mtype() != tp.TypePush || m.ServiceMethod() != "/push" || *m.Body().(*string) != "a push" {
			return wrong("push is %v", m)
		}
		m = s.PreReceive(text)
		if r := s.PreReply(m, "answer", nil); r != nil {
			return r
		}
		m = s.PreReceive(text)
		return s.PreReply(m, nil, tp.NewRerror(1235, "no", ""))
	})
	if r != nil {
		t.Fatalf("Dial: %v\n%s", r, strings.Join(e.srvLines.with(), "\n"))
	}
	if r := e.call(t, "/echo", nil, nil); r != nil {
		t.Errorf("afterwards a call gives %v", r)
	}
	for _, line := range j.take() {
		if strings.Contains(line, "ReadCallHeader") {
			return // only the call
		}
		if strings.Contains(line, "Write") || strings.Contains(line, "PostRead") {
			t.Errorf("what the hooks said to each other has run a hook: %s", line)
		}
	}
}

func TestPreReceiveKinds(t *testing.T) {
	steps := make(chan *tp.Rerror, 10)
	r := talk(t, new(ends), func(s tp.PreSession) *tp.Rerror {
		s.Send("/1", "raw", nil)
		s.Send("/2", []byte("{"), nil)
		s.Send("/3", "panic", nil)
		for range 50 {
			s.Send("/filling", strings.Repeat("z", 3000), nil)
		}
		s.Send("/4", "a message that is not read", nil)
		m := s.PreReceive(text)
		return m.Rerror()
	}, func(s tp.PreSession) *tp.Rerror {
		m := s.PreReceive(nil)
		if string(m.RawBody()) != `"raw"` || m.Rerror() != nil {
			return wrong("without NewBody: %v", m)
		}
		kept := m.RawBody()
		m = s.PreReceive(text)
		if m.Rerror() == nil || m.Rerror().Code != tp.CodeBadMessage {
			return wrong("body that does not decode: %v", m.Rerror())
		}
		m, r := s.Receive(func(tp.Header) any { panic("in NewBody") })
		if r == nil || r.Code != tp.CodeBadMessage || !strings.Contains(r.Reason, "in NewBody") {
			return wrong("panic in NewBody: %v %v", m, r)
		}
		for range 50 {
			if m := s.PreReceive(text); m.Rerror() != nil {
				return m.Rerror()
			}
		}
		m = s.PreReceive(func(h tp.Header) any { return nil })
		if m.ServiceMethod() != "/4" || m.Body() != nil || m.Rerror() != nil {
			return wrong("a message without a body to decode: %v", m)
		}
		if string(kept) != `"raw"` {
			return wrong("an earlier body is %q now", kept)
		}
		steps <- s.PreReply(m, nil, nil)
		return nil
	})
	if r != nil {
		t.Fatalf("Dial: %v", r)
	}
	if r := receive(t, "the server's hook", steps); r != nil {
		t.Error(r)
	}
}

func TestPreErrors(t *testing.T) {
	t.Run("message that cannot be packed", func(t *testing.T) {
		r := talk(t, new(ends), func(s tp.PreSession) *tp.Rerror {
			for _, r := range []*tp.Rerror{
				s.Send("/x", stubborn{}, nil),
				s.Send("/x", "", nil, tp.WithBodyCodec(200)),
				s.Send("/x", "", nil, tp.WithXferPipe(99)),
				s.PreCall("/x", stubborn{true}, nil),
			} {
				if r == nil || r.Code != tp.CodeWriteFailed && r.Code != tp.CodeBadMessage {
					return wrong("%v", r)
				}
			}
			return s.Send("/x", "fine", nil)
		}, func(s tp.PreSession) *tp.Rerror { return s.PreReceive(text).Rerror() })
		if r != nil {
			t.Error(r)
		}
	})
	t.Run("reply to another call", func(t *testing.T) {
		r := talk(t, new(ends), func(s tp.PreSession) *tp.Rerror {
			return s.PreCall("/x", nil, nil)
		}, func(s tp.PreSession) *tp.Rerror {
			m := s.PreReceive(nil)
			m.SetSeq(m.Seq() + 7)
			return s.PreReply(m, nil, nil)
		})
		wantRerror(t, "PreCall", r, tp.CodeBadMessage, "expected the REPLY of seq 1")
	})
	t.Run("context ends while receiving", func(t *testing.T) {
		r := talk(t, new(ends), func(s tp.PreSession) *tp.Rerror {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			if r := s.PreReceive(nil, ctx).Rerror(); r == nil || r.Code != tp.CodeHandleTimeout {
				return wrong("PreReceive: %v", r)
			}
			if _, r := s.Receive(nil, tp.WithContext(ctx)); r == nil || r.Code != tp.CodeHandleTimeout {
				return wrong("Receive: %v", r)
			}
			ctx, cancel = context.WithCancel(context.Background())
			cancel()
			if r := s.PreCall("/x", nil, nil, tp.WithContext(ctx)); r == nil || r.Code != tp.CodeCanceled {
				return wrong("PreCall: %v", r)
			}
			s.Send("/go", nil, nil)
			return s.PreReceive(nil).Rerror() // the connection still works
		}, func(s tp.PreSession) *tp.Rerror {
			m := s.PreReceive(nil)
			for m.ServiceMethod() != "/go" {
				m = s.PreReceive(nil)
			}
			return s.PreReply(m, nil, nil)
		})
		if r != nil {
			t.Error(r)
		}
	})
	t.Run("handshake time is over", func(t *testing.T) {
		e := &ends{cliCfg: tp.PeerConfig{HandshakeTimeout: 20 * time.Millisecond}}
		r := talk(t, e, func(s tp.PreSession) *tp.Rerror {
			return s.PreReceive(nil).Rerror()
		}, func(s tp.PreSession) *tp.Rerror { return s.PreReceive(nil).Rerror() })
		wantRerror(t, "Dial", r, tp.CodeDialFailed, "handshake_timeout")
	})
	t.Run("peer hangs up", func(t *testing.T) {
		r := talk(t, new(ends), func(s tp.PreSession) *tp.Rerror {
			return s.PreReceive(nil).Rerror()
		}, func(s tp.PreSession) *tp.Rerror { return tp.NewRerror(401, "", "") })
		wantRerror(t, "Dial", r, tp.CodeConnClosed)
	})
	t.Run("frame over 64 KiB before PostAccept has passed", func(t *testing.T) {
		e := new(ends)
		r := talk(t, e, func(s tp.PreSession) *tp.Rerror {
			s.Send("/x", strings.Repeat("x", 70_000), nil)
			return s.PreReceive(nil).Rerror()
		}, func(s tp.PreSession) *tp.Rerror { return s.PreReceive(nil).Rerror() })
		if r == nil {
			t.Error("the server took it")
		}
		e.srvLines.want(t, "refused", "over the limit of 65536")
	})
}

func TestPreFunctionsElsewhere(t *testing.T) {
	var kept tp.PreSession
	e := new(ends)
	if r := talk(t, e, func(s tp.PreSession) *tp.Rerror { kept = s; return nil }, nil); r != nil {
		t.Fatal(r)
	}
	_, received := kept.Receive(nil)
	for name, r := range map[string]*tp.Rerror{
		"Send":       kept.Send("/x", nil, nil),
		"PreSend":    kept.PreSend(tp.TypePush, "/x", nil, nil),
		"Receive":    received,
		"PreReceive": kept.PreReceive(nil).Rerror(),
		"PreCall":    kept.PreCall("/x", nil, nil),
		"PreReply":   kept.PreReply(tp.GetMessage(), nil, nil),
		"RawPush":    kept.RawPush("/x", nil),
	} {
		wantRerror(t, name+" of a ready session", r, tp.CodeInvalidOp, "Invalid Operation", "Cannot be called during the Non-PostDial and Non-PostAccept phase")
	}
	called := false
	kept.ModifySocket(func(net.Conn) (net.Conn, tp.ProtoFunc) { called = true; return nil, nil })
	if called {
		t.Error("ModifySocket of a ready session calls its function")
	}
	e.cliLines.want(t, "ERROR ModifySocket")
	if r := e.call(t, "/echo", nil, nil); r != nil {
		t.Errorf("the session has suffered: %v", r)
	}
}

func TestCallWhilePreparing(t *testing.T) {
	r := talk(t, new(ends), func(s tp.PreSession) *tp.Rerror {
		sess := s.(tp.Session)
		if r := sess.Call("/echo", nil, nil).Rerror(); r == nil || r.Code != tp.CodeInvalidOp {
			return wrong("Call: %v", r)
		}
		if r := sess.Push("/echo", nil); r == nil || r.Code != tp.CodeInvalidOp {
			return wrong("Push: %v", r)
		}
		if sess.Health() {
			return wrong("it says that it takes calls")
		}
		return nil
	}, nil)
	if r != nil {
		t.Error(r)
	}
}

func TestPreSessionProperties(t *testing.T) {
	e := &ends{cliCfg: tp.PeerConfig{DefaultSessionAge: time.Hour, DefaultContextAge: time.Minute}}
	r := talk(t, e, func(s tp.PreSession) *tp.Rerror {
		if s.Peer() != e.cli || s.SessionAge() != time.Hour || s.ContextAge() != time.Minute || s.GetProtoFunc() == nil ||
			s.ID() != s.LocalAddr().String() || s.RemoteAddr().String() != e.addr {
			return wrong("%v %v %v %v %v", s.SessionAge(), s.ContextAge(), s.ID(), s.LocalAddr(), s.RemoteAddr())
		}
		if e.cli.CountSession() != 0 {
			return wrong("it is counted already")
		}
		s.SetSessionAge(2 * time.Hour)
		s.SetContextAge(-1)
		s.SetID("me")
		s.Swap().Store("k", "v")
		if err := s.ControlFD(func(uintptr) {}); !errors.Is(err, syscall.EINVAL) {
			return wrong("ControlFD in memory: %v", err)
		}
		return nil
	}, nil)
	if r != nil {
		t.Fatal(r)
	}
	if v, _ := e.sess.Swap().Load("k"); v != "v" || e.sess.ID() != "me" || e.sess.SessionAge() != 2*time.Hour || e.sess.ContextAge() != 0 {
		t.Errorf("afterwards: swap %v, id %q, ages %v %v", v, e.sess.ID(), e.sess.SessionAge(), e.sess.ContextAge())
	}
	if s, ok := e.cli.GetSession("me"); !ok || s != e.sess {
		t.Error("it is not found by the id of the hook")
	}
	if s, ok := e.cli.GetSession("nobody"); ok || s != nil {
		t.Errorf("GetSession of nobody gives %v, %v; want nil", s, ok)
	}
}

// redialer implements PostRedial.
type redialer struct {
	early
	redial func(tp.PreSession) *tp.Rerror
}

func (r redialer) PostRedial(s tp.PreSession) *tp.Rerror { return r.redial(s) }

func TestPostRedialReplacesPostDial(t *testing.T) {
	j := new(journal)
	say := func(what string) func(tp.PreSession) *tp.Rerror {
		return func(s tp.PreSession) *tp.Rerror {
			var got string
			r := s.PreCall("/hello", what, &got)
			j.add("%s %s", what, got)
			return r
		}
	}
	e := &ends{
		cliCfg:    tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond},
		cliPlugin: []tp.Plugin{early{"dials", say("a dial"), nil}, redialer{early{"redials", say("b dial"), nil}, say("b redial")}},
	}
	answer := func(s tp.PreSession) *tp.Rerror {
		for range 2 {
			if r := s.PreReply(s.PreReceive(text), "yes", nil); r != nil {
				return r
			}
		}
		return nil
	}
	if r := talk(t, e, nil, answer); r != nil {
		t.Fatal(r)
	}
	wantLines(t, "dial", j.take(), "a dial yes", "b dial yes")
	e.serverSession(t).Close()
	eventually(t, "it redials", func() bool { return j.has("b redial yes") })
	wantLines(t, "redial", j.take(), "a dial yes", "b redial yes")
	if r := e.call(t, "/echo", nil, nil); r != nil {
		t.Errorf("afterwards a call gives %v", r)
	}
}

// A hook that sends to a peer that does not read ends with the handshake's time.
func TestPreSendEndsWithTheHandshake(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close() // it never accepts, nor reads
	send := func(s tp.PreSession) *tp.Rerror {
		for range 64 {
			if r := s.Send("/x", make([]byte, 1<<20), nil); r != nil {
				return r
			}
		}
		return nil
	}
	p := tp.NewPeer(tp.PeerConfig{HandshakeTimeout: 50 * time.Millisecond, Protocol: testwire.New, DefaultBodyCodec: "testjson", Logger: newQuiet(nil)}, early{"early", send, nil})
	defer p.Close()
	s, r := p.Dial(lis.Addr().String())
	if s != nil {
		t.Error("there is a session")
	}
	wantRerror(t, "Dial", r, tp.CodeDialFailed, "handshake_timeout")
}
