package binder_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/binder"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	m.Run()
}

func TestConformance(t *testing.T) {
	tptest.RunPlugin(t, func() tp.Plugin { return binder.NewStructArgsBinder(nil) })
}

// word is a body of the suite that is a struct, so that the binder has work to do.
type word struct {
	Text string `param:"<len::1000000><regexp:.>"`
	Note string `param:"<meta><len::10>"`
}

func TestConformanceOfStructs(t *testing.T) {
	tptest.RunPlugin(t, func() tp.Plugin {
		b := binder.NewStructArgsBinder(nil)
		b.SetValidator(func(arg any) error {
			if arg.(*word).Text == "" {
				return errors.New("no text")
			}
			return nil
		})
		return b
	}, tptest.Bodies("testjson", func(s string) *word { return &word{Text: s} }, func(w *word) string { return w.Text }))
}

// rig is a session with a peer that has the plugin.
type rig struct {
	*testing.T
	b        *binder.StructArgsBinder
	srv, cli tp.Peer
	sess     tp.Session
}

func newRig(t *testing.T, plugin ...tp.Plugin) *rig {
	t.Helper()
	g := &rig{T: t, b: binder.NewStructArgsBinder(nil)}
	cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
	g.srv = tptest.NewPeer(t, cfg, append(plugin, g.b)...)
	g.cli = tptest.NewPeer(t, cfg)
	g.sess = tptest.Dial(t, g.cli, tptest.Listen(t, g.srv))
	return g
}

// reason takes the reason out of the usual error.
func reason(t *testing.T, r *tp.Rerror) (param, text string) {
	t.Helper()
	var v struct{ Handler, Param, Reason string }
	if err := json.Unmarshal([]byte(r.Reason), &v); err != nil || r.Code != tp.CodeBadMessage || r.Message != "Invalid Parameter" {
		t.Fatalf("got the error %s; want 400 Invalid Parameter with a reason in JSON (%v)", r, err)
	}
	return v.Param, v.Reason
}

type fromMeta struct {
	Kept    string    `param:"<meta>"`
	XyZ     string    `param:"<meta>"`
	Bool    bool      `param:"<meta:b>"`
	Bools   []bool    `param:"<meta: b>"`
	Int     int8      `param:"<meta:i>"`
	Ints    []int64   `param:"<meta:i>"`
	Uint    uint16    `param:"<meta:u>"`
	Uints   []uint    `param:"<meta:u>"`
	Float   float32   `param:"<meta:f>"`
	Floats  []float64 `param:"<meta:f>"`
	Strings []string  `param:"<meta:s>"`
	Bytes   []byte    `param:"<meta:s>"`
	Lists   [][]byte  `param:"<meta:s>"`
}

func TestMeta(t *testing.T) {
	tptest.Poison(t)
	g := newRig(t)
	got, pushed := make(chan fromMeta, 1), make(chan fromMeta, 1)
	tp.HandleCall(g.srv, "/bind", func(_ tp.CallCtx, arg *fromMeta) (int, error) { got <- *arg; return 1, nil })
	tp.HandlePush(g.srv, "/bind", func(_ tp.PushCtx, arg *fromMeta) error { pushed <- *arg; return nil })
	sent := fromMeta{Kept: "as decoded", XyZ: "lost", Int: 99, Strings: []string{"lost"}}
	set := func(m tp.Message) {
		for _, kv := range [][2]string{
			{"xy_z", "x"}, {"xy_z", "second"}, {"b", "on"}, {"b", "1"}, {"b", "true"}, {"b", "yes"}, {"b", ""},
			{"i", "-128"}, {"i", "127"}, {"u", "65535"}, {"f", "0.5"}, {"f", "-1e3"}, {"s", "\x00a=&"}, {"s", ""},
		} {
			m.Meta().Add(kv[0], kv[1])
		}
	}
	want := fromMeta{
		Kept: "as decoded", XyZ: "x", Bool: true, Bools: []bool{true, true, true, false, false},
		Int: -128, Ints: []int64{-128, 127}, Uint: 65535, Uints: []uint{65535}, Float: 0.5, Floats: []float64{0.5, -1000},
		Strings: []string{"\x00a=&", ""}, Bytes: []byte("\x00a=&"), Lists: [][]byte{[]byte("\x00a=&"), {}},
	}
	if r := g.sess.Call("/bind", sent, nil, set).Rerror(); r != nil {
		t.Fatalf("Call: %s", r)
	}
	if got := <-got; !reflect.DeepEqual(got, want) {
		t.Errorf("CALL: got %+v; want %+v", got, want)
	}
	if r := g.sess.Push("/bind", sent, set); r != nil {
		t.Fatalf("Push: %s", r)
	}
	if got := <-pushed; !reflect.DeepEqual(got, want) {
		t.Errorf("PUSH: got %+v; want %+v", got, want)
	}
}

func TestHostileMeta(t *testing.T) {
	g := newRig(t)
	tp.HandleCall(g.srv, "/bind", func(tp.CallCtx, *fromMeta) (int, error) { return 1, nil })
	for _, test := range []struct{ key, value, want string }{
		{"i", "q", `converting type []string ("q") to a int8: invalid syntax`},
		{"i", "", `converting type []string ("") to a int8: invalid syntax`},
		{"i", "128", `converting type []string ("128") to a int8: value out of range`},
		{"i", "1.0", `converting type []string ("1.0") to a int8: invalid syntax`},
		{"u", "-1", `converting type []string ("-1") to a uint16: invalid syntax`},
		{"u", "65536", `converting type []string ("65536") to a uint16: value out of range`},
		{"f", "1e39", `converting type []string ("1e39") to a float32: value out of range`},
		{"f", "\"\n\x00", `converting type []string ("\"\n\x00") to a float32: invalid syntax`},
		{"i", long(50_000), `converting type []string ("` + long(256) + `…") to a int8: invalid syntax`},
	} {
		r := g.sess.Call("/bind", fromMeta{}, nil, tp.WithSetMeta(test.key, test.value)).Rerror()
		if param, got := reason(t, r); param != test.key || got != test.want {
			t.Errorf("%s=%.20q: parameter %q, reason %q; want %q, %q", test.key, test.value, param, got, test.key, test.want)
		}
	}
	r := g.sess.Call("/bind", fromMeta{}, nil, tp.WithAddMeta("i", "1"), tp.WithAddMeta("i", "q")).Rerror()
	if _, got := reason(t, r); got != `converting type []string ("q") to a slice: invalid syntax` {
		t.Errorf("a slice: reason %q", got)
	}
}

// However much metadata there is, what belongs to a field reaches it, and a reason
// stays short.
func TestMuchMeta(t *testing.T) {
	g := newRig(t)
	got := make(chan fromMeta, 1)
	tp.HandleCall(g.srv, "/bind", func(_ tp.CallCtx, arg *fromMeta) (int, error) { got <- *arg; return 1, nil })
	huge := long(64 << 10)
	set := func(m tp.Message) {
		for i := range 1000 {
			m.Meta().Add(fmt.Sprint("k", i), "v")
			m.Meta().Add("s", fmt.Sprint(i))
		}
		m.Meta().Add("xy_z", huge)
		m.Meta().Add("xy_z", "second")
	}
	if r := g.sess.Call("/bind", fromMeta{}, nil, set).Rerror(); r != nil {
		t.Fatal(r)
	}
	if a := <-got; len(a.Strings) != 1000 || a.Strings[999] != "999" || a.XyZ != huge || string(a.Bytes) != "0" {
		t.Errorf("%d texts, one of %d bytes, first %q", len(a.Strings), len(a.XyZ), a.Bytes)
	}
	r := g.sess.Call("/bind", fromMeta{}, nil, set, tp.WithSetMeta("u", huge)).Rerror()
	if param, text := reason(t, r); param != "u" || len(r.Reason) > 1000 {
		t.Errorf("parameter %q, a reason of %d bytes", param, len(text))
	}
	if !g.sess.Health() {
		t.Errorf("the session has ended: %v", g.sess.CloseReason())
	}
}

// storing puts things into the swap.
type storing map[string]any

func (storing) Name() string { return "storing" }

func (s storing) PostReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	for k, v := range s {
		ctx.Swap().Store(k, v)
	}
	return nil
}

func TestSwap(t *testing.T) {
	type level int16
	type arg struct {
		SwapValue float32       `param:"<swap><nonzero>"`
		Any       any           `param:"<swap:a>"`
		Strings   []string      `param:"<swap:s>"`
		Level     level         `param:"<swap:l>"`
		Unsigned  uint8         `param:"<swap:u>"`
		Text      string        `param:"<swap:t>"`
		Time      time.Duration `param:"<swap:d>"`
		Array     [2]int        `param:"<swap:x>"`
	}
	for _, test := range []struct {
		name   string
		swap   storing
		want   arg
		reason string
	}{
		{"assigned and converted", storing{"swap_value": 123, "a": t, "s": []string{"a"}, "l": int64(-3), "u": 255.0, "t": []byte("text"), "d": 5},
			arg{SwapValue: 123, Any: t, Strings: []string{"a"}, Level: -3, Unsigned: 255, Text: "text", Time: 5}, ""},
		{"absent", storing{}, arg{}, "zero value"},
		{"of another type", storing{"swap_value": "1"}, arg{}, "float32 can not be setted"},
		{"nil", storing{"swap_value": nil}, arg{}, "float32 can not be setted"},
		{"too large", storing{"swap_value": 1, "l": 1 << 20}, arg{}, "binder_test.level can not be setted"},
		{"negative", storing{"swap_value": 1, "u": -1}, arg{}, "uint8 can not be setted"},
		{"no letter of a number", storing{"swap_value": 1, "t": 65}, arg{}, "string can not be setted"},
		{"short for an array", storing{"swap_value": 1, "x": []int{1}}, arg{}, "[2]int can not be setted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newRig(t, test.swap)
			got := make(chan arg, 1)
			tp.HandleCall(g.srv, "/swap", func(_ tp.CallCtx, a *arg) (int, error) { got <- *a; return 1, nil })
			r := g.sess.Call("/swap", struct{}{}, nil).Rerror()
			if test.reason != "" {
				if _, text := reason(t, r); text != test.reason {
					t.Errorf("reason %q; want %q", text, test.reason)
				}
				return
			}
			if r != nil {
				t.Fatalf("Call: %s", r)
			}
			if got := <-got; !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v; want %+v", got, test.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	type arg struct {
		Plain   int `param:"<range:0:>"`
		Both    int `param:"<range:0:><rerr:1001: no \\< such thing >"`
		Code    int `param:"<range:0:><rerr:-7:>"`
		Message int `param:"<range:0:><rerr::words: 1:2>"`
		Bound   int `param:"<meta:n><rerr:1002:not bound>"`
	}
	shared := tp.NewRerror(9, "nine", "shared")
	asked := make(chan [3]string, 1)
	own := func(handler, param, reason string) *tp.Rerror {
		asked <- [3]string{handler, param, reason}
		return shared
	}
	none := func(string, string, string) *tp.Rerror { return nil }
	usual := func(param, reason string) string {
		return `{"handler": "/check", "param": "` + param + `", "reason": "` + reason + `"}`
	}
	for _, test := range []struct {
		name string
		fn   binder.ErrorFunc
		arg  string
		want *tp.Rerror

		asked string // for which parameter the function own was
	}{
		{"default", nil, `{"Plain":-1}`, tp.NewRerror(400, "Invalid Parameter", usual("plain", "smaller than 0: -1")), ""},
		{"code and message", nil, `{"Code":0,"Both":-1}`, tp.NewRerror(1001, "no < such thing", usual("both", "smaller than 0: -1")), ""},
		{"code", nil, `{"Code":-1}`, tp.NewRerror(-7, "Invalid Parameter", usual("code", "smaller than 0: -1")), ""},
		{"message", nil, `{"Message":-1}`, tp.NewRerror(400, "words: 1:2", usual("message", "smaller than 0: -1")), ""},
		{"binding", nil, `{}`, tp.NewRerror(1002, "not bound", usual("n", `converting type []string (\"x\") to a int: invalid syntax`)), ""},
		{"own", own, `{"Plain":-1}`, shared, "plain"},
		{"own, renamed", own, `{"Both":-1}`, tp.NewRerror(1001, "no < such thing", "shared"), "both"},
		{"own without an error", none, `{"Plain":-1}`, tp.NewRerror(400, "Invalid Parameter", usual("plain", "smaller than 0: -1")), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newRig(t)
			g.b.SetErrorFunc(test.fn)
			tp.HandleCall(g.srv, "/check", func(tp.CallCtx, *arg) (int, error) { return 1, nil })
			r := g.sess.Call("/check?q=1", []byte(test.arg), nil, tp.WithSetMeta("n", "x")).Rerror()
			if r.String() != test.want.String() {
				t.Errorf("got %s\nwant %s", r, test.want)
			}
			if test.asked == "" {
				return
			}
			if got := <-asked; got != [3]string{"/check", test.asked, "smaller than 0: -1"} {
				t.Errorf("the function was asked with %q", got)
			}
		})
	}
	if shared.Code != 9 || shared.Message != "nine" {
		t.Errorf("the shared error has become %s", shared)
	}
}

func TestValidator(t *testing.T) {
	type arg struct {
		A int `param:"<range:0:>"`
		B int
	}
	g := newRig(t)
	tp.HandleCall(g.srv, "/check", func(_ tp.CallCtx, a *arg) (int, error) { return a.B, nil })
	tp.HandleCall(g.srv, "/text", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
	var seen []any
	check := func(err error) func(any) error {
		return func(v any) error {
			seen = append(seen, *v.(*arg))
			return err
		}
	}
	for _, test := range []struct {
		name     string
		validate func(any) error
		arg      arg
		want     *tp.Rerror
		seen     []any
	}{
		{"content", check(nil), arg{1, 2}, nil, []any{arg{1, 2}}},
		{"refusing", check(errors.New("B > A")), arg{1, 2}, tp.NewRerror(400, "Invalid Parameter", `{"handler": "/check", "param": "", "reason": "B > A"}`), []any{arg{1, 2}}},
		{"with an error of its own", check(tp.NewRerror(4711, "own", "words").Err()), arg{1, 2}, tp.NewRerror(4711, "own", "words"), []any{arg{1, 2}}},
		{"tags come first", check(nil), arg{-1, 2}, tp.NewRerror(400, "Invalid Parameter", `{"handler": "/check", "param": "a", "reason": "smaller than 0: -1"}`), nil},
		{"none", nil, arg{1, 2}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen = nil
			g.b.SetValidator(test.validate)
			if r := g.sess.Call("/check", test.arg, nil).Rerror(); r.String() != test.want.String() {
				t.Errorf("got %s\nwant %s", r, test.want)
			}
			if r := g.sess.Call("/text", "no struct", nil).Rerror(); r != nil {
				t.Errorf("an argument that is no struct: %s", r)
			}
			if !slices.Equal(seen, test.seen) {
				t.Errorf("the validator saw %v; want %v", seen, test.seen)
			}
		})
	}
	g.b.SetValidator(func(any) error { panic("ouch") })
	if r := g.sess.Call("/check", arg{}, nil).Rerror(); r == nil || r.Code != tp.CodeInternalServerError {
		t.Errorf("a validator that panics: %s; want 500", r)
	}
}

// Peers that share the plugin may have different handlers by one name, and calls
// and pushes on one peer too.
func TestShared(t *testing.T) {
	b := binder.NewStructArgsBinder(nil)
	type short struct {
		V string `param:"<len::1>"`
	}
	type longer struct {
		V string `param:"<len:2:>"`
	}
	cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
	one, other := tptest.NewPeer(t, cfg, b), tptest.NewPeer(t, cfg, b)
	tp.HandleCall(one, "/v", func(tp.CallCtx, *short) (int, error) { return 1, nil })
	tp.HandleCall(other, "/v", func(tp.CallCtx, *longer) (int, error) { return 2, nil })
	cli := tptest.NewPeer(t, cfg)
	for want, p := range []tp.Peer{one, other} {
		sess := tptest.Dial(t, cli, tptest.Listen(t, p))
		texts := []string{"a", "ab"}
		var got int
		if r := sess.Call("/v", short{texts[want]}, &got).Rerror(); r != nil || got != want+1 {
			t.Errorf("peer %d: %d, %s", want, got, r)
		}
		if r := sess.Call("/v", short{texts[1-want]}, nil).Rerror(); r == nil {
			t.Errorf("peer %d has the checks of the other", want)
		}
	}
}

// Routes that were there before the plugin are checked too.
func TestLatePlugin(t *testing.T) {
	type arg struct {
		V string `param:"<nonzero>"`
	}
	type wrong struct {
		V int `param:"<len:1:>"`
	}
	srv, _, sess := tptest.Peers(t)
	tp.HandleCall(srv, "/check", func(tp.CallCtx, *arg) (int, error) { return 1, nil })
	tp.HandleCall(srv, "/wrong", func(tp.CallCtx, *wrong) (int, error) { return 1, nil })
	srv.PluginContainer().AppendRight(binder.NewStructArgsBinder(nil))
	if _, got := reason(t, sess.Call("/check", arg{}, nil).Rerror()); got != "zero value" {
		t.Errorf("reason %q; want zero value", got)
	}
	if r := sess.Call("/wrong", wrong{}, nil).Rerror(); r == nil || r.Code != 500 || !strings.Contains(r.Reason, "wrong.V invalid `len` tag for field value") {
		t.Errorf("a tag that cannot work: %s; want 500 that names it", r)
	}
}

func TestRedial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tptest.LeakCheck(t)
		type arg struct {
			V int `param:"<meta><range:1:>"`
		}
		n := tptest.NewNetwork()
		cfg := tp.PeerConfig{Network: n.Register(t), RedialTimes: 5}
		srv, cli := tptest.NewPeer(t, cfg, binder.NewStructArgsBinder(nil)), tptest.NewPeer(t, cfg, binder.NewStructArgsBinder(nil))
		tp.HandleCall(srv, "/check", func(_ tp.CallCtx, a *arg) (int, error) { return a.V, nil })
		sess := tptest.Dial(t, cli, tptest.Listen(t, srv))
		for i := range 3 {
			if i > 0 {
				n.Find(sess.LocalAddr().String()).Cut()
				synctest.Wait()
			}
			var got int
			if r := sess.Call("/check", arg{}, &got, tp.WithSetMeta("v", "7")).Rerror(); r != nil || got != 7 {
				t.Errorf("after break %d: %d, %s; want 7", i, got, r)
			}
			if r := sess.Call("/check", arg{}, nil).Rerror(); r == nil {
				t.Errorf("after break %d: nothing was refused", i)
			}
		}
	})
}
