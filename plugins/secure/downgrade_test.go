package secure_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/secure"
)

// An attacker on the line changes each bit of a sealed call's metadata and body:
// the handler gets the secret or nothing, and the secret is never sent in clear.
func TestDowngrade(t *testing.T) {
	for name, opts := range map[string][]secure.Option{"enforced": nil, "optional": {secure.Optional()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keys(t, key(1, 'k'))
				w := newWorld(t, plugins(secure.New(k, opts...)), plugins(secure.New(k, opts...)))
				handled := make(chan string, 1)
				tp.HandleCall(w.srv, "/bytes", func(_ tp.CallCtx, arg *[]byte) ([]byte, error) {
					handled <- string(*arg)
					return []byte(secret), nil
				})
				// pad is as long as what the attacker puts in its place.
				pad := tp.WithSetMeta("p", string(bytes.Repeat([]byte("0"), len("X-Accept-Secure=false")-len("p="))))
				call := func(what string, change func([]byte) []byte) (accepted bool) {
					t.Helper()
					w.tap.seen()
					w.tap.alter(change)
					var got []byte
					r := w.sess.Call("/bytes", []byte(secret), &got, secure.WithSecureMeta(), pad).Rerror()
					w.tap.alter(nil)
					if sent, received := w.tap.seen(); sent || received {
						t.Errorf("%s: the secret was in clear (call %t, reply %t)", what, sent, received)
					}
					select {
					case arg := <-handled:
						if arg != secret {
							t.Errorf("%s: the handler got %q", what, arg)
						}
					default:
					}
					if r == nil && string(got) != secret {
						t.Errorf("%s: the call replied %q", what, got)
					}
					if r != nil && r.Code != tp.CodeBadMessage {
						t.Errorf("%s: %s; want 400", what, r)
					}
					return r == nil
				}
				replace := func(old, new string) func([]byte) []byte {
					return func(b []byte) []byte {
						if !bytes.Contains(b, []byte(old)) {
							t.Errorf("the frame %q has no %q", b, old)
						}
						return bytes.Replace(b, []byte(old), []byte(new), 1)
					}
				}
				var frame []byte
				if !call("as sent", func(b []byte) []byte { frame = bytes.Clone(b); return b }) {
					t.Fatal("a call that nobody has changed was refused")
				}
				for _, change := range [][2]string{
					{"p=0000000000000000000", "X-Accept-Secure=false"},
					{"X-Secure=true", "X-Secure=yes!"},
					{"X-Secure=true", "Y-Secure=true"},
				} {
					if call(change[1], replace(change[0], change[1])) {
						t.Errorf("a call with %s in place of %s was accepted", change[1], change[0])
					}
				}
				meta := bytes.Index(frame, []byte("X-Secure=true"))
				body := meta + bytes.Index(frame[meta:], []byte{0, 0, 0, 1}) - 1 // version, number of the key
				for _, part := range []struct {
					name     string
					from, to int
				}{{"X-Secure", meta, meta + len("X-Secure=true")}, {"body", body, len(frame)}} {
					for i := part.from * 8; i < part.to*8; i++ {
						if call(part.name, func(b []byte) []byte { b[i/8] ^= 1 << (i % 8); return b }) {
							t.Errorf("%s: byte %d, bit %d: a call that was changed was accepted", part.name, i/8-part.from, i%8)
						}
					}
				}
			})
		})
	}
}

// strip makes replies plain, as an attacker can who knows their bodies.
type strip struct{}

func (strip) Name() string { return "strip" }

func (strip) PreWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	ctx.Output().Meta().Del(secure.MetaSecure)
	return nil
}

// A plain reply without an error is not the reply to a call that asks for a sealed
// one.
func TestPlainReplyRefused(t *testing.T) {
	accept := secure.WithAcceptSecureMeta
	for _, test := range []struct {
		name     string
		opts     []secure.Option
		set      []tp.MessageSetting
		accepted bool
	}{
		{"enforced", nil, nil, false},
		{"sealed call", []secure.Option{secure.Optional()}, []tp.MessageSetting{secure.WithSecureMeta()}, false},
		{"sealed call, plain reply asked", []secure.Option{secure.Optional()}, []tp.MessageSetting{secure.WithSecureMeta(), accept(false)}, true},
		{"plain call, sealed reply asked", []secure.Option{secure.Optional()}, []tp.MessageSetting{accept(true)}, false},
		{"plain call", []secure.Option{secure.Optional()}, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keys(t, key(1, 'k'))
				w := newWorld(t, plugins(secure.New(k, secure.Optional()), strip{}), plugins(secure.New(k, test.opts...)))
				got, r := w.call(t, "/echo", test.set...)
				if test.accepted {
					if r != nil || got != secret {
						t.Errorf("the call replied %q, %s", got, r)
					}
				} else if w.wantRefused(t, r, tp.CodeBadMessage, secure.ErrPlain); got != "" {
					t.Errorf("the result is %q", got)
				}
				if _, r := w.call(t, "/fail", test.set...); r == nil || r.Code != 4001 || !w.sess.Health() {
					t.Errorf("a handler's error: %s; want 4001", r)
				}
				cmd := w.sess.Call("/echo", secret, nil, test.set...) // no result to decode
				if r := cmd.Rerror(); test.accepted != (r == nil) || r != nil && !errors.Is(r.Err(), secure.ErrPlain) {
					t.Errorf("without a result: %s", r)
				}
			})
		})
	}
}
