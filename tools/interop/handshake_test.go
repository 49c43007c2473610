package interop

import (
	"testing"

	"github.com/andeya/erpc/v7"
	"github.com/andeya/erpc/v7/plugin/auth"
	"github.com/andeya/erpc/v7/plugin/heartbeat"

	tp "github.com/teleport-go/teleport/core"
)

const token, welcome = "tok 1/é", "pass"

var refusal = fault{1403, "not you", "k=v 1/é&=%"}

// ourBearer is what an auth plugin of ours says on a fresh connection.
func ourBearer(token string, ret *string) hook {
	return hook{postDial: func(s tp.PreSession) *tp.Rerror {
		if r := s.PreSend(tp.TypeAuthCall, "", token, nil, tp.WithBodyCodec(plainID)); r != nil {
			return r
		}
		m := s.PreReceive(func(h tp.Header) any { return ret })
		if r := m.Rerror(); r != nil {
			return r
		}
		if m.Mtype() != tp.TypeAuthReply {
			return tp.NewRerror(tp.CodeUnauthorized, "no AUTH_REPLY", tp.TypeText(m.Mtype()))
		}
		return nil
	}}
}

// ourChecker is the other side of it.
func ourChecker() hook { return ourCheckerOf(token) }

func ourCheckerOf(token string) hook {
	return hook{postAccept: func(s tp.PreSession) *tp.Rerror {
		var got string
		m := s.PreReceive(func(h tp.Header) any { return &got })
		if r := m.Rerror(); r != nil {
			return r
		}
		var refused *tp.Rerror
		switch {
		case m.Mtype() != tp.TypeAuthCall:
			refused = tp.NewRerror(tp.CodeUnauthorized, "no AUTH_CALL", tp.TypeText(m.Mtype()))
		case got != token:
			refused = tp.NewRerror(refusal.code, refusal.message, refusal.cause)
		}
		if r := s.PreSend(tp.TypeAuthReply, "", welcome, refused, tp.WithBodyCodec(plainID)); r != nil {
			return r
		}
		return refused
	}}
}

func theirBearer(token string, ret *string) erpc.Plugin {
	return auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *erpc.Status {
		return send(token, ret)
	}, erpc.WithBodyCodec(plainID))
}

func theirChecker() erpc.Plugin {
	return auth.NewCheckerPlugin(func(_ auth.Session, receive auth.RecvOnce) (any, *erpc.Status) {
		var got string
		if stat := receive(&got); !stat.OK() {
			return nil, stat
		}
		if got != token {
			return nil, erpc.NewStatus(refusal.code, refusal.message, refusal.cause)
		}
		return welcome, nil
	}, erpc.WithBodyCodec(plainID))
}

func TestAuth(t *testing.T) {
	for _, w := range wirings {
		t.Run(w.name, func(t *testing.T) {
			var ret string
			o := newOurs(t, tp.PeerConfig{}, hook{ourBearer(token, &ret).postDial, ourChecker().postAccept})
			th := newTheirs(t, erpc.PeerConfig{}, theirBearer(token, &ret), theirChecker())
			w.join(t, o, th)
			if ret != welcome {
				t.Errorf("got %q, want %q", ret, welcome)
			}
		})
	}
	t.Run("theirs is refused", func(t *testing.T) {
		var ret string
		o := newOurs(t, tp.PeerConfig{}, ourChecker())
		th := newTheirs(t, erpc.PeerConfig{}, theirBearer("wrong", &ret))
		_, stat := th.peer.Dial(o.listen(t, detects))
		// eRPC's Dial keeps the cause alone of what its plugin says.
		if want := (fault{105, "Dial Failed", refusal.cause}); theirFault(stat) != want {
			t.Errorf("got %v, want %v", theirFault(stat), want)
		}
	})
	t.Run("ours is refused", func(t *testing.T) {
		var ret string
		o := newOurs(t, tp.PeerConfig{}, ourBearer("wrong", &ret))
		th := newTheirs(t, erpc.PeerConfig{}, theirChecker())
		s, r := o.peer.Dial(th.listen(t), v7)
		if s != nil || ourFault(r) != refusal {
			t.Errorf("got %v, %v, want %v", s, r, refusal)
		}
	})
	t.Run("theirs calls before it has shown anything", func(t *testing.T) {
		o := newOurs(t, tp.PeerConfig{}, ourChecker())
		th := newTheirs(t, erpc.PeerConfig{})
		th.dial(t, o.listen(t, detects))
		closed(t, "call", th.call(t, exchange{method: "/math/add", arg: []int{1}}).fault)
	})
	t.Run("ours calls before it has shown anything", func(t *testing.T) {
		o := newOurs(t, tp.PeerConfig{})
		th := newTheirs(t, erpc.PeerConfig{}, theirChecker())
		o.dial(t, th.listen(t))
		want := fault{400, "Bad Message", "the reply is of type 5 (AUTH_REPLY)"}
		if got := o.call(t, exchange{method: "/math/add", arg: []int{1}}).fault; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// A CALL and its REPLY on a fresh connection.
func TestPreCall(t *testing.T) {
	t.Run("theirs to ours", func(t *testing.T) {
		reply := 0
		o := newOurs(t, tp.PeerConfig{}, hook{postAccept: func(s tp.PreSession) *tp.Rerror {
			var arg []int
			m := s.PreReceive(func(tp.Header) any { return &arg })
			if r := m.Rerror(); r != nil {
				return r
			}
			return s.PreReply(m, len(arg), nil)
		}})
		th := newTheirs(t, erpc.PeerConfig{}, theirHook{postDial: func(s erpc.PreSession) *erpc.Status {
			return s.PreCall("/pre", []int{7, 7, 7}, &reply, erpc.WithXferPipe(md5ID))
		}})
		wirings[0].join(t, o, th)
		if reply != 3 {
			t.Errorf("got %d, want 3", reply)
		}
	})
	t.Run("ours to theirs", func(t *testing.T) {
		reply := 0
		o := newOurs(t, tp.PeerConfig{}, hook{postDial: func(s tp.PreSession) *tp.Rerror {
			return s.PreCall("/pre", []int{7, 7, 7}, &reply, tp.WithXferPipe(md5ID))
		}})
		th := newTheirs(t, erpc.PeerConfig{}, theirHook{postAccept: func(s erpc.PreSession) *erpc.Status {
			var arg []int
			m := s.PreReceive(func(erpc.Header) any { return &arg })
			if !m.StatusOK() {
				return m.Status()
			}
			return s.PreReply(m, len(arg), nil)
		}})
		o.dial(t, th.listen(t))
		if reply != 3 {
			t.Errorf("got %d, want 3", reply)
		}
	})
	t.Run("ours to theirs, refused", func(t *testing.T) {
		o := newOurs(t, tp.PeerConfig{}, hook{postDial: func(s tp.PreSession) *tp.Rerror {
			return s.PreCall("/pre", nil, new(int))
		}})
		th := newTheirs(t, erpc.PeerConfig{}, theirHook{postAccept: func(s erpc.PreSession) *erpc.Status {
			stat := erpc.NewStatus(refusal.code, refusal.message, refusal.cause)
			s.PreReply(s.PreReceive(func(erpc.Header) any { return nil }), nil, stat)
			return stat
		}})
		if _, r := o.peer.Dial(th.listen(t), v7); ourFault(r) != refusal {
			t.Errorf("got %v, want %v", r, refusal)
		}
	})
}

// Heartbeats are a CALL or a PUSH of "/heartbeat" with the rate as metadata.
func TestHeartbeat(t *testing.T) {
	beat := func(t *testing.T, from end) {
		x := exchange{method: "/heartbeat", result: new(any), meta: []pair{{"hb_", "often"}}}
		if a, want := from.call(t, x), (fault{400, "invalid heartbeat rate", "often"}); a.fault != want {
			t.Errorf("got %v, want %v", a.fault, want)
		}
		x.meta = []pair{{"hb_", "3"}}
		if a := from.call(t, x); a.code != 0 {
			t.Error("call:", a.fault)
		}
		if f := from.push(x); f.code != 0 {
			t.Error("push:", f)
		}
		if a := from.call(t, x); a.code != 0 {
			t.Error("call after the push:", a.fault)
		}
	}
	t.Run("theirs to ours", func(t *testing.T) {
		o, th := wirings[0].connect(t)
		beat(t, th)
		if rate := receive(t, "push", o.beats); rate != "3" {
			t.Errorf("pushed rate %q, want 3", rate)
		}
	})
	t.Run("ours to theirs", func(t *testing.T) {
		o, th := newOurs(t, tp.PeerConfig{}), newTheirs(t, erpc.PeerConfig{}, heartbeat.NewPong())
		wirings[2].join(t, o, th)
		beat(t, o)
	})
}
