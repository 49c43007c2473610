package tp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// parcel is a wrapped body.
type parcel struct{ Wrapped []byte }

// wrapping wraps bodies as the secure plugins of v5 and v7 do: before a body is read it
// replaces the framework's value by its own; when that is decoded, it decodes the wrapped
// bytes into the framework's value.
type wrapping struct{ t *testing.T }

func (wrapping) Name() string { return "wrapping" }

func (w wrapping) wrap(c tp.WriteCtx) *tp.Rerror {
	if c.Rerror().HasError() {
		return nil
	}
	b, err := c.Output().MarshalBody()
	if err != nil {
		return tp.ToRerror(err)
	}
	c.Output().SetBody(&parcel{b})
	c.Output().SetBodyCodec(testwire.JSON)
	c.Output().Meta().Set("wrapped", "true")
	return nil
}

func (w wrapping) before(c tp.ReadCtx) *tp.Rerror {
	if c.PeekMeta("wrapped") == nil {
		return nil
	}
	c.Swap().Store("body", c.Input().Body())
	c.Input().SetBody(new(parcel))
	return nil
}

func (w wrapping) after(c tp.ReadCtx) *tp.Rerror {
	if c.PeekMeta("wrapped") == nil {
		return nil
	}
	p, ok := c.Input().Body().(*parcel)
	if !ok {
		return tp.NewRerror(1001, fmt.Sprintf("body is %T", c.Input().Body()), "")
	}
	body, _ := c.Swap().Load("body")
	c.Input().SetBody(body)
	return tp.ToRerror(c.Input().UnmarshalBody(p.Wrapped))
}

func (w wrapping) PreWriteCall(c tp.WriteCtx) *tp.Rerror     { return w.wrap(c) }
func (w wrapping) PreWritePush(c tp.WriteCtx) *tp.Rerror     { return w.wrap(c) }
func (w wrapping) PreWriteReply(c tp.WriteCtx) *tp.Rerror    { return w.wrap(c) }
func (w wrapping) PreReadCallBody(c tp.ReadCtx) *tp.Rerror   { return w.before(c) }
func (w wrapping) PostReadCallBody(c tp.ReadCtx) *tp.Rerror  { return w.after(c) }
func (w wrapping) PreReadPushBody(c tp.ReadCtx) *tp.Rerror   { return w.before(c) }
func (w wrapping) PostReadPushBody(c tp.ReadCtx) *tp.Rerror  { return w.after(c) }
func (w wrapping) PreReadReplyBody(c tp.ReadCtx) *tp.Rerror  { return w.before(c) }
func (w wrapping) PostReadReplyBody(c tp.ReadCtx) *tp.Rerror { return w.after(c) }

func TestBodyReplacedByHooks(t *testing.T) {
	got := make(chan string, 10)
	e := &ends{
		srvPlugin: []tp.Plugin{wrapping{t}}, cliPlugin: []tp.Plugin{wrapping{t}},
		routes: func(p tp.Peer) {
			tp.HandleCall(p, "/typed", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
			tp.HandleCall(p, "/bytes", func(_ tp.CallCtx, arg *[]byte) ([]byte, error) { return *arg, nil })
			tp.HandleCall(p, "/fail", func(tp.CallCtx, *string) (string, error) { return "", tp.NewRerror(1000, "mine", "").Err() })
			tp.HandleCallInto(p, "/into", func(_ tp.CallCtx, arg, reply *Pair) error { *reply = *arg; return nil })
			p.RouteCall(new(Shapes))
			tp.HandlePush(p, "/push", func(_ tp.PushCtx, arg *string) error { got <- *arg; return nil })
			p.SetUnknownCall(func(c tp.UnknownCallCtx) (any, *tp.Rerror) {
				var s string
				if _, err := c.Bind(&s); err != nil {
					return nil, tp.ToRerror(err)
				}
				return fmt.Sprintf("%s %s", s, c.InputBodyBytes()), nil
			})
			p.SetUnknownPush(func(c tp.UnknownPushCtx) *tp.Rerror { got <- string(c.InputBodyBytes()); return nil })
		},
	}
	e.dial(t)
	for _, size := range []int{0, 10, 100 << 10} {
		text := strings.Repeat("x", size)
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			for _, method := range []string{"/typed", "/shapes/seed"} {
				var reply string
				if r := e.call(t, method, text, &reply); r != nil || reply != text {
					t.Errorf("%s: %d bytes, %v; want %d", method, len(reply), r, size)
				}
				if reply, err := tp.Invoke[string](t.Context(), e.sess, method, text); err != nil || reply != text {
					t.Errorf("Invoke %s: %d bytes, %v; want %d", method, len(reply), err, size)
				}
				if r := e.call(t, method, text, nil); r != nil {
					t.Errorf("%s without a result: %v", method, r)
				}
				async := ""
				if _, r := e.sess.AsyncCall(method, text, &async, nil).Reply(); r != nil || async != text {
					t.Errorf("AsyncCall %s: %d bytes, %v; want %d", method, len(async), r, size)
				}
			}
			var b []byte
			if r := e.call(t, "/bytes", []byte(text), &b); r != nil || string(b) != text {
				t.Errorf("bytes: %d, %v; want %d", len(b), r, size)
			}
			into := Pair{A: "left over", B: "left over"}
			for _, want := range []Pair{{A: text}, {B: text}} {
				arg := map[string]string{"A": want.A}
				if want.B != "" {
					arg = map[string]string{"B": want.B}
				}
				if err := tp.InvokeInto(t.Context(), e.sess, "/into", arg, &into); err != nil || into != want {
					t.Errorf("InvokeInto: %d and %d bytes, %v; want %d and %d", len(into.A), len(into.B), err, len(want.A), len(want.B))
				}
			}
			var unknown string
			if r := e.call(t, "/nobody", text, &unknown); r != nil || unknown != text+` "`+text+`"` {
				t.Errorf("unknown call: %d bytes, %v", len(unknown), r)
			}
			for method, want := range map[string]string{"/push": text, "/nobody": `"` + text + `"`} {
				if r := e.sess.Push(method, text); r != nil {
					t.Fatal(r)
				}
				if b := receive(t, method, got); b != want {
					t.Errorf("push %s: %d bytes; want %d", method, len(b), len(want))
				}
			}
		})
	}
	wantRerror(t, "a handler's error", e.call(t, "/fail", "x", new(string)), 1000)
}

// looking records the values of Input().Body().
type looking struct {
	tp.Plugin
	lines *journal
	code  int32
}

func (*looking) Name() string { return "looking" }

func (l *looking) look(c tp.ReadCtx) *tp.Rerror {
	if c.Rerror().HasError() {
		l.lines.add("%T, error %d", c.Input().Body(), c.Rerror().Code)
		return nil
	}
	raw := c.Input().RawBody()
	if strings.Contains(c.Input().String(), `"body": {`) || bytes.Contains(raw, []byte("parcel")) {
		l.lines.add("the message shows a body that is not decoded: %s", c.Input())
	}
	l.lines.add("%T %s", c.Input().Body(), raw)
	if l.code != 0 {
		return tp.NewRerror(l.code, "", "")
	}
	if string(raw) == `"other"` { // replaces the encoded body alone
		return tp.ToRerror(c.Input().UnmarshalBody([]byte(`"opened"`)))
	}
	return nil
}

func (l *looking) PreReadCallBody(c tp.ReadCtx) *tp.Rerror  { return l.look(c) }
func (l *looking) PreReadPushBody(c tp.ReadCtx) *tp.Rerror  { return l.look(c) }
func (l *looking) PreReadReplyBody(c tp.ReadCtx) *tp.Rerror { return l.look(c) }

func TestInputBodyBeforeItIsDecoded(t *testing.T) {
	srv, cli := &looking{lines: new(journal)}, &looking{lines: new(journal)}
	e := &ends{
		srvPlugin: []tp.Plugin{srv}, cliPlugin: []tp.Plugin{cli},
		routes: func(p tp.Peer) {
			tp.HandleCall(p, "/echo", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
			tp.HandleCall(p, "/pair", func(_ tp.CallCtx, arg *Pair) (*Pair, error) { return arg, nil })
			tp.HandleCall(p, "/fail", func(tp.CallCtx, *string) (string, error) { return "", tp.NewRerror(1000, "mine", "").Err() })
			tp.HandlePush(p, "/push", func(_ tp.PushCtx, arg *string) error { pushed <- *arg; return nil })
			p.SetUnknownCall(func(c tp.UnknownCallCtx) (any, *tp.Rerror) { return json.RawMessage(c.InputBodyBytes()), nil })
		},
	}
	e.dial(t)
	for _, test := range []struct {
		method      string
		arg, result any
		want        string // of the result
		srv, cli    string
	}{
		{"/echo", "x", new(string), `"x"`, `*string "x"`, `*string "x"`},
		{"/echo", "other", new(string), `"opened"`, `*string "other"`, `*string "opened"`},
		{"/echo", "x", nil, `null`, `*string "x"`, `<nil> "x"`},
		{"/pair", Pair{"a", "b"}, new(Pair), `{"A":"a","B":"b"}`, `*tp_test.Pair {"A":"a","B":"b"}`, `*tp_test.Pair {"A":"a","B":"b"}`},
		{"/nobody", "x", new(string), `"x"`, `*[]uint8 "x"`, `*string "x"`},
		{"/fail", "x", new(string), `""`, `*string "x"`, `*string, error 1000`},
	} {
		r := e.call(t, test.method, test.arg, test.result)
		if r != nil && r.Code != 1000 {
			t.Errorf("%s: %v", test.method, r)
		}
		if b, _ := json.Marshal(test.result); string(b) != test.want {
			t.Errorf("%s: result %s; want %s", test.method, b, test.want)
		}
		wantLines(t, test.method+" at the callee", srv.lines.take(), test.srv)
		wantLines(t, test.method+" at the caller", cli.lines.take(), test.cli)
	}
	if r := e.sess.Push("/push", "x"); r != nil {
		t.Fatal(r)
	}
	receive(t, "the push", pushed)
	wantLines(t, "a push", srv.lines.take(), `*string "x"`)

	// A refused body is not decoded, and an argument that is used again is given back.
	srv.code = 1002
	wantRerror(t, "a refused call", e.call(t, "/echo", "x", nil), 1002)
	srv.code = 0
	wantRerror(t, "a call that does not decode", e.call(t, "/echo", 7, nil), tp.CodeBadMessage)
	var got string
	if r := e.call(t, "/echo", "x", &got); r != nil || got != "x" {
		t.Errorf("afterwards: %q, %v", got, r)
	}
}
