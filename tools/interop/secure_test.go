package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/andeya/erpc/v7"
	theirsecure "github.com/andeya/erpc/v7/plugin/secure"

	_ "github.com/teleport-go/teleport/codecs/formcodec"
	_ "github.com/teleport-go/teleport/codecs/xmlcodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/secure"
)

const (
	cipherKey = "cipherkey1234567"
	wrongKey  = "a wrong key, of 24 bytes"
	keySum    = "1ba49884c59b16619f411c7c80343c9c" // MD5 of cipherKey
	ourCode   = 4111                               // of our refusals
	theirCode = 4222
	visible   = "the words that must not be seen" // on the wire
)

// Ids of the codecs that can carry a sealed body, beside json.
const (
	formID     = 'f'
	protobufID = 'p'
	xmlID      = 'x'
)

func ourSecure(t testing.TB, key string, opts ...secure.Option) tp.Plugin {
	t.Helper()
	p, err := secure.Legacy(key, append(opts, secure.Code(ourCode))...)
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
func (w wiring) secured(t testing.TB, ourKey, theirKey string, opts ...secure.Option) (*ours, *theirs, *wiretap) {
	t.Helper()
	tap := new(wiretap)
	o := newOurs(t, tp.PeerConfig{}, tap.hook(), ourSecure(t, ourKey, opts...))
	tp.HandleCall(o.peer, "/seal/text", func(ctx tp.CallCtx, arg *string) (string, error) {
		secure.EnforceSecure(ctx.Output())
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
					"as xml":                {exchange{method: "/echo/bytes", arg: []byte("\x00\xff{"), codec: xmlID}, []byte("\x00\xff{")},
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

// Who has another key gets an error, with the code of who could not open it, and
// the session lives.
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
			o := newOurs(t, tp.PeerConfig{}, tap.hook(), ourSecure(t, cipherKey, secure.Enforce()))
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
			if want := secure.ErrPlain.Error(); a.code != ourCode || !strings.Contains(a.cause, want) {
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

// secureBody is a sealed body in JSON.
func secureBody(ciphertext string) string {
	return fmt.Sprintf(`{"cipherversion":"%s","ciphertext":"%s"}`, keySum, ciphertext)
}

const (
	cipherOf123 = "a2b37762f05bf0fc18a57076ca4d4a0c" // [1,2,3]
	cipherOf6   = "2b9dcc79bd50a78d9f6a0c9001cfa9a8" // 6
	cipherOfHi  = "b7355b8249e8acaf46a93d70216f7771" // "hi"
)

// v7Plain is a frame of v7 without an error.
func v7Plain(seq string, mtype byte, method, meta string, codec byte, body string) []byte {
	b := v5Plain(seq, mtype, method, "", codec, "")
	b = append(b[:len(b)-3], "\x00\x06code=0"...)
	b = append(b, byte(len(meta)>>8), byte(len(meta)))
	b = append(append(append(b, meta...), codec), body...)
	b[3] = byte(len(b)) // they are short
	return b
}

// The frames of either age, byte for byte: what is sent to our server and to
// eRPC's, and what both answer.
func TestSecureGolden(t *testing.T) {
	ages := map[string]func(seq string, mtype byte, method, meta string, codec byte, body string) []byte{"v5": v5Plain, "v7": v7Plain}
	if got, want := v5Plain("1", 1, "/math/add", "X-Secure=true", jsonID, secureBody(cipherOf123)), append(unhex(t, "0000008600013101092f6d6174682f616464000d582d5365637572653d747275656a"), secureBody(cipherOf123)...); !bytes.Equal(got, want) {
		t.Fatalf("the script says %x, v5 sent %x", got, want)
	}
	for _, test := range []struct {
		name, age string
		server    func(t *testing.T) (addr string)
	}{
		{"v5, ours", "v5", func(t *testing.T) string {
			return newOurs(t, tp.PeerConfig{}, ourSecure(t, cipherKey)).listen(t, detects)
		}},
		{"v7, ours", "v7", func(t *testing.T) string {
			return newOurs(t, tp.PeerConfig{}, ourSecure(t, cipherKey)).listen(t, detects)
		}},
		{"v7, theirs", "v7", func(t *testing.T) string {
			return newTheirs(t, erpc.PeerConfig{}, theirsecure.NewPlugin(theirCode, cipherKey)).listen(t)
		}},
	} {
		t.Run("called: "+test.name, func(t *testing.T) {
			frame, c := ages[test.age], dialV5(t, test.server(t))
			c.send(frame("1", 1, "/math/add", "X-Secure=true", jsonID, secureBody(cipherOf123)))
			c.want(frame("1", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
			c.send(frame("2", 1, "/math/add", "X-Accept-Secure=true", jsonID, "[1,2,3]"))
			c.want(frame("2", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
			c.send(frame("3", 1, "/math/add", "X-Secure=true&X-Accept-Secure=false", jsonID, secureBody(cipherOf123)))
			c.want(frame("3", 2, "", "", jsonID, "6"))
			c.send(frame("4", 1, "/math/add", "X-Accept-Secure=true", jsonID, "[1,2,3]"))
			c.want(frame("4", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
		})
	}
	type caller struct {
		name, age string
		dial      func(t *testing.T, addr string) end
	}
	ours := func(age string, pf tp.ProtoFunc) caller {
		return caller{age + ", ours", age, func(t *testing.T, addr string) end {
			o := newOurs(t, tp.PeerConfig{}, ourSecure(t, cipherKey))
			o.dial(t, addr, pf)
			return o
		}}
	}
	for _, test := range []caller{
		ours("v5", v5), ours("v7", v7),
		{"v7, theirs", "v7", func(t *testing.T, addr string) end {
			th := newTheirs(t, erpc.PeerConfig{}, theirsecure.NewPlugin(theirCode, cipherKey))
			th.dial(t, addr)
			return th
		}},
	} {
		t.Run("calls: "+test.name, func(t *testing.T) {
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			frame, from := ages[test.age], test.dial(t, lis.Addr().String())
			conn, err := lis.Accept()
			if err != nil {
				t.Fatal(err)
			}
			c := newV5Conn(t, conn)
			defer c.Close()
			done := make(chan error, 1)
			go func() {
				var sum int
				a := from.call(t, exchange{method: "/math/add", arg: []int{1, 2, 3}, result: &sum, codec: jsonID, meta: []pair{sealed}})
				if a.code != 0 || sum != 6 {
					done <- fmt.Errorf("got %d, %v", sum, a.fault)
					return
				}
				done <- nil
			}()
			c.want(frame("1", 1, "/math/add", "X-Secure=true", jsonID, secureBody(cipherOf123)))
			c.send(frame("1", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
			if err := receive(t, "call", done); err != nil {
				t.Error(err)
			}
			if f := from.push(exchange{method: "/note/say", arg: "hi", codec: jsonID, meta: []pair{sealed}}); f.code != 0 {
				t.Error(f)
			}
			c.want(frame("2", 3, "/note/say", "X-Secure=true", jsonID, secureBody(cipherOfHi)))
		})
	}
}

// What would be a panic in eRPC is an error of one message here.
func TestSecureDamaged(t *testing.T) {
	c := dialV5(t, newOurs(t, tp.PeerConfig{}, ourSecure(t, cipherKey)).listen(t, detects))
	for i, body := range []string{
		"", "{}", "[]", `"text"`, secureBody(""), secureBody("a2"), secureBody("a2b"), secureBody("zz"),
		secureBody(cipherOf123[:30]), secureBody(strings.Repeat("00", 16)), secureBody(cipherOf123 + cipherOf6[:2]),
		fmt.Sprintf(`{"cipherversion":%q,"ciphertext":%q}`, strings.Repeat("k", 60_000), cipherOf123),
	} {
		c.send(v5Plain("1", 1, "/math/add", "X-Secure=true", jsonID, body))
		if got := c.frame(); !bytes.Contains(got, []byte("X-Reply-Error=%7B%22code%22%3A4111")) || len(got) > 1000 {
			t.Errorf("%d: got %.300q", i, got)
		}
	}
	c.send(v5Plain("2", 1, "/math/add", "X-Secure=true", jsonID, secureBody(cipherOf123)))
	c.want(v5Plain("2", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
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
	r := o.sess.Call("/echo/text", visible, nil, secure.WithSecureMeta()).Rerror()
	if r == nil || errors.Is(r.Err(), tp.ErrConnClosed) || o.sess.CloseReason() != nil {
		t.Errorf("a sealed call to who cannot open it: %v, %v", r, o.sess.CloseReason())
	}
}
