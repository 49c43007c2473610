package interop

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/andeya/erpc/v7"
	theirheart "github.com/andeya/erpc/v7/plugin/heartbeat"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/auth"
	"github.com/teleport-go/teleport/plugins/heartbeat"
)

// The same in v7's words.
const (
	v7Auth      = "0000001700013104000006636f64653d30000073746f6b"
	v7AuthReply = "0000001800013105000006636f64653d3000007370617373"
	v7Beat      = "00000023000131010a2f6865617274626561740006636f64653d30000568625f3d336a"
	v7BeatReply = "0000001800013102000006636f64653d3000006a6e756c6c"
)

func bearerPlugin(token string, ret *string) tp.Plugin {
	return auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror {
		return send(token, ret)
	}, tp.WithBodyCodec(plainID))
}

func checkerPlugin(token string) tp.Plugin {
	return auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
		var got string
		if r := recv(&got); r != nil {
			return nil, r
		}
		if got != token {
			return nil, tp.NewRerror(refusal.code, refusal.message, refusal.cause)
		}
		return welcome, nil
	}, tp.WithBodyCodec(plainID))
}

// plain is a peer of ours that has no routes but its plugins'.
func plain(t testing.TB, plugin ...tp.Plugin) tp.Peer {
	p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"}, plugin...)
	t.Cleanup(func() { within(t, "close our peer", func() { p.Close() }) })
	return p
}

func listening(t testing.TB, p tp.Peer, pf tp.ProtoFunc) (addr string) {
	t.Helper()
	if err := p.Listen(pf); err != nil {
		t.Fatal(err)
	}
	return p.Addrs()[0].String()
}

// Bytes of either age come, and bytes of that age answer them.
func TestPluginsAccept(t *testing.T) {
	for _, age := range []struct {
		name                        string
		auth, welcome, beat, beatOK string
		pfs                         map[string]tp.ProtoFunc
	}{
		{"v5", v5Auth, v5AuthReply, v5Beat, v5BeatReply, map[string]tp.ProtoFunc{"detects": detects, "V5": v5, "V7": v7}},
		{"v7", v7Auth, v7AuthReply, v7Beat, v7BeatReply, map[string]tp.ProtoFunc{"detects": detects, "V7": v7}},
	} {
		for name, pf := range age.pfs {
			t.Run(age.name+", ours "+name, func(t *testing.T) {
				addr := listening(t, plain(t, checkerPlugin("tok"), heartbeat.NewPong()), pf)
				c := dialV5(t, addr)
				c.send(unhex(t, age.auth))
				wantBytes(t, c, age.welcome)
				c.send(unhex(t, age.beat))
				wantBytes(t, c, age.beatOK)
			})
		}
	}
	t.Run("v5 is refused", func(t *testing.T) {
		addr := listening(t, plain(t, checkerPlugin("tok")), detects)
		c := dialV5(t, addr)
		c.send(v5Plain("1", 4, "", "", plainID, "wrong"))
		c.want(v5Plain("1", 5, "", v5Error(`{"code":1403,"message":"not you","reason":"k=v 1/é&=%"}`), 0, ""))
		c.end()

		c = dialV5(t, addr)
		c.send(unhex(t, v5Push))
		c.want(v5Plain("1", 5, "", v5Error(`{"code":401,"message":"Unauthorized","reason":"auth message(1st) expect: AUTH_CALL, but received: PUSH"}`), 0, ""))
		c.end()

		c = dialV5(t, addr)
		c.send(unhex(t, v5Call))
		c.want(v5Plain("1", 2, "", v5Error(`{"code":401,"message":"Unauthorized","reason":"auth message(1st) expect: AUTH_CALL, but received: CALL"}`), 0, ""))
		c.end()
	})
}

// wantBytes reads as many bytes as are wanted.
func wantBytes(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want)/2)
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("got %x, %v; want %s", got[:n], err, want)
	}
	if hex.EncodeToString(got) != want {
		t.Fatalf("got  %x\nwant %s", got, want)
	}
}

// Ours dials; the sequence number of the beat is behind that of the AUTH_CALL.
func TestPluginsDial(t *testing.T) {
	for _, age := range []struct {
		name, auth, welcome, beat string
		pf                        tp.ProtoFunc
	}{{"v5", v5Auth, v5AuthReply, v5Beat, v5}, {"v7", v7Auth, v7AuthReply, v7Beat, v7}} {
		t.Run(age.name, func(t *testing.T) {
			t.Parallel()
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			for _, plugin := range []string{"auth", "beat"} {
				ret := ""
				p := bearerPlugin("tok", &ret)
				if plugin == "beat" {
					p = heartbeat.NewPingEvery(2001*time.Millisecond, true) // told as 3 s
				}
				cli := plain(t, p)
				dialled := make(chan string, 1)
				go func() {
					_, r := cli.Dial(lis.Addr().String(), age.pf)
					dialled <- fmt.Sprint(r)
				}()
				conn, err := lis.Accept()
				if err != nil {
					t.Fatal(err)
				}
				c := newV5Conn(t, conn)
				if plugin == "auth" {
					wantBytes(t, c, age.auth)
					c.send(unhex(t, age.welcome))
				}
				if r := receive(t, "Dial", dialled); r != "<nil>" {
					t.Fatal(r)
				}
				if plugin == "auth" && ret != "pass" {
					t.Errorf("got %q", ret)
				}
				if plugin == "beat" {
					wantBytes(t, c, age.beat)
				}
				c.Close()
			}
		})
	}
}

// The plugins of eRPC and ours get on with each other.
func TestPluginsOfBoth(t *testing.T) {
	t.Run("their bearer", func(t *testing.T) {
		addr := listening(t, plain(t, checkerPlugin(token)), detects)
		var ret string
		th := newTheirs(t, erpc.PeerConfig{}, theirBearer(token, &ret))
		th.dial(t, addr)
		if ret != welcome {
			t.Errorf("got %q", ret)
		}
		_, stat := newTheirs(t, erpc.PeerConfig{}, theirBearer("wrong", &ret)).peer.Dial(addr)
		if want := (fault{105, "Dial Failed", refusal.cause}); theirFault(stat) != want {
			t.Errorf("got %v, want %v", theirFault(stat), want)
		}
	})
	t.Run("their checker", func(t *testing.T) {
		addr := newTheirs(t, erpc.PeerConfig{}, theirChecker()).listen(t)
		var ret string
		if _, r := plain(t, bearerPlugin(token, &ret)).Dial(addr, v7); r != nil || ret != welcome {
			t.Errorf("got %v, %q", r, ret)
		}
		if s, r := plain(t, bearerPlugin("wrong", &ret)).Dial(addr, v7); s != nil || ourFault(r) != refusal {
			t.Errorf("got %v, %v, want %v", s, r, refusal)
		}
	})
	t.Run("their ping", func(t *testing.T) {
		t.Parallel()
		heard := newBeats()
		srv := plain(t, heartbeat.NewPong(), heard)
		answered := answers{make(chan string, 1024)}
		newTheirs(t, erpc.PeerConfig{}, theirheart.NewPing(3, true), answered).dial(t, listening(t, srv, detects))
		if rate := receive(t, "beat", heard.calls); rate != "3" {
			t.Errorf("rate %q", rate)
		}
		receive(t, "answer", answered.replies) // their Close must not meet a reply that is being read
		if n := srv.CountSession(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
	t.Run("their pong", func(t *testing.T) {
		t.Parallel()
		heard := newBeats()
		cli := plain(t, heartbeat.NewPingEvery(time.Second, true), heard)
		th := newTheirs(t, erpc.PeerConfig{}, theirheart.NewPong())
		s, r := cli.Dial(th.listen(t), v7)
		if r != nil {
			t.Fatal(r)
		}
		for range 5 {
			if r := receive(t, "reply", heard.replies); r != "<nil>" {
				t.Fatal(r)
			}
		}
		if s.CloseReason() != nil {
			t.Error(s.CloseReason())
		}
	})
}

// answers is a plugin of theirs that hears replies.
type answers struct{ replies chan string }

func (answers) Name() string { return "answers" }

func (a answers) PostReadReplyBody(erpc.ReadCtx) *erpc.Status {
	a.replies <- "one"
	return nil
}

// beats is a plugin that hears heartbeats and their answers.
type beats struct{ calls, replies chan string }

func newBeats() beats { return beats{make(chan string, 1024), make(chan string, 1024)} }

func (beats) Name() string { return "beats" }

func (b beats) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	b.calls <- string(ctx.PeekMeta("hb_"))
	return nil
}

func (b beats) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror {
	b.replies <- fmt.Sprint(ctx.Input().Rerror())
	return nil
}
