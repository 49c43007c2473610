package tp_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// This file tests how requests are handled: bodies, codecs, errors, filters.

// shortProto is a protocol that cannot carry long service methods.
type shortProto struct{ socket.FrameAppender }

func newShort(rw socket.IOWithReadBuffer) tp.Proto {
	return shortProto{testwire.New(rw).(socket.FrameAppender)}
}

func (p shortProto) AppendFrame(dst []byte, m tp.Message) ([]byte, error) {
	if len(m.ServiceMethod()) > 255 {
		return dst, errors.New("service method longer than 255 bytes")
	}
	return p.FrameAppender.AppendFrame(dst, m)
}

// stubborn is a value whose encoding fails, or panics.
type stubborn struct{ Panic bool }

func (s stubborn) MarshalJSON() ([]byte, error) {
	if s.Panic {
		panic("stubborn panics")
	}
	return nil, errors.New("stubborn will not")
}

type explosive struct{ X int }

func (*explosive) UnmarshalJSON([]byte) error { panic("explosive") }

func rulesRoutes(p tp.Peer) {
	tp.HandleCall(p, "/pair", func(_ tp.CallCtx, a *Pair) (Pair, error) { return *a, nil })
	tp.HandleCall(p, "/raw", func(ctx tp.CallCtx, a *[]byte) ([]byte, error) { return *a, nil })
	tp.HandleCall(p, "/stubborn", func(ctx tp.CallCtx, a *bool) (stubborn, error) {
		ctx.SetMeta("of the reply", "x")
		return stubborn{*a}, nil
	})
	tp.HandleCall(p, "/explosive", func(_ tp.CallCtx, a *explosive) (string, error) { return "", nil })
	tp.HandleCall(p, "/number", func(tp.CallCtx, *[]byte) (int, error) { return 7, nil })
	tp.HandleCall(p, "/codec", func(ctx tp.CallCtx, a *[]byte) (string, error) {
		if id := byte((*a)[0]); id != 0 {
			ctx.SetBodyCodec(id)
		}
		return fmt.Sprint(ctx.GetBodyCodec(), ctx.ReplyBodyCodec()), nil
	})
	tp.HandleCall(p, "/fail", func(ctx tp.CallCtx, a *[]byte) (string, error) {
		ctx.AddMeta("k", "1")
		ctx.AddMeta("k", "2")
		ctx.SetBodyCodec(testwire.Text)
		return "dropped", tp.NewRerror(1001, "mine", "why").Err()
	})
	tp.HandleCall(p, "/panic", func(ctx tp.CallCtx, a *[]byte) (string, error) {
		switch string(*a) {
		case "error":
			panic(errors.New("an error"))
		case "nil":
			var p *Pair
			return p.A, nil
		case "exit":
			runtime.Goexit()
		}
		panic("a text")
	})
	tp.HandleCall(p, "/pipe", func(ctx tp.CallCtx, a *[]byte) (string, error) {
		got := fmt.Sprint(ctx.Input().XferPipe().IDs(), ctx.Output().XferPipe().IDs())
		for _, id := range *a {
			ctx.AddXferPipe(id)
		}
		return got, nil
	})
	tp.HandleCall(p, "/long", func(_ tp.CallCtx, n *int) (string, error) { return strings.Repeat("x", *n), nil })
	tp.HandlePush(p, "/pair", func(_ tp.PushCtx, a *Pair) error { pushed <- a.A; return nil })
	tp.HandlePush(p, "/panic", func(_ tp.PushCtx, a *Pair) error { panic("push panics") })
}

func TestRequestRules(t *testing.T) {
	for _, plain := range []bool{false, true} { // with and without a FrameAppender
		e := &ends{routes: rulesRoutes, both: func(c *tp.PeerConfig) {
			c.Protocol = newShort
			if plain {
				c.Protocol = testwire.NewPlain
			}
			c.MessageSizeLimit = 1 << 20
		}}
		e.dial(t)
		bytes := func(s string) []byte { return []byte(s) }
		for _, test := range []struct {
			name, method string
			arg          any
			result       any
			set          []tp.MessageSetting
			code         int32
			words        string
		}{
			{"fine", "/pair", Pair{"a", "b"}, new(Pair), nil, 0, ""},
			{"no result wanted", "/pair", Pair{"a", "b"}, nil, nil, 0, ""},
			{"argument does not decode", "/pair", bytes("{"), nil, nil, 400, "unexpected end of JSON"},
			{"argument of another type", "/pair", "text", nil, nil, 400, "cannot unmarshal string"},
			{"large argument does not decode", "/pair", bytes(strings.Repeat("{", 100_000)), nil, nil, 400, "invalid character"},
			{"empty argument is not decoded", "/pair", nil, new(Pair), nil, 0, ""},
			{"argument's decoder panics", "/explosive", 1, nil, nil, 400, "codec panicked: explosive"},
			{"unknown codec on read", "/pair", bytes("x"), nil, []tp.MessageSetting{tp.WithBodyCodec(200)}, 400, "unsupported codec id: 200"},
			{"unknown codec, raw argument", "/raw", bytes("x"), nil, []tp.MessageSetting{tp.WithBodyCodec(200)}, 0, ""},
			{"unknown codec on write", "/pair", Pair{}, nil, []tp.MessageSetting{tp.WithBodyCodec(200)}, 104, "unsupported codec id: 200"},
			{"argument cannot be marshalled", "/pair", stubborn{}, nil, nil, 104, "stubborn will not"},
			{"argument's encoder panics", "/pair", stubborn{true}, nil, nil, 104, "stubborn panics"},
			{"unknown filter", "/pair", Pair{}, nil, []tp.MessageSetting{tp.WithXferPipe(99)}, 104, "filter id: 99"},
			{"reply cannot be marshalled", "/stubborn", false, nil, nil, 500, "stubborn will not"},
			{"reply's encoder panics", "/stubborn", true, nil, nil, 500, "stubborn panics"},
			{"reply does not decode", "/number", bytes("x"), new(Pair), nil, 400, "cannot unmarshal number"},
			{"large reply does not decode", "/long", 200_000, new(Pair), nil, 400, "cannot unmarshal string"},
			{"result's decoder panics", "/number", bytes("x"), new(explosive), nil, 400, "codec panicked: explosive"},
			{"reply over the size limit", "/long", 2 << 20, nil, nil, 500, "over the limit of 1048576"},
			{"call over the size limit", "/raw", make([]byte, 2<<20), nil, nil, 104, "over the limit of 1048576"},
			{"handler's error", "/fail", nil, nil, nil, 1001, "why"},
			{"panic with a text", "/panic", bytes("x"), nil, nil, 500, "a text"},
			{"panic with an error", "/panic", bytes("error"), nil, nil, 500, "an error"},
			{"nil pointer", "/panic", bytes("nil"), nil, nil, 500, "nil pointer"},
			{"Goexit", "/panic", bytes("exit"), nil, nil, 500, "runtime.Goexit"},
			{"method of 300 bytes", "/" + strings.Repeat("x", 299), nil, nil, nil, 104, "longer than 255"},
			{"method of 255 bytes", "/" + strings.Repeat("x", 254), nil, nil, nil, 404, ""},
			{"reply's pipe with an unknown filter", "/pipe", []byte{99}, nil, nil, 500, "filter id: 99"},
		} {
			t.Run(fmt.Sprintf("%s, plain=%v", test.name, plain), func(t *testing.T) {
				if plain && test.code == 104 && strings.HasPrefix(test.method, "/xxx") {
					test.code, test.words = 404, "" // that protocol has no limit
				}
				r := e.call(t, test.method, test.arg, test.result, test.set...)
				wantRerror(t, "the call", r, test.code, test.words)
				got := Pair{"untouched", ""}
				if r := e.call(t, "/pair", Pair{"a", "b"}, &got); r != nil || got != (Pair{"a", "b"}) {
					t.Errorf("afterwards a call gives %v, %v", got, r)
				}
			})
		}
		if n := e.srv.CountSession(); n != 1 || !e.sess.Health() {
			t.Errorf("the server has %d sessions after that; want the one", n)
		}
	}
}

func TestPushRules(t *testing.T) {
	e := &ends{routes: rulesRoutes}
	e.dial(t)
	for _, test := range []struct {
		name, method string
		arg          any
		set          []tp.MessageSetting
		code         int32
		log          string
	}{
		{"argument does not decode", "/pair", []byte("{1"), nil, 0, "400"},
		{"handler panics", "/panic", Pair{}, nil, 0, "push panics"},
		{"argument cannot be marshalled", "/pair", stubborn{}, nil, 104, ""},
		{"unknown filter", "/pair", Pair{}, []tp.MessageSetting{tp.WithXferPipe(99)}, 104, ""},
		{"unknown codec", "/pair", Pair{}, []tp.MessageSetting{tp.WithBodyCodec(200)}, 104, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantRerror(t, "Push", e.sess.Push(test.method, test.arg, test.set...), test.code)
			if test.log != "" {
				e.srvLines.want(t, "WARN PUSH", test.log)
			}
			e.sess.Push("/pair", Pair{"after", ""})
			if got := receive(t, "the next push", pushed); got != "after" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestHiddenPanics(t *testing.T) {
	e := &ends{routes: rulesRoutes, srvCfg: tp.PeerConfig{HidePanics: true}}
	e.dial(t)
	r := e.call(t, "/panic", []byte("x"), nil)
	wantRerror(t, "the call", r, 500)
	if r != nil && r.Reason != "" {
		t.Errorf("the reason is %q; want it hidden", r.Reason)
	}
	line := e.srvLines.want(t, "ERROR panic in handler /panic: a text")
	if !strings.Contains(line, "rules_test.go") {
		t.Errorf("the log has no stack: %s", line)
	}
}

func TestErrorReply(t *testing.T) {
	e := &ends{routes: rulesRoutes}
	e.dial(t)
	got := "untouched"
	cmd := e.cmd(t, "/fail", nil, &got)
	r := cmd.Rerror()
	wantRerror(t, "the call", r, 1001)
	if r.Message != "mine" || r.Reason != "why" || got != "untouched" {
		t.Errorf("error %v, result %q", r, got)
	}
	if cmd.InputBodyCodec() != codec.NilCodecID || cmd.InputMeta().String() != "k=1&k=2" {
		t.Errorf("an error reply has codec %d and metadata %q; want 0 and what the handler set", cmd.InputBodyCodec(), cmd.InputMeta())
	}
	if _, r := cmd.Reply(); r == nil || r.Code != 1001 {
		t.Errorf("Reply gives %v", r)
	}
	if tp.Code(r.Err()) != 1001 || tp.ToRerror(fmt.Errorf("wrapped: %w", r.Err())).Reason != "why" {
		t.Error("the error does not survive being wrapped")
	}
}

func TestReplyCodec(t *testing.T) {
	e := &ends{routes: rulesRoutes}
	e.dial(t)
	const j, x = testwire.JSON, testwire.Text
	for _, test := range []struct {
		name    string
		set     []tp.MessageSetting
		handler byte
		want    byte
		seen    string
	}{
		{"the request's", []tp.MessageSetting{tp.WithBodyCodec(x)}, 0, x, "251 251"},
		{"the peer's own default for the request", nil, 0, j, "250 250"},
		{"what the caller accepts", []tp.MessageSetting{tp.WithAcceptBodyCodec(x)}, 0, x, "250 251"},
		{"what the handler sets goes first", []tp.MessageSetting{tp.WithAcceptBodyCodec(x)}, j, j, "250 250"},
		{"the caller accepts what is not there", []tp.MessageSetting{tp.WithAcceptBodyCodec(99)}, 0, j, "250 250"},
		{"the caller accepts rubbish", []tp.MessageSetting{tp.WithSetMeta(tp.MetaAcceptBodyCodec, "25x")}, 0, j, "250 250"},
		{"the caller accepts more than a byte", []tp.MessageSetting{tp.WithSetMeta(tp.MetaAcceptBodyCodec, "507")}, 0, j, "250 250"},
		{"accept 0 asks for nothing", []tp.MessageSetting{tp.WithAcceptBodyCodec(0)}, 0, j, "250 250"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			cmd := e.cmd(t, "/codec", []byte{test.handler}, &got, test.set...)
			if r := cmd.Rerror(); r != nil || cmd.InputBodyCodec() != test.want || got != test.seen {
				t.Errorf("reply %q in codec %d, %v; want %q in %d", got, cmd.InputBodyCodec(), r, test.seen, test.want)
			}
		})
	}
	wantRerror(t, "a codec that is not there", e.call(t, "/codec", []byte{99}, nil), 500, "unsupported codec id: 99")
}

func TestPipes(t *testing.T) {
	e := &ends{routes: rulesRoutes}
	e.dial(t)
	for _, test := range []struct {
		name  string
		set   []byte
		reply []byte
		want  string
	}{
		{"none", nil, nil, "[] []"},
		{"copied from the request", []byte{testwire.XOR, testwire.Sum}, nil, "[250 251] [250 251]"},
		{"and more of the handler's", []byte{testwire.XOR}, []byte{testwire.Hex}, "[250] [250]"},
		{"of the handler alone", nil, []byte{testwire.Sum, testwire.XOR}, "[] []"},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := &pipeSeer{ids: make(chan string, 1)}
			e.cli.PluginContainer().AppendRight(x)
			defer e.cli.PluginContainer().Remove(x.Name())
			var got string
			if r := e.call(t, "/pipe", test.reply, &got, tp.WithXferPipe(test.set...)); r != nil || got != test.want {
				t.Errorf("the handler sees %q, %v; want %q", got, r, test.want)
			}
			want := append(append([]byte{}, test.set...), test.reply...)
			if ids := <-x.ids; ids != fmt.Sprint(want) {
				t.Errorf("the reply's pipe is %s; want %v", ids, want)
			}
		})
	}
}

type pipeSeer struct{ ids chan string }

func (*pipeSeer) Name() string { return "pipe seer" }

func (p *pipeSeer) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror {
	p.ids <- fmt.Sprint(append([]byte{}, ctx.Input().XferPipe().IDs()...))
	return nil
}

// A message whose filters fail is dropped; the connection lives.
func TestFilterFailsOnUnpacking(t *testing.T) {
	e := &ends{routes: rulesRoutes}
	e.dial(t)
	if r := e.sess.Push("/pair", Pair{"x", ""}, tp.WithXferPipe(testwire.Fail)); r != nil {
		t.Fatal(r)
	}
	e.srvLines.want(t, "WARN dropped a message", "never unpacks")
	if r := e.call(t, "/pair", Pair{}, nil); r != nil {
		t.Errorf("afterwards a call gives %v", r)
	}
}

// The service method of a reply is empty on the wire.
func TestReplyMethodIsEmptyOnTheWire(t *testing.T) {
	methods := make(chan string, 10)
	spy := func(rw socket.IOWithReadBuffer) tp.Proto {
		return spyProto{testwire.New(rw).(socket.FrameAppender), methods}
	}
	e := &ends{routes: rulesRoutes, srvCfg: tp.PeerConfig{}}
	e.both = func(c *tp.PeerConfig) { c.Protocol = spy }
	e.dial(t)
	for _, method := range []string{"/pair", "/nowhere"} {
		e.call(t, method, Pair{}, nil)
		if got := receive(t, "a CALL's method", methods); got != "1"+method {
			t.Errorf("sent %q; want the CALL to %s", got, method)
		}
		if got := receive(t, "a REPLY's method", methods); got != "2" {
			t.Errorf("sent %q; want a REPLY without a method", got)
		}
	}
}

type spyProto struct {
	socket.FrameAppender
	methods chan string
}

func (p spyProto) AppendFrame(dst []byte, m tp.Message) ([]byte, error) {
	p.methods <- fmt.Sprint(m.Mtype(), m.ServiceMethod())
	return p.FrameAppender.AppendFrame(dst, m)
}
