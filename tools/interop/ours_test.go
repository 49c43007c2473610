package interop

import (
	"net"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// ours is a peer of this project with one session.
type ours struct {
	peer  tp.Peer
	sess  tp.Session
	hello chan tp.Session // sessions that were said hello on
	heard chan note
	beats chan string   // rates of heartbeats that were pushed
	hangs chan struct{} // a handler that hangs has begun
	let   chan struct{} // closed at the end: they return
}

var _ end = (*ours)(nil)

func newOurs(t testing.TB, cfg tp.PeerConfig, plugin ...tp.Plugin) *ours {
	o := &ours{
		hello: make(chan tp.Session, 16), heard: make(chan note, 1024), beats: make(chan string, 16),
		hangs: make(chan struct{}, 16), let: make(chan struct{}),
	}
	cfg.LocalIP = "127.0.0.1"
	cfg.DefaultCallTimeout = patience
	o.peer = tp.NewPeer(cfg, plugin...)
	o.peer.RouteCall(new(Math))
	o.peer.RouteCall(new(Echo))
	o.peer.RouteCall(new(Fail))
	o.peer.RouteCallFunc((*Heart).heartbeat)
	tp.HandlePush(o.peer, "/heartbeat", func(ctx tp.PushCtx, _ *struct{}) error {
		o.beats <- string(ctx.PeekMeta("hb_"))
		return nil
	})
	tp.HandleCall(o.peer, "/hello/there", func(ctx tp.CallCtx, _ *struct{}) (any, error) {
		o.hello <- ctx.Session().(tp.Session)
		return nil, nil
	})
	tp.HandleCall(o.peer, "/hang", func(ctx tp.CallCtx, _ *struct{}) (string, error) {
		o.hangs <- struct{}{}
		<-o.let
		return "let go", nil
	})
	tp.HandlePush(o.peer, "/note/say", func(ctx tp.PushCtx, text *string) error {
		n := note{text: *text}
		ctx.VisitMeta(func(k, v []byte) { n.meta = append(n.meta, pair{string(k), string(v)}) })
		o.heard <- n
		return nil
	})
	t.Cleanup(func() {
		o.letGo()
		within(t, "close our peer", func() { o.peer.Close() })
	})
	return o
}

func (o *ours) letGo() {
	select {
	case <-o.let:
	default:
		close(o.let)
	}
}

func (o *ours) listen(t testing.TB, pf tp.ProtoFunc) (addr string) {
	t.Helper()
	if err := o.peer.Listen(pf); err != nil {
		t.Fatal(err)
	}
	return o.peer.Addrs()[0].String()
}

// dial dials, by default with the V7 dialect of the raw protocol.
func (o *ours) dial(t testing.TB, addr string, pf ...tp.ProtoFunc) {
	t.Helper()
	if len(pf) == 0 {
		pf = []tp.ProtoFunc{v7}
	}
	s, r := o.peer.Dial(addr, pf...)
	if r != nil {
		t.Fatal(r)
	}
	o.sess = s
}

func (x exchange) ours() []tp.MessageSetting {
	set := []tp.MessageSetting{tp.WithBodyCodec(x.codec), tp.WithAcceptBodyCodec(x.accept), tp.WithXferPipe(x.pipe...)}
	for _, m := range x.meta {
		set = append(set, tp.WithAddMeta(m.key, m.value))
	}
	return set
}

func ourFault(r *tp.Rerror) fault {
	if r == nil {
		return fault{}
	}
	return fault{r.Code, r.Message, r.Reason}
}

func (o *ours) call(t testing.TB, x exchange) answer {
	t.Helper()
	cmd := o.sess.Call(x.method, x.arg, x.result, x.ours()...)
	a := answer{fault: ourFault(cmd.Rerror()), codec: cmd.InputBodyCodec()}
	for k, v := range cmd.InputMeta().All() {
		a.meta = append(a.meta, pair{string(k), string(v)})
	}
	return a
}

func (o *ours) push(x exchange) fault {
	return ourFault(o.sess.Push(x.method, x.arg, x.ours()...))
}

func (o *ours) close()                { o.sess.Close() }
func (o *ours) over() <-chan struct{} { return o.sess.CloseNotify() }
func (o *ours) notes() <-chan note    { return o.heard }

// What both peers serve; theirs_test.go has the same for theirs.

type Math struct{ tp.CallCtx }

func (m *Math) Add(arg *[]int) (int, *tp.Rerror) {
	sum := 0
	for _, n := range *arg {
		sum += n
	}
	if m.PeekMeta("k") != nil || m.PeekMeta("K") != nil { // as http writes it
		m.SetMeta("who", "srv 1")
	}
	return sum, nil
}

type Echo struct{ tp.CallCtx }

func (*Echo) Doc(arg *Doc) (*Doc, *tp.Rerror)               { return arg, nil }
func (*Echo) Text(arg *string) (string, *tp.Rerror)         { return *arg, nil }
func (*Echo) Bytes(arg *[]byte) ([]byte, *tp.Rerror)        { return *arg, nil }
func (*Echo) Nothing(arg *struct{}) (*struct{}, *tp.Rerror) { return nil, nil }

// Meta returns the metadata it has got, as metadata and in the body.
func (e *Echo) Meta(arg *struct{}) ([][2][]byte, *tp.Rerror) {
	list := [][2][]byte{}
	e.VisitMeta(func(k, v []byte) {
		list = append(list, [2][]byte{append([]byte{}, k...), append([]byte{}, v...)})
		e.AddMeta(string(k), string(v))
	})
	return list, nil
}

// Metaonly returns the metadata it has got as metadata alone, which is the one
// place where all protocols can carry it.
func (e *Echo) Metaonly(arg *struct{}) (*struct{}, *tp.Rerror) {
	e.VisitMeta(func(k, v []byte) { e.AddMeta(string(k), string(v)) })
	return nil, nil
}

type Fail struct{ tp.CallCtx }

func (*Fail) Panic(arg *string) (string, *tp.Rerror) { panic(*arg) }
func (*Fail) Marshal(arg *struct{}) (chan int, *tp.Rerror) {
	return make(chan int), nil
}

func (f *Fail) Business(arg *ErrorArg) (string, *tp.Rerror) {
	f.SetMeta("kept", "yes")
	return "no body comes with an error", tp.NewRerror(arg.Code, arg.Message, arg.Cause)
}

type Heart struct{ tp.CallCtx }

func (h *Heart) heartbeat(*struct{}) (*struct{}, *tp.Rerror) {
	if string(h.PeekMeta("hb_")) != "3" {
		return nil, tp.NewRerror(tp.CodeBadMessage, "invalid heartbeat rate", string(h.PeekMeta("hb_")))
	}
	return nil, nil
}

// hook is a plugin made of a function.
type hook struct {
	postDial, postAccept func(tp.PreSession) *tp.Rerror
}

func (hook) Name() string { return "hook" }

func (h hook) PostDial(s tp.PreSession) *tp.Rerror {
	if h.postDial == nil {
		return nil
	}
	return h.postDial(s)
}

func (h hook) PostAccept(s tp.PreSession) *tp.Rerror {
	if h.postAccept == nil {
		return nil
	}
	return h.postAccept(s)
}

// cutter is a hook that keeps the connections, so that they can be cut.
func cutter(conns chan<- net.Conn) hook {
	keep := func(s tp.PreSession) *tp.Rerror {
		s.ModifySocket(func(c net.Conn) (net.Conn, tp.ProtoFunc) { conns <- c; return nil, nil })
		return nil
	}
	return hook{keep, keep}
}
