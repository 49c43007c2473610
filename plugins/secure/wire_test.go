package secure

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

// goldenKeys are those the golden bodies were sealed with.
func goldenKeys(t testing.TB) *Keys {
	k, err := NewKeys(Key{0x01020304, []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var goldenNonce = [nonceSize]byte([]byte("nonce of 16 byte"))

func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/golden/" + name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What was sealed once opens for ever.
func TestHopGolden(t *testing.T) {
	h := &hop{keys: goldenKeys(t), nonce: goldenNonce, in: fromDialler}
	call := message(tp.TypeCall, 0x0a0b, "/math/é?x")
	call.Meta().Set(MetaAcceptSecure, "false")
	body, id, err := h.open(call, golden(t, "hop-call.hex"))
	if err != nil || string(body) != "[1,2,3]" || id != 'j' {
		t.Errorf("open = %q, %c, %v; want [1,2,3], j", body, id, err)
	}
	m := message(tp.TypeReply, 0x0a0b, "not looked at")
	body, id, err = (&hop{keys: goldenKeys(t), nonce: goldenNonce, in: fromAcceptor}).open(m, golden(t, "hop-reply.hex"))
	if err != nil || string(body) != "6" || id != 'j' {
		t.Errorf("open = %q, %c, %v; want 6, j", body, id, err)
	}
	if _, _, err := h.open(call, golden(t, "hop-call-v1.hex")); !errors.Is(err, ErrVersion) {
		t.Errorf("version 1: %v; want %v", err, ErrVersion)
	}
}

func TestEndToEndGolden(t *testing.T) {
	p := EndToEnd(goldenKeys(t)).(*endToEnd)
	m := message(tp.TypePush, 1, "/note/é")
	m.UnmarshalBody(golden(t, "end-push.hex"))
	err := p.open(m, "/note/é", func(of id, at time.Time) error {
		if string(of[:]) != "id is 16 bytes.." || at.UnixMilli() != 1_800_000_000_123 {
			t.Errorf("id %q at %v", of, at)
		}
		return nil
	})
	if err != nil || string(m.RawBody()) != `"hi"` || m.BodyCodec() != 'j' {
		t.Errorf("open = %q, %c, %v", m.RawBody(), m.BodyCodec(), err)
	}
}

// All that the tag of a hop covers besides what it travels with.
func TestCovered(t *testing.T) {
	h := &hop{nonce: goldenNonce}
	got := h.extra([]byte{version, 1, 2, 3, 4}, fromDialler, message(tp.TypePush, 0x0a0b0c0d, "/é"))
	want := "\x03\x01\x02\x03\x04" + "\x03" + "\x01" + "\x0a\x0b\x0c\x0d" + "nonce of 16 byte" + "/%C3%A9"
	if string(got) != want {
		t.Errorf("hop: covers %q; want %q", got, want)
	}
	got = endExtra([]byte{endVersion, 1, 2, 3, 4}, tp.TypeCall, "/é")
	if want := "\x02\x01\x02\x03\x04" + "\x01" + "/%C3%A9"; string(got) != want {
		t.Errorf("end to end: covers %q; want %q", got, want)
	}
}

// One secret under two numbers: what names the one does not open as the other.
func TestKeyNumberIsCovered(t *testing.T) {
	dialler, acceptor := ends(t)
	if err := acceptor.keys.Prepare(Key{8, bytes.Repeat([]byte("k"), 16)}); err != nil {
		t.Fatal(err)
	}
	m := message(tp.TypeCall, 3, "/a")
	sealed, err := dialler.seal(nil, m, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	renamed := bytes.Clone(sealed)
	renamed[4] = 8
	if _, _, err := acceptor.open(m, renamed); !errors.Is(err, ErrAltered) {
		t.Errorf("renamed: %v; want %v", err, ErrAltered)
	}

	p := EndToEnd(acceptor.keys).(*endToEnd)
	m.SetBody([]byte("body"))
	if r := p.seal(m, id{}, "/a"); r != nil {
		t.Fatal(r)
	}
	renamed = bytes.Clone(m.Body().([]byte))
	renamed[4] = 8
	m.UnmarshalBody(renamed)
	if err := p.open(m, "/a", func(id, time.Time) error { return nil }); !errors.Is(err, ErrAltered) {
		t.Errorf("end to end, renamed: %v; want %v", err, ErrAltered)
	}
}

// With some protocols an attacker can add an error to a call or a push: that does
// not make a plain one pass, nor open a sealed one.
func TestErrorInRequest(t *testing.T) {
	dialler, acceptor := ends(t)
	enforced := newConfig(nil)
	for _, mtype := range []byte{tp.TypeCall, tp.TypePush} {
		l := &line{mtype: mtype, method: "/a", body: []byte("plain"), rerr: tp.NewRerror(1, "", "")}
		if err := (&proto{l, acceptor, enforced}).Unpack(socket.NewMessage()); !errors.Is(err, ErrPlain) {
			t.Errorf("%s: plain, with an error: %v; want %v", tp.TypeText(mtype), err, ErrPlain)
		}
		m := message(mtype, 1, "/a")
		m.SetBody([]byte("secret"))
		m.SetRerror(l.rerr)
		if err := (&proto{l, dialler, enforced}).Pack(m); err != nil || bytes.Contains(l.body, []byte("secret")) {
			t.Errorf("%s with an error left as %q, %v", tp.TypeText(mtype), l.body, err)
		}
		got := socket.NewMessage()
		if err := (&proto{l, acceptor, enforced}).Unpack(got); err != nil || string(got.RawBody()) != "secret" {
			t.Errorf("%s with an error came as %q, %v", tp.TypeText(mtype), got.RawBody(), err)
		}
	}
	l := &line{mtype: tp.TypeReply, rerr: tp.NewRerror(4001, "", "")}
	m := socket.NewMessage()
	if err := (&proto{l, acceptor, enforced}).Unpack(m); err != nil || m.Rerror().Code != 4001 {
		t.Errorf("the error of a reply: %s, %v; want 4001", m.Rerror(), err)
	}
}

// With a key that has sealed enough calls fail; the sessions stay open, and go on
// with the next key.
func TestSealLimitOfPeers(t *testing.T) {
	for name, test := range map[string]struct {
		plugin func(*Keys) tp.Plugin
		set    tp.MessageSetting
	}{
		"hop":        {func(k *Keys) tp.Plugin { return New(k) }, WithSecureMeta()},
		"end to end": {func(k *Keys) tp.Plugin { return EndToEnd(k) }, WithSecureEndMeta()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				key := Key{1, make([]byte, 16)}
				newKeys := func() *Keys {
					k, err := NewKeys(key)
					if err != nil {
						t.Fatal(err)
					}
					return k
				}
				here, there := newKeys(), newKeys()
				cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
				srv := tptest.NewPeer(t, cfg, test.plugin(there))
				tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
				sess := tptest.Dial(t, tptest.NewPeer(t, cfg, test.plugin(here)), tptest.Listen(t, srv))
				call := func() *tp.Rerror { return sess.Call("/echo", "x", new(string), test.set).Rerror() }
				used := func(k *Keys) { (*k.live.Load())[0].seals.Store(maxSeals) }
				if r := call(); r != nil {
					t.Fatal(r)
				}
				used(there)
				if r := call(); r == nil || r.Code < 100 || !strings.Contains(r.Reason, "rotate") {
					t.Errorf("the server's key is used up: %s; want an error that says rotate", r)
				}
				used(here)
				if r := call(); r == nil || r.Code != tp.CodeWriteFailed || !strings.Contains(r.Reason, "rotate") {
					t.Errorf("the key is used up: %s; want 104 that says rotate", r)
				}
				if r := sess.Push("/echo", "x", test.set); r == nil || r.Code != tp.CodeWriteFailed || !strings.Contains(r.Reason, "rotate") {
					t.Errorf("a push: %s; want 104 that says rotate", r)
				}
				for _, k := range []*Keys{here, there} {
					if err := errors.Join(k.Prepare(Key{2, make([]byte, 32)}), k.Switch()); err != nil {
						t.Fatal(err)
					}
				}
				if r := call(); r != nil || !sess.Health() {
					t.Errorf("with the next key: %s, %v", r, sess.CloseReason())
				}
			})
		})
	}
}
