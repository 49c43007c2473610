package interop

import (
	"strconv"
	"testing"
	"time"

	"github.com/andeya/erpc/v7"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/auth"
	"github.com/teleport-go/teleport/protos/httproto"
)

// The auth plugins of both libraries, by each protocol. Over http an AUTH_CALL is a
// request without a target.
func TestProtoAuth(t *testing.T) {
	add := func(t *testing.T, from end) {
		sum := 0
		if a := from.call(t, exchange{method: "/math/add", arg: []int{1, 2}, codec: jsonID, result: &sum}); a.code != 0 || sum != 3 {
			t.Errorf("call afterwards: %v, %d", a.fault, sum)
		}
	}
	for _, w := range wires {
		for name, pf := range map[string]tp.ProtoFunc{
			"detects": w.detects, "begins with V7": w.v7, "knows several": tp.AnyProto("raw", "http", "json", "protobuf"),
		} {
			t.Run(w.name+", their bearer, ours "+name, func(t *testing.T) {
				o := newOurs(t, tp.PeerConfig{}, checkerPlugin(token))
				addr := o.listen(t, pf)
				var ret string
				th := newTheirs(t, erpc.PeerConfig{}, theirBearer(token, &ret))
				th.dial(t, addr, w.theirs)
				if ret != welcome {
					t.Errorf("got %q, want %q", ret, welcome)
				}
				add(t, th)
				_, stat := newTheirs(t, erpc.PeerConfig{}, theirBearer("wrong", &ret)).peer.Dial(addr, w.theirs)
				if want := (fault{105, "Dial Failed", refusal.cause}); theirFault(stat) != want {
					t.Errorf("refused: got %v, want %v", theirFault(stat), want)
				}
			})
		}
		t.Run(w.name+", their checker", func(t *testing.T) {
			addr := newTheirs(t, erpc.PeerConfig{}, theirChecker()).listen(t, w.theirs)
			var ret string
			o := newOurs(t, tp.PeerConfig{}, bearerPlugin(token, &ret))
			o.dial(t, addr, w.v7)
			if ret != welcome {
				t.Errorf("got %q, want %q", ret, welcome)
			}
			add(t, o)
			s, r := newOurs(t, tp.PeerConfig{}, bearerPlugin("wrong", &ret)).peer.Dial(addr, w.v7)
			if s != nil || ourFault(r) != refusal {
				t.Errorf("refused: got %v, %v, want %v", s, r, refusal)
			}
		})
	}
}

// A bearer of theirs or of v5 that nobody asks has its answer, and does not wait for it.
func TestProtoAuthUnasked(t *testing.T) {
	const reason = "AUTH_CALL: this peer asks for no authentication, or has finished it"
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			addr := newOurs(t, tp.PeerConfig{}).listen(t, w.detects)
			_, stat := newTheirs(t, erpc.PeerConfig{}, theirBearer(token, new(string))).peer.Dial(addr, w.theirs)
			if want := (fault{105, "Dial Failed", reason}); theirFault(stat) != want {
				t.Errorf("got %v, want %v", theirFault(stat), want)
			}
		})
	}
	const text = `{"code":405,"message":"Message Type Not Allowed","reason":"` + reason + `"}`
	t.Run("v5, raw", func(t *testing.T) {
		c := dialV5(t, listening(t, plain(t), detects))
		c.send(unhex(t, v5Auth))
		c.want(v5Plain("1", 5, "", v5Error(text), 0, ""))
	})
	t.Run("v5, http", func(t *testing.T) {
		c := dialV5(t, newOurs(t, tp.PeerConfig{}).listen(t, httproto.NewHTTProtoFunc()))
		for _, s := range v5Scripts(t) {
			if s.name == "http" {
				c.send([]byte(s.auth))
			}
		}
		c.exactly(v5HTTP("HTTP/1.1 299 Business Error", "Content-Length: "+strconv.Itoa(len(text)), "Content-Type: application/json", "X-Mtype: 5", "X-Seq: 1", text))
	})
}

// A v5 program that is refused reads 299, as after any other error.
func TestV5HTTPRefused(t *testing.T) {
	c := dialV5(t, newOurs(t, tp.PeerConfig{}, checkerPlugin("other")).listen(t, httproto.NewHTTProtoFunc()))
	for _, s := range v5Scripts(t) {
		if s.name == "http" {
			c.send([]byte(s.auth))
		}
	}
	const failure = `{"code":1403,"message":"not you","reason":"k=v 1/é&=%"}`
	c.exactly(v5HTTP("HTTP/1.1 299 Business Error", "Content-Length: 56", "Content-Type: application/json", "X-Mtype: 5", "X-Seq: 1", failure))
	c.end()
}

// Credentials that end, or may be renewed: a peer of v7 sees nothing of that but metadata
// in the AUTH_REPLY, and the end of the session; and it is never asked to renew.
func TestProtoAuthRenewal(t *testing.T) {
	for _, w := range wires {
		t.Run(w.name+", their bearer", func(t *testing.T) {
			t.Parallel() // it waits until the credentials end
			o := newOurs(t, tp.PeerConfig{}, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				r := recv(new(string))
				return auth.Grant{Ret: welcome, Until: time.Now().Add(time.Second)}, r
			}, tp.WithBodyCodec(plainID)))
			addr := o.listen(t, w.detects)
			var ret string
			th := newTheirs(t, erpc.PeerConfig{}, theirBearer(token, &ret))
			for range 2 {
				if th.dial(t, addr, w.theirs); ret != welcome {
					t.Errorf("got %q, want %q", ret, welcome)
				}
				ret = ""
				receive(t, "the end of their session", th.over())
			}
		})
		t.Run(w.name+", their checker", func(t *testing.T) {
			addr := newTheirs(t, erpc.PeerConfig{}, theirChecker()).listen(t, w.theirs)
			o := newOurs(t, tp.PeerConfig{}, bearerPlugin(token, new(string)))
			o.dial(t, addr, w.v7)
			if r := auth.Renew(t.Context(), o.sess); r == nil || r.Code != tp.CodeMtypeNotAllowed {
				t.Errorf("Renew: %s; want 405", r)
			}
			sum := 0
			if a := o.call(t, exchange{method: "/math/add", arg: []int{1, 2}, codec: jsonID, result: &sum}); a.code != 0 || sum != 3 {
				t.Errorf("call afterwards: %v, %d", a.fault, sum)
			}
		})
	}
}
