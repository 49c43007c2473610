package interop

import (
	"bytes"
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/andeya/erpc/v7"
	theirsecure "github.com/andeya/erpc/v7/plugin/secure"

	_ "github.com/teleport-go/teleport/codecs/formcodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/securelegacy"
)

const (
	cipherKey = "cipherkey1234567"
	wrongKey  = "a wrong key, of 24 bytes"
	keySum    = "1ba49884c59b16619f411c7c80343c9c" // MD5 of cipherKey
	ourCode   = 4111                               // of our refusals
	theirCode = 4222
	visible   = "the words that must not be seen" // on the wire
)

// Ids of codecs that can carry a sealed body, beside json. The other one is xml,
// which is not linked here: securelegacy's golden bytes stand for it.
const (
	formID     = 'f'
	protobufID = 'p'
)

func ourSecure(t testing.TB, key string, opts ...securelegacy.Option) tp.Plugin {
	t.Helper()
	p, err := securelegacy.New(key, append(opts, securelegacy.Code(ourCode))...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wiretap hears what goes over a connection of ours, either way.
type wiretap struct {
	mu    sync.Mutex // guards what follows
	bytes bytes.Buffer
}

func (w *wiretap) hook() hook {
	tap := func(s tp.PreSession) *tp.Rerror {
		s.ModifySocket(func(c net.Conn) (net.Conn, tp.ProtoFunc) { return &wiretapped{c, w}, nil })
		return nil
	}
	return hook{tap, tap}
}

// seen tells whether the text went over the wire since the last time.
func (w *wiretap) seen(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.bytes.Reset()
	return bytes.Contains(w.bytes.Bytes(), []byte(text))
}

func (w *wiretap) add(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes.Write(b)
}

type wiretapped struct {
	net.Conn
	w *wiretap
}

func (c *wiretapped) Write(b []byte) (int, error) {
	c.w.add(b)
	return c.Conn.Write(b)
}

func (c *wiretapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.w.add(b[:n])
	return n, err
}

// secured are two peers with the plugin, in one session.
func (w wiring) secured(t testing.TB, ourKey, theirKey string, opts ...securelegacy.Option) (*ours, *theirs, *wiretap) {
	t.Helper()
	tap := new(wiretap)
	o := newOurs(t, tp.PeerConfig{}, tap.hook(), ourSecure(t, ourKey, opts...))
	tp.HandleCall(o.peer, "/seal/text", func(ctx tp.CallCtx, arg *string) (string, error) {
		securelegacy.EnforceSecure(ctx.Output())
		return *arg, nil
	})
	th := newTheirs(t, erpc.PeerConfig{}, theirsecure.NewPlugin(theirCode, theirKey))
	th.peer.SubRoute("/seal").RouteCallFunc((*TheirSeal).Text)
	w.join(t, o, th)
	return o, th, tap
}

type TheirSeal struct{ erpc.CallCtx }

func (s *TheirSeal) Text(arg *string) (string, *erpc.Status) {
	theirsecure.EnforceSecure(s.Output())
	return *arg, nil
}

// bothWays runs f with a caller of either age.
func bothWays(t *testing.T, o *ours, th *theirs, f func(t *testing.T, from, to end)) {
	t.Run("theirs to ours", func(t *testing.T) { f(t, th, o) })
	t.Run("ours to theirs", func(t *testing.T) { f(t, o, th) })
}

var (
	sealed       = pair{"X-Secure", "true"}
	acceptSealed = pair{"X-Accept-Secure", "true"}
	acceptPlain  = pair{"X-Accept-Secure", "false"}
)

func TestSecure(t *testing.T) {
	big := million()
	for _, w := range wirings {
		t.Run(w.name, func(t *testing.T) {
			o, th, tap := w.secured(t, cipherKey, cipherKey)
			bothWays(t, o, th, func(t *testing.T, from, to end) {
				for _, c := range []struct {
					name        string
					method      string
					meta        []pair
					plain       bool // some of it goes in plain
					sealedReply bool
				}{
					{"nothing asked", "/echo/text", nil, true, false},
					{"sealed call, sealed reply", "/echo/text", []pair{sealed}, false, true},
					{"sealed call, accepts plain", "/echo/text", []pair{sealed, acceptPlain}, true, false},
					{"sealed call, accepts sealed", "/echo/text", []pair{sealed, acceptSealed}, false, true},
					{"plain call, accepts sealed", "/echo/text", []pair{acceptSealed}, true, true},
					{"plain call, accepts plain", "/echo/text", []pair{acceptPlain}, true, false},
					{"another value", "/echo/text", []pair{{"X-Secure", "yes"}}, true, false},
					{"another value of accept", "/echo/text", []pair{sealed, {"X-Accept-Secure", "perhaps"}}, false, true},
					{"the handler seals", "/seal/text", nil, true, true},
					{"the handler seals what is sealed", "/seal/text", []pair{sealed}, false, true},
				} {
					t.Run(c.name, func(t *testing.T) {
						tap.seen("")
						var got string
						a := from.call(t, exchange{method: c.method, arg: visible, result: &got, codec: jsonID, meta: c.meta})
						if a.code != 0 || got != visible {
							t.Fatalf("got %q, %v", got, a.fault)
						}
						if slices.Contains(a.meta, sealed) != c.sealedReply {
							t.Errorf("metadata of the reply: %q; sealed wanted: %t", a.meta, c.sealedReply)
						}
						if seen := tap.seen(visible); seen != c.plain {
							t.Errorf("went in plain: %t, want %t", seen, c.plain)
						}
					})
				}
				t.Run("reply sealed alone, the call too", func(t *testing.T) {
					// Of which of the two the words go in plain.
					for _, meta := range [][]pair{{acceptSealed}, {sealed, acceptPlain}} {
						var sum int
						a := from.call(t, exchange{method: "/math/add", arg: []int{1001, 1002}, result: &sum, codec: jsonID, meta: meta})
						if a.code != 0 || sum != 2003 {
							t.Fatalf("got %d, %v", sum, a.fault)
						}
						call, reply := meta[0] == acceptSealed, meta[0] == sealed
						tap.mu.Lock()
						wire := tap.bytes.String()
						tap.bytes.Reset()
						tap.mu.Unlock()
						if got := strings.Contains(wire, "[1001,1002]"); got != call {
							t.Errorf("%q: call in plain: %t, want %t", meta, got, call)
						}
						if got := strings.Contains(wire, "2003"); got != reply {
							t.Errorf("%q: reply in plain: %t, want %t", meta, got, reply)
						}
					}
				})
				doc := Doc{"é\n\"\\", []byte{0, 255}, map[string][]int{"a": {1}}}
				for name, c := range map[string]struct {
					x    exchange
					want any
				}{
					"json":                  {exchange{method: "/echo/doc", arg: &doc, codec: jsonID}, doc},
					"a megabyte":            {exchange{method: "/echo/bytes", arg: big}, big},
					"no argument, no reply": {exchange{method: "/echo/nothing"}, struct{}{}},
					"empty bytes":           {exchange{method: "/echo/bytes", arg: []byte{}, codec: jsonID}, []byte(nil)},
					"a full block":          {exchange{method: "/echo/bytes", arg: make([]byte, 16), codec: jsonID}, make([]byte, 16)},
					"as json":               {exchange{method: "/echo/bytes", arg: []byte("\x00\xff{"), codec: jsonID}, []byte("\x00\xff{")},
					"as form":               {exchange{method: "/echo/bytes", arg: []byte("\x00\xff{"), codec: formID}, []byte("\x00\xff{")},
					"as protobuf":           {exchange{method: "/echo/bytes", arg: []byte("\x00\xff{"), codec: protobufID}, []byte("\x00\xff{")},
					"through gzip over md5": {exchange{method: "/echo/doc", arg: &doc, codec: jsonID, pipe: []byte{gzipID, md5ID}}, doc},
				} {
					t.Run(name, func(t *testing.T) {
						x, result := c.x, reflect.New(reflect.TypeOf(c.want))
						x.meta, x.result = []pair{sealed}, result.Interface()
						a := from.call(t, x)
						if got := result.Elem().Interface(); a.code != 0 || !reflect.DeepEqual(got, c.want) {
							t.Fatalf("got %.200v, %v; want %.200v", got, a.fault, c.want)
						}
						if !slices.Contains(a.meta, sealed) {
							t.Errorf("the reply is plain: %q", a.meta)
						}
					})
				}
				t.Run("an error is plain", func(t *testing.T) {
					want := fault{1234, "k=v 1/é&=%", "cause & 100 %"}
					a := from.call(t, exchange{method: "/fail/business", arg: &ErrorArg{want.code, want.message, want.cause}, codec: jsonID, meta: []pair{sealed}})
					if a.fault != want {
						t.Errorf("got %v, want %v", a.fault, want)
					}
					a = from.call(t, exchange{method: "/no/such", arg: "x", codec: jsonID, meta: []pair{sealed}})
					if a.code != 404 {
						t.Errorf("got %v, want 404", a.fault)
					}
				})
				t.Run("pushes", func(t *testing.T) {
					for _, meta := range [][]pair{{sealed}, nil} {
						tap.seen("")
						if f := from.push(exchange{method: "/note/say", arg: visible, codec: jsonID, meta: meta}); f.code != 0 {
							t.Fatal(f)
						}
						if n := receive(t, "push", to.notes()); n.text != visible {
							t.Errorf("got %q", n.text)
						}
						if seen := tap.seen(visible); seen != (meta == nil) {
							t.Errorf("with %q went in plain: %t", meta, seen)
						}
					}
				})
			})
		})
	}
}

// The other protocols carry what is sealed as well.
func TestSecureProtos(t *testing.T) {
	for _, wire := range wires {
		for _, way := range wire.wirings() {
			t.Run(wire.name+", "+way.name, func(t *testing.T) {
				o, th, _ := way.secured(t, cipherKey, cipherKey)
				bothWays(t, o, th, func(t *testing.T, from, to end) {
					var got string
					a := from.call(t, exchange{method: "/echo/text", arg: visible, result: &got, codec: jsonID, meta: []pair{sealed}})
					if a.code != 0 || got != visible || !slices.Contains(a.meta, sealed) {
						t.Errorf("got %q, %v, metadata %q", got, a.fault, a.meta)
					}
					if !wire.pushes {
						return
					}
					if f := from.push(exchange{method: "/note/say", arg: visible, codec: jsonID, meta: []pair{sealed}}); f.code != 0 {
						t.Fatal(f)
					}
					if n := receive(t, "push", to.notes()); n.text != visible {
						t.Errorf("pushed %q", n.text)
					}
				})
			})
		}
	}
}

// A side with another key gets an error, with the code of the side that could not open the
// body, and the session lives.
func TestSecureWrongKey(t *testing.T) {
	for _, w := range wirings {
		t.Run(w.name, func(t *testing.T) {
			o, th, _ := w.secured(t, cipherKey, wrongKey)
			bothWays(t, o, th, func(t *testing.T, from, to end) {
				caller, server := int32(ourCode), int32(theirCode)
				if from == end(th) {
					caller, server = server, caller
				}
				x := exchange{method: "/echo/text", arg: visible, result: new(string), codec: jsonID}
				refused := func(meta pair, code int32) {
					t.Helper()
					x.meta = []pair{meta}
					a := from.call(t, x)
					if a.code != code || a.message != "decrypt ciphertext error" || !strings.HasPrefix(a.cause, "inconsistent encryption version, get:") || !strings.Contains(a.cause, keySum) {
						t.Errorf("with %q: got %v, want %d", meta, a.fault, code)
					}
				}
				refused(sealed, server)
				refused(acceptSealed, caller)
				if f := from.push(exchange{method: "/note/say", arg: visible, codec: jsonID, meta: []pair{sealed}}); f.code != 0 {
					t.Fatal(f)
				}
				if f := from.push(exchange{method: "/note/say", arg: "plain", codec: jsonID}); f.code != 0 {
					t.Fatal(f)
				}
				if n := receive(t, "push", to.notes()); n.text != "plain" {
					t.Errorf("pushed %q, want the plain one alone", n.text)
				}
				x.meta = nil
				if a := from.call(t, x); a.code != 0 {
					t.Errorf("a plain call behind it: %v", a.fault)
				}
			})
		})
	}
}

// Ours refuses what is plain where it enforces; eRPC has nothing like it, but
// seals its replies to sealed calls.
func TestSecureEnforced(t *testing.T) {
	for _, w := range wirings {
		t.Run(w.name, func(t *testing.T) {
			tap := new(wiretap)
			o := newOurs(t, tp.PeerConfig{}, tap.hook(), ourSecure(t, cipherKey, securelegacy.Enforce()))
			th := newTheirs(t, erpc.PeerConfig{}, theirsecure.NewPlugin(theirCode, cipherKey))
			if w.dial(t, o, th); o.sess == nil {
				// eRPC never ends a call that wants no result and gets a sealed one.
				x := exchange{method: "/hello/there", result: new(struct{}), meta: []pair{sealed}}
				if a := th.call(t, x); a.code != 0 {
					t.Fatal(a.fault)
				}
				o.sess = receive(t, "our session", o.hello)
			} else {
				if a := o.call(t, exchange{method: "/hello/there"}); a.code != 0 {
					t.Fatal(a.fault)
				}
				th.sess = receive(t, "their session", th.hello)
			}
			a := th.call(t, exchange{method: "/echo/text", arg: visible, codec: jsonID})
			if want := securelegacy.ErrPlain.Error(); a.code != ourCode || !strings.Contains(a.cause, want) {
				t.Errorf("their plain call: %v, want %d %s", a.fault, ourCode, want)
			}
			tap.seen("")
			for name, from := range map[string]end{"theirs": th, "ours": o} {
				x := exchange{method: "/echo/text", arg: visible, result: new(string), codec: jsonID}
				if name == "theirs" {
					x.meta = []pair{sealed, acceptPlain} // and is sealed nevertheless
				}
				if a := from.call(t, x); a.code != 0 || *x.result.(*string) != visible || !slices.Contains(a.meta, sealed) {
					t.Errorf("%s: %q, %v, metadata %q", name, *x.result.(*string), a.fault, a.meta)
				}
			}
			if f := o.push(exchange{method: "/note/say", arg: visible, codec: jsonID}); f.code != 0 {
				t.Fatal(f)
			}
			if n := receive(t, "push", th.notes()); n.text != visible {
				t.Errorf("pushed %q", n.text)
			}
			if tap.seen(visible) {
				t.Error("something went in plain")
			}
		})
	}
}

// Their peer without the plugin gets on with ours, as long as nothing is sealed.
func TestSecureOneSided(t *testing.T) {
	o, th := newOurs(t, tp.PeerConfig{}, ourSecure(t, cipherKey)), newTheirs(t, erpc.PeerConfig{})
	wirings[2].join(t, o, th)
	bothWays(t, o, th, func(t *testing.T, from, _ end) {
		var got string
		if a := from.call(t, exchange{method: "/echo/text", arg: visible, result: &got, codec: jsonID}); a.code != 0 || got != visible {
			t.Errorf("got %q, %v", got, a.fault)
		}
	})
	r := o.sess.Call("/echo/text", visible, nil, securelegacy.WithSecureMeta()).Rerror()
	if r == nil || errors.Is(r.Err(), tp.ErrConnClosed) || o.sess.CloseReason() != nil {
		t.Errorf("a sealed call to who cannot open it: %v, %v", r, o.sess.CloseReason())
	}
}
