package tp_test

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

func newOffline(t *testing.T, plugin ...tp.Plugin) tp.Peer {
	t.Helper()
	p := tp.NewPeer(tp.PeerConfig{Logger: newQuiet(nil)}, plugin...)
	t.Cleanup(func() { p.Close() })
	return p
}

// Shapes is a controller with every allowed signature.
type Shapes struct {
	tp.CallCtx
}

type Pair struct{ A, B string }

func (s *Shapes) Seed(arg *string) (string, *tp.Rerror) { return *arg, nil }
func (s *Shapes) Error(arg *string) (string, error)     { return "", errors.New("plain " + *arg) }
func (s *Shapes) Coded(arg *string) (string, error) {
	return "", tp.NewRerror(1001, "mine", *arg).Err()
}
func (s *Shapes) Failed(arg *string) (string, *tp.Rerror) {
	return "", tp.NewRerror(1002, "mine", *arg)
}
func (s *Shapes) Fine(arg *string) (string, *tp.Rerror)   { return *arg, tp.NewRerror(0, "", "") }
func (s *Shapes) Status(arg *string) (string, *tp.Rerror) { return "status " + *arg, nil }
func (s *Shapes) Struct(arg *Pair) (*Pair, *tp.Rerror)    { return &Pair{arg.B, arg.A}, nil }
func (s *Shapes) Value(arg *Pair) (Pair, error)           { return Pair{arg.B, arg.A}, nil }
func (s *Shapes) Bytes(arg *[]byte) ([]byte, error)       { return *arg, nil }
func (s *Shapes) Slice(arg *[]Pair) (map[string]int, error) {
	return map[string]int{"n": len(*arg)}, nil
}
func (s *Shapes) Any(arg *any) (any, error)      { return *arg, nil }
func (s *Shapes) Nil(arg *string) (*Pair, error) { return nil, nil }

// Query has the name of a method of the context.
func (s *Shapes) Query(arg *string) (string, error) { return s.CallCtx.Query().Get(*arg), nil }

func TestCallShapes(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) { p.RouteCall(new(Shapes)) }}
	e.dial(t)
	for _, test := range []struct {
		method    string
		arg, want any // want is a value, or an int32 code
		reason    string
	}{
		{"/shapes/seed", "a", "a", ""},
		{"/shapes/error", "a", int32(-1), "plain a"},
		{"/shapes/coded", "a", int32(1001), "a"},
		{"/shapes/failed", "a", int32(1002), "a"},
		{"/shapes/fine", "a", "a", ""},
		{"/shapes/status", "a", "status a", ""},
		{"/shapes/struct", Pair{"1", "2"}, Pair{"2", "1"}, ""},
		{"/shapes/value", &Pair{"1", "2"}, Pair{"2", "1"}, ""},
		{"/shapes/bytes", []byte{0, 1, 255}, []byte{0, 1, 255}, ""},
		{"/shapes/slice", []Pair{{}, {}}, map[string]int{"n": 2}, ""},
		{"/shapes/any", []int{1}, any([]any{1.0}), ""},
		{"/shapes/nil", "a", (*Pair)(nil), ""},
		{"/shapes/query?k=v", "k", "v", ""},
	} {
		t.Run(test.method, func(t *testing.T) {
			got := reflect.New(reflect.TypeOf(test.want))
			r := e.call(t, test.method, test.arg, got.Interface())
			if code, failed := test.want.(int32); failed {
				if r == nil || r.Code != code || r.Reason != test.reason && r.Message != test.reason {
					t.Errorf("error %v; want %d about %q", r, code, test.reason)
				}
				return
			}
			if r != nil || !reflect.DeepEqual(got.Elem().Interface(), test.want) {
				t.Errorf("got %v, %v; want %v", got.Elem().Interface(), r, test.want)
			}
		})
	}
}

type Pushes struct{ tp.PushCtx }

func (p *Pushes) Seed(arg *string) *tp.Rerror { pushed <- "seed " + *arg; return nil }
func (p *Pushes) Error(arg *string) error     { pushed <- "error " + *arg; return errors.New("refused") }
func (p *Pushes) Status(arg *string) error    { pushed <- "status " + *arg; return nil }

func TestPushShapes(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		p.RoutePush(new(Pushes))
		p.RoutePushFunc(YyZz)
		p.RoutePushFunc((*Pushes).Seed)
	}}
	e.dial(t)
	for method, want := range map[string]string{
		"/pushes/seed": "seed a", "/pushes/error": "error a", "/pushes/status": "status a", "/yy_zz": "YyZz a", "/seed": "seed a",
	} {
		if r := e.sess.Push(method, "a"); r != nil {
			t.Fatal(r)
		}
		if got := receive(t, method, pushed); got != want {
			t.Errorf("PUSH %s came to %q; want %q", method, got, want)
		}
	}
	e.srvLines.want(t, `PUSH "/pushes/error"`, "refused")
}

func Generic[T any](ctx tp.CallCtx, arg *T) (T, error) { return *arg, nil }

func (s *Shapes) value() func(tp.CallCtx, *string) (string, error) {
	return func(tp.CallCtx, *string) (string, error) { return "", nil }
}

type holder struct{}

func (holder) Method(ctx tp.CallCtx, arg *string) (string, error) { return "method value", nil }

func TestFunctionNames(t *testing.T) {
	p := newOffline(t)
	for _, test := range []struct {
		name string
		fn   any
		want string
	}{
		{"function", XxZz, "/xx_zz"},
		{"method expression", (*Shapes).Seed, "/seed"},
		{"method value", holder{}.Method, "/method-fm"},
		{"closure", new(Shapes).value(), "/func1"},
		{"generic function", Generic[string], "/generic"},
	} {
		if got := p.RouteCallFunc(test.fn); got != test.want {
			t.Errorf("a %s is registered as %q; want %q", test.name, got, test.want)
		}
	}
}

type exposed struct{ X int }

// The signatures that are refused, and the errors.
type (
	noCtx      struct{ A int }
	named      struct{ Ctx tp.CallCtx }
	inner      struct{ tp.CallCtx }
	Nested     struct{ inner }
	wrongCtx   struct{ tp.PushCtx }
	Empty      struct{ tp.CallCtx }
	NoArg      struct{ tp.CallCtx }
	TwoArgs    struct{ tp.CallCtx }
	ByValue    struct{ tp.CallCtx }
	Hidden     struct{ tp.CallCtx }
	OneOut     struct{ tp.CallCtx }
	WrongErr   struct{ tp.CallCtx }
	HiddenOut  struct{ tp.CallCtx }
	Rerror     struct{}
	ForeignErr struct{ tp.CallCtx }
	PushOuts   struct{ tp.PushCtx }
	PushErr    struct{ tp.PushCtx }
	Locked     struct {
		tp.CallCtx
		Mu sync.Mutex
	}
	Counted struct {
		tp.CallCtx
		Deep struct{ N [2]atomic.Int64 }
	}
	Waited struct {
		tp.CallCtx
		Wg sync.WaitGroup
	}
)

func (*noCtx) F(*string) (string, *tp.Rerror)        { return "", nil }
func (*named) F(*string) (string, *tp.Rerror)        { return "", nil }
func (*Nested) F(*string) (string, *tp.Rerror)       { return "", nil }
func (*wrongCtx) F(*string) (string, *tp.Rerror)     { return "", nil }
func (*NoArg) F() (string, *tp.Rerror)               { return "", nil }
func (*TwoArgs) F(_, _ *string) (string, *tp.Rerror) { return "", nil }
func (*ByValue) F(string) (string, *tp.Rerror)       { return "", nil }
func (*Hidden) F(*exposed) (string, *tp.Rerror)      { return "", nil }
func (*OneOut) F(*string) *tp.Rerror                 { return nil }
func (*WrongErr) F(*string) (string, string)         { return "", "" }
func (*HiddenOut) F(*string) (exposed, *tp.Rerror)   { return exposed{}, nil }
func (*ForeignErr) F(*string) (string, *Rerror)      { return "", nil }
func (*PushOuts) F(*string) (string, *tp.Rerror)     { return "", nil }
func (*PushErr) F(*string) string                    { return "" }
func (*Locked) F(*string) (string, *tp.Rerror)       { return "", nil }
func (*Counted) F(*string) (string, *tp.Rerror)      { return "", nil }
func (*Waited) F(*string) (string, *tp.Rerror)       { return "", nil }

func TestRefusedShapes(t *testing.T) {
	const call, push = "(arg *T) (R, *tp.Rerror)", "(arg *T) *tp.Rerror"
	p := newOffline(t)
	for _, test := range []struct {
		name  string
		do    func()
		words []string
	}{
		{"no pointer", func() { p.RouteCall(Shapes{}) }, []string{"call-handler: the type is not struct point: tp_test.Shapes", "new(X)", "tp.CallCtx"}},
		{"nil", func() { p.RouteCall(nil) }, []string{"call-handler: the type is not struct point"}},
		{"pointer to no struct", func() { p.RouteCall(new(int)) }, []string{"call-handler: the type is not struct point: *int"}},
		{"no context", func() { p.RouteCall(new(noCtx)) }, []string{"do not have anonymous field tp.CallCtx: *tp_test.noCtx", "type noCtx struct { tp.CallCtx }"}},
		{"context under a name", func() { p.RouteCall(new(named)) }, []string{"do not have anonymous field tp.CallCtx"}},
		{"context of an embedded struct", func() { p.RouteCall(new(Nested)) }, []string{"do not have anonymous field tp.CallCtx: *tp_test.Nested", "embed it directly"}},
		{"context of the other kind", func() { p.RouteCall(new(wrongCtx)) }, []string{"do not have anonymous field tp.CallCtx"}},
		{"push without its context", func() { p.RoutePush(new(Shapes)) }, []string{"push-handler:", "do not have anonymous field tp.PushCtx"}},
		{"no handlers", func() { p.RouteCall(new(Empty)) }, []string{"Empty has no handler method", "func (*Empty) Name" + call}},
		{"no argument", func() { p.RouteCall(new(NoArg)) }, []string{"call-handler: tp_test.NoArg.F needs one in argument, but have 0", "func (*NoArg) F" + call}},
		{"two arguments", func() { p.RouteCall(new(TwoArgs)) }, []string{"tp_test.TwoArgs.F needs one in argument, but have 2", "func (*TwoArgs) F" + call}},
		{"argument by value", func() { p.RouteCall(new(ByValue)) }, []string{"tp_test.ByValue.F arg type need be a pointer: string", "func (*ByValue) F" + call}},
		{"argument of a hidden type", func() { p.RouteCall(new(Hidden)) }, []string{"tp_test.Hidden.F arg type not exported: *tp_test.exposed", call}},
		{"one result", func() { p.RouteCall(new(OneOut)) }, []string{"tp_test.OneOut.F needs two out arguments, but have 1", call}},
		{"wrong error", func() { p.RouteCall(new(WrongErr)) }, []string{"tp_test.WrongErr.F second out argument string is not *tp.Rerror", call}},
		{"a foreign type called Rerror", func() { p.RouteCall(new(ForeignErr)) }, []string{"second out argument *tp_test.Rerror is not *tp.Rerror", call}},
		{"reply of a hidden type", func() { p.RouteCall(new(HiddenOut)) }, []string{"first out argument type not exported: tp_test.exposed", call}},
		{"push with two results", func() { p.RoutePush(new(PushOuts)) }, []string{"push-handler: tp_test.PushOuts.F needs one out argument, but have 2", "func (*PushOuts) F" + push}},
		{"push with a wrong error", func() { p.RoutePush(new(PushErr)) }, []string{"tp_test.PushErr.F out argument string is not *tp.Rerror", push}},
		{"lock by value", func() { p.RouteCall(new(Locked)) }, []string{"copy of the controller", "Locked.Mu (sync.Mutex)", "use a pointer"}},
		{"atomic by value", func() { p.RouteCall(new(Counted)) }, []string{"Counted.Deep.N[] (atomic.Int64)", "use a pointer"}},
		{"wait group by value", func() { p.RouteCall(new(Waited)) }, []string{"Waited.Wg", "use a pointer"}},
		{"no function", func() { p.RouteCallFunc(7) }, []string{"call-handler: not a function: int", "func(tp.CallCtx, arg *T) (R, *tp.Rerror)"}},
		{"nil function", func() { p.RouteCallFunc((func(tp.CallCtx, *string) (string, *tp.Rerror))(nil)) }, []string{"not a function"}},
		{"function without arguments", func() { p.RouteCallFunc(func() {}) }, []string{"needs tp.CallCtx as its first argument", "func(tp.CallCtx, arg *T)"}},
		{"function of the other kind", func() { p.RouteCallFunc(YyZz) }, []string{"YyZz needs two out arguments, but have 1", "func(tp.CallCtx, arg *T)"}},
		{"function of something else", func() { p.RouteCallFunc(func(int, *string) (string, *tp.Rerror) { return "", nil }) }, []string{"must be tp.CallCtx or a struct pointer that embeds it, not int"}},
		{"method expression of a lock", func() { p.RouteCallFunc((*Locked).F) }, []string{"Locked.Mu (sync.Mutex)"}},
		{"method expression, nested", func() { p.RouteCallFunc((*Nested).F) }, []string{"do not have anonymous field"}},
		{"HandleCall of nil", func() { tp.HandleCall[string, string](p, "/x", nil) }, []string{`HandleCall "/x"`, "nil"}},
		{"HandlePush of nil", func() { tp.HandlePush[string](p, "/x", nil) }, []string{`HandlePush "/x"`, "nil"}},
		{"SetUnknownCall of nil", func() { p.SetUnknownCall(nil) }, []string{"SetUnknownCall", "nil"}},
		{"SetUnknownPush of nil", func() { p.SetUnknownPush(nil) }, []string{"SetUnknownPush", "nil"}},
		{"SetUnknownStream of nil", func() { tp.SetUnknownStream(p, nil) }, []string{"SetUnknownStream", "nil"}},
	} {
		t.Run(test.name, func(t *testing.T) { wantPanic(t, test.name, test.do, test.words...) })
	}
	if names := p.RouteCall(new(Shapes)); len(names) != 13 {
		t.Errorf("after all that a good controller gives %q; want its 13 methods", names)
	}
}

// Store is a controller with dependencies and state of its own.
type Store struct {
	tp.CallCtx
	DB    map[string]string
	Name  string
	calls int
}

func (s *Store) Get(key *string) (string, *tp.Rerror) {
	s.calls++
	old := s.Name
	s.Name = "left over"
	if s.calls != 1 || s.Context() == nil {
		return "", tp.NewRerror(1000, "leak", "")
	}
	return old + " " + s.DB[*key], nil
}

func TestControllerIsACopyOfTheRegisteredValue(t *testing.T) {
	store := &Store{DB: map[string]string{"k": "v"}, Name: "main"}
	e := &ends{routes: func(p tp.Peer) { p.RouteCall(store) }}
	e.dial(t)
	store.Name = "changed afterwards"
	for range 20 {
		var got string
		if r := e.call(t, "/store/get", "k", &got); r != nil || got != "main v" {
			t.Fatalf("got %q, %v; want the registered value, untouched by other calls", got, r)
		}
	}
	if store.CallCtx != nil || store.calls != 0 {
		t.Error("the registered value itself was used for a call")
	}
}

func TestPointerToALockIsAllowed(t *testing.T) {
	p := newOffline(t)
	if text := panicText(func() { p.RouteCall(&Held{Mu: new(sync.Mutex), N: new(atomic.Int64)}) }); text != "" {
		t.Errorf("a controller with pointers to a lock and an atomic is refused: %s", text)
	}
}

type Held struct {
	tp.CallCtx
	Mu *sync.Mutex
	N  *atomic.Int64
}

func (h *Held) F(*string) (string, *tp.Rerror) { return "", nil }

// Guarded has a pointer to its lock, and the methods of that.
type Guarded struct {
	tp.CallCtx
	State struct {
		*sync.Mutex
		N int
	}
	Locker struct{ sync.Locker }
}

func (*Guarded) F(*string) (string, *tp.Rerror) { return "", nil }

func TestLockThatIsNotHeldByValue(t *testing.T) {
	p := newOffline(t)
	if text := panicText(func() { p.RouteCall(new(Guarded)) }); text != "" {
		t.Errorf("a controller with structs that embed a pointer to a lock, and an interface, is refused: %s", text)
	}
	if text := panicText(func() { p.RouteCallFunc((*Guarded).F) }); text != "" {
		t.Errorf("its method expression is refused: %s", text)
	}
}

// Box is generic.
type Box[T any] struct{ tp.CallCtx }

func (*Box[T]) Same(arg *T) (T, error)            { return *arg, nil }
func Same[T any](_ tp.CallCtx, arg *T) (T, error) { return *arg, nil }

func TestGenericNames(t *testing.T) {
	var names []string
	e := &ends{routes: func(p tp.Peer) {
		names = p.RouteCall(new(Box[Pair]))
		names = append(names, p.SubRoute("ints").RouteCall(new(Box[int]))...)
		names = append(names, p.SubRoute("f").RouteCallFunc(Same[Pair]), p.SubRoute("m").RouteCallFunc((*Box[Pair]).Same))
		wantPanic(t, "the same name again", func() { p.RouteCall(new(Box[string])) }, "handler conflict: /box/same")
	}}
	e.dial(t)
	wantLines(t, "names", names, "/box/same", "/ints/box/same", "/f/same", "/m/same")
	for _, name := range names {
		arg, want := any(Pair{"a", "b"}), any(Pair{"a", "b"})
		got := any(new(Pair))
		if strings.HasPrefix(name, "/ints") {
			arg, want, got = 7, 7, new(int)
		}
		if r := e.call(t, name, arg, got); r != nil || reflect.ValueOf(got).Elem().Interface() != want {
			t.Errorf("%s: %v, %v; want %v", name, got, r, want)
		}
	}
}

func TestMethodExpressionGetsAContext(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) { p.RouteCallFunc((*Shapes).Query) }}
	e.dial(t)
	var got string
	if r := e.call(t, "/query?k=v", "k", &got, tp.WithBodyCodec(testwire.JSON)); r != nil || got != "v" {
		t.Errorf("got %q, %v; want v", got, r)
	}
}
