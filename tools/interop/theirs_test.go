package interop

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/andeya/erpc/v7"
)

// theirs is a peer of eRPC with one session.
type theirs struct {
	peer  erpc.Peer
	sess  erpc.Session
	hello chan erpc.Session
	heard chan note
	hangs chan struct{}
	let   chan struct{}
	addrs chan net.Addr
	done  sync.Once
}

var _ end = (*theirs)(nil)

// theirPeers finds the *theirs of an erpc.Peer: eRPC names routes after
// functions, which therefore cannot be closures.
var theirPeers sync.Map

func newTheirs(t testing.TB, cfg erpc.PeerConfig, plugin ...erpc.Plugin) *theirs {
	th := &theirs{
		hello: make(chan erpc.Session, 16), heard: make(chan note, 1024),
		hangs: make(chan struct{}, 16), let: make(chan struct{}), addrs: make(chan net.Addr, 1),
	}
	cfg.LocalIP = "127.0.0.1"
	th.peer = erpc.NewPeer(cfg, append(plugin, theirListen{th.addrs})...)
	theirPeers.Store(th.peer, th)
	th.peer.SubRoute("/echo").RouteCallFunc((*TheirEcho).Doc)
	th.peer.SubRoute("/echo").RouteCallFunc((*TheirEcho).Text)
	th.peer.SubRoute("/echo").RouteCallFunc((*TheirEcho).Bytes)
	th.peer.SubRoute("/echo").RouteCallFunc((*TheirEcho).Nothing)
	th.peer.SubRoute("/echo").RouteCallFunc((*TheirEcho).Meta)
	th.peer.SubRoute("/echo").RouteCallFunc((*TheirEcho).Metaonly)
	th.peer.SubRoute("/fail").RouteCallFunc((*TheirFail).Panic)
	th.peer.SubRoute("/fail").RouteCallFunc((*TheirFail).Marshal)
	th.peer.SubRoute("/fail").RouteCallFunc((*TheirFail).Business)
	th.peer.SubRoute("/hello").RouteCallFunc(there)
	th.peer.RouteCallFunc(hang)
	th.peer.SubRoute("/math").RouteCallFunc((*TheirMath).Add)
	th.peer.SubRoute("/note").RoutePushFunc(say)
	t.Cleanup(func() { th.stop(t) })
	return th
}

// stop ends the peer.
func (th *theirs) stop(t testing.TB) {
	th.done.Do(func() {
		th.letGo()
		within(t, "close their peer", func() { th.peer.Close() })
		theirPeers.Delete(th.peer)
	})
}

func (th *theirs) letGo() {
	select {
	case <-th.let:
	default:
		close(th.let)
	}
}

func (th *theirs) listen(t testing.TB, pf ...erpc.ProtoFunc) (addr string) {
	t.Helper()
	go th.peer.ListenAndServe(pf...) // until the peer is closed
	return receive(t, "their listener", th.addrs).String()
}

func (th *theirs) dial(t testing.TB, addr string, pf ...erpc.ProtoFunc) {
	t.Helper()
	s, stat := th.peer.Dial(addr, pf...)
	if !stat.OK() {
		t.Fatal(stat)
	}
	th.sess = s
}

func (x exchange) theirs() []erpc.MessageSetting {
	set := []erpc.MessageSetting{erpc.WithBodyCodec(x.codec), erpc.WithAcceptBodyCodec(x.accept), erpc.WithXferPipe(x.pipe...)}
	for _, m := range x.meta {
		set = append(set, erpc.WithAddMeta(m.key, m.value))
	}
	return set
}

// theirFault takes back what eRPC does to an empty cause: it shows the message.
func theirFault(s *erpc.Status) fault {
	if s.OK() {
		return fault{}
	}
	f := fault{s.Code(), s.Msg(), s.Cause().Error()}
	if f.cause == f.message {
		f.cause = ""
	}
	return f
}

func (th *theirs) call(t testing.TB, x exchange) answer {
	t.Helper()
	cmd := th.sess.AsyncCall(x.method, x.arg, x.result, make(chan erpc.CallCmd, 1), x.theirs()...)
	select {
	case <-cmd.Done():
	case <-time.After(patience):
		return answer{fault: fault{message: "no reply", code: -99}}
	}
	a := answer{fault: theirFault(cmd.Status()), codec: cmd.InputBodyCodec()}
	if m := cmd.InputMeta(); m != nil {
		m.VisitAll(func(k, v []byte) { a.meta = append(a.meta, pair{string(k), string(v)}) })
	}
	return a
}

func (th *theirs) push(x exchange) fault {
	return theirFault(th.sess.Push(x.method, x.arg, x.theirs()...))
}

func (th *theirs) close()                { th.sess.Close() }
func (th *theirs) over() <-chan struct{} { return th.sess.CloseNotify() }
func (th *theirs) notes() <-chan note    { return th.heard }

type theirListen struct{ addrs chan<- net.Addr }

func (theirListen) Name() string                     { return "listen" }
func (p theirListen) PostListen(addr net.Addr) error { p.addrs <- addr; return nil }

func theirsOf(p erpc.Peer) *theirs {
	v, _ := theirPeers.Load(p)
	return v.(*theirs)
}

func there(ctx erpc.CallCtx, _ *struct{}) (any, *erpc.Status) {
	theirsOf(ctx.Peer()).hello <- ctx.Session().(erpc.Session)
	return nil, nil
}

func hang(ctx erpc.CallCtx, _ *struct{}) (string, *erpc.Status) {
	th := theirsOf(ctx.Peer())
	th.hangs <- struct{}{}
	<-th.let
	return "let go", nil
}

func say(ctx erpc.PushCtx, text *string) *erpc.Status {
	n := note{text: *text}
	ctx.VisitMeta(func(k, v []byte) { n.meta = append(n.meta, pair{string(k), string(v)}) })
	theirsOf(ctx.Peer()).heard <- n
	return nil
}

type TheirMath struct{ erpc.CallCtx }

func (m *TheirMath) Add(arg *[]int) (int, *erpc.Status) {
	sum := 0
	for _, n := range *arg {
		sum += n
	}
	if m.PeekMeta("k") != nil {
		m.SetMeta("who", "srv 1")
	}
	return sum, nil
}

type TheirEcho struct{ erpc.CallCtx }

func (*TheirEcho) Doc(arg *Doc) (*Doc, *erpc.Status)               { return arg, nil }
func (*TheirEcho) Text(arg *string) (string, *erpc.Status)         { return *arg, nil }
func (*TheirEcho) Bytes(arg *[]byte) ([]byte, *erpc.Status)        { return *arg, nil }
func (*TheirEcho) Nothing(arg *struct{}) (*struct{}, *erpc.Status) { return nil, nil }

func (e *TheirEcho) Meta(arg *struct{}) ([][2][]byte, *erpc.Status) {
	list := [][2][]byte{}
	e.VisitMeta(func(k, v []byte) {
		list = append(list, [2][]byte{append([]byte{}, k...), append([]byte{}, v...)})
		e.AddMeta(string(k), string(v))
	})
	return list, nil
}

func (e *TheirEcho) Metaonly(arg *struct{}) (*struct{}, *erpc.Status) {
	e.VisitMeta(func(k, v []byte) {
		if string(k) != "Content-Encoding" { // the reply has one of its own
			e.AddMeta(string(k), string(v))
		}
	})
	return nil, nil
}

type TheirFail struct{ erpc.CallCtx }

func (*TheirFail) Panic(arg *string) (string, *erpc.Status) { panic(*arg) }
func (*TheirFail) Marshal(arg *struct{}) (chan int, *erpc.Status) {
	return make(chan int), nil
}

func (f *TheirFail) Business(arg *ErrorArg) (string, *erpc.Status) {
	f.SetMeta("kept", "yes")
	return "no body comes with an error", erpc.NewStatus(arg.Code, arg.Message, arg.Cause)
}

// theirHook is a plugin made of a function.
type theirHook struct {
	postDial, postAccept func(erpc.PreSession) *erpc.Status
}

func (theirHook) Name() string { return "hook" }

func (h theirHook) PostDial(s erpc.PreSession, isRedial bool) *erpc.Status {
	if h.postDial == nil {
		return nil
	}
	return h.postDial(s)
}

func (h theirHook) PostAccept(s erpc.PreSession) *erpc.Status {
	if h.postAccept == nil {
		return nil
	}
	return h.postAccept(s)
}

func theirCutter(conns chan<- net.Conn) theirHook {
	keep := func(s erpc.PreSession) *erpc.Status {
		s.ModifySocket(func(c net.Conn) (net.Conn, erpc.ProtoFunc) { conns <- c; return nil, nil })
		return nil
	}
	return theirHook{keep, keep}
}
