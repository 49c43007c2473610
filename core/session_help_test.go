package tp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

var worlds atomic.Uint64

// world is a network in memory with a server and a client. It lives in the synctest
// bubble of its test.
type world struct {
	t    testing.TB
	name string // of the network
	net  *memnet.Network

	server, client *peer
	addr           string
	gate           chan struct{} // "/block" waits for it to be closed
	release        func()        // closes the gate
	log            journal       // lines of hooks and handlers
}

// newWorld makes a network without peers.
func newWorld(t testing.TB, opts ...memnet.Option) *world {
	testwire.Register()
	w := &world{t: t, net: memnet.New(opts...), gate: make(chan struct{})}
	w.name = fmt.Sprintf("mem%d", worlds.Add(1))
	w.release = sync.OnceFunc(func() { close(w.gate) })
	t.Cleanup(w.release)
	RegisterNetwork(Network{
		Name: w.name,
		Dial: func(ctx context.Context, d DialConfig) (net.Conn, error) {
			if d.Timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d.Timeout)
				defer cancel()
			}
			return w.net.Dial(ctx, d.Addr)
		},
		Listen: func(context.Context, ListenConfig) (net.Listener, error) { return w.net.Listen("") },
	})
	return w
}

// inWorld runs f in a bubble with a server that listens and a client, both with
// the configuration that change makes.
func inWorld(t *testing.T, change func(*PeerConfig), f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open(change)
		f(t, w)
	})
}

// open makes the server and the client.
func (w *world) open(change func(*PeerConfig), serverPlugins ...Plugin) {
	w.server, w.client = w.peer(change, serverPlugins...), w.peer(change)
	w.addr = w.listen(w.server)
}

// peer makes a peer that is closed at the end of the test.
func (w *world) peer(change func(*PeerConfig), plugins ...Plugin) *peer {
	w.t.Helper()
	cfg := PeerConfig{
		Network: w.name, DefaultBodyCodec: "testtext", Protocol: testwire.New,
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	opened, err := Open(cfg, plugins...)
	if err != nil {
		w.t.Fatal(err)
	}
	p := opened.(*peer)
	w.t.Cleanup(func() { p.Close() })
	w.routes(p)
	return p
}

func (w *world) listen(p *peer) string {
	w.t.Helper()
	if err := p.Listen(); err != nil {
		w.t.Fatal(err)
	}
	return p.Addrs()[0].String()
}

// routes registers the handlers of every peer.
func (w *world) routes(p *peer) {
	HandleCall(p, "/echo", func(_ CallCtx, arg *string) (string, error) { return *arg, nil })
	HandleCall(p, "/fail", func(_ CallCtx, arg *string) (string, error) {
		return "", NewRerror(1234, "failed", *arg).Err()
	})
	// block waits for the gate or its context, and logs which.
	HandleCall(p, "/block", func(c CallCtx, arg *string) (string, error) {
		w.log.add("block %s", *arg)
		select {
		case <-w.gate:
			w.log.add("free %s", *arg)
		case <-c.Context().Done():
			w.log.add("cancelled %s: %v", *arg, context.Cause(c.Context()))
		}
		return *arg, nil
	})
	// stuck waits for the gate only.
	HandleCall(p, "/stuck", func(c CallCtx, arg *string) (string, error) {
		ctx := c.Context()
		w.log.add("stuck %s", *arg)
		<-w.gate
		w.log.add("done %s: %v", *arg, context.Cause(ctx))
		return *arg, nil
	})
	HandlePush(p, "/stucknote", func(_ PushCtx, arg *string) error {
		<-w.gate
		return nil
	})
	HandlePush(p, "/ordered", func(_ PushCtx, arg *string) error {
		w.log.add("ordered %s", *arg)
		return nil
	}, Ordered())
	HandlePush(p, "/note", func(_ PushCtx, arg *string) error {
		w.log.add("note %s", *arg)
		return nil
	})
}

// dial connects the client to the server.
func (w *world) dial() *session {
	w.t.Helper()
	s, r := w.client.Dial(w.addr)
	if r != nil {
		w.t.Fatalf("Dial: %s", r)
	}
	return s.(*session)
}

// pair connects client and server and returns both sessions.
func (w *world) pair() (client, server *session) {
	w.t.Helper()
	c := w.dial()
	synctest.Wait()
	return c, w.other(c)
}

// other returns the server's session for a client's.
func (w *world) other(c *session) *session {
	w.t.Helper()
	for _, s := range w.server.env.hub.all() {
		if s.link.conn.(*memnet.Conn) == mem(c).Peer() {
			return s
		}
	}
	w.t.Fatal("the server has no session for the client's")
	return nil
}

// mem returns the connection of a session.
func mem(s *session) *memnet.Conn { return s.currentLink().conn.(*memnet.Conn) }

// journal records what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// want compares the lines since the last want.
func (j *journal) want(t testing.TB, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, want) {
		t.Errorf("what happened is\n  %s\nwant\n  %s", strings.Join(j.lines, "\n  "), strings.Join(want, "\n  "))
	}
	j.lines = nil
}

// wantAnyOrder is want for what happens side by side.
func (j *journal) wantAnyOrder(t testing.TB, want ...string) {
	t.Helper()
	j.mu.Lock()
	slices.Sort(j.lines)
	j.mu.Unlock()
	slices.Sort(want)
	j.want(t, want...)
}

func (j *journal) len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines)
}

// connHook is a plugin that logs its connection hooks. It has no PostRedial; see
// reHook.
type connHook struct {
	name string
	log  *journal
	do   func(moment string, s PreSession) *Rerror // may be nil
}

func (h *connHook) Name() string { return h.name }

func (h *connHook) at(moment string, s PreSession) *Rerror {
	h.log.add("%s %s", h.name, moment)
	if h.do == nil {
		return nil
	}
	return h.do(moment, s)
}

func (h *connHook) PostDial(s PreSession) *Rerror   { return h.at("dial", s) }
func (h *connHook) PostAccept(s PreSession) *Rerror { return h.at("accept", s) }

func (h *connHook) PostDisconnect(s BaseSession) *Rerror {
	h.log.add("%s disconnect: %v", h.name, s.CloseReason())
	return nil
}

// reHook is a hook with a PostRedial of its own.
type reHook struct{ connHook }

func (h *reHook) PostRedial(s PreSession) *Rerror { return h.at("redial", s) }

// outcome is the result of an operation on another goroutine.
type outcome[T any] struct {
	v    T
	took time.Duration
}

// begin runs f on another goroutine, and returns when f is done or blocks.
func begin[T any](f func() T) <-chan outcome[T] {
	ch := make(chan outcome[T], 1)
	start := time.Now()
	go func() {
		v := f()
		ch <- outcome[T]{v, time.Since(start)}
	}()
	synctest.Wait()
	return ch
}

// call calls on another goroutine.
func call(s CtxSession, method, arg string, set ...MessageSetting) <-chan outcome[CallCmd] {
	return begin(func() CallCmd { return s.Call(method, arg, new(string), set...) })
}

// ended returns the outcome of an operation that must have ended.
func ended[T any](t testing.TB, ch <-chan outcome[T]) outcome[T] {
	t.Helper()
	synctest.Wait()
	select {
	case o := <-ch:
		return o
	default:
		t.Fatal("it has not ended")
		panic("unreachable")
	}
}

func wantWaiting[T any](t testing.TB, ch <-chan outcome[T]) {
	t.Helper()
	synctest.Wait()
	select {
	case o := <-ch:
		t.Fatalf("ended with %v; want it to wait", o.v)
	default:
	}
}

// pass advances the bubble's clock.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// wantRerror checks the code, and that the text has all the words.
func wantRerror(t testing.TB, r *Rerror, code int32, words ...string) {
	t.Helper()
	if r == nil && code != 0 || r != nil && r.Code != code {
		t.Errorf("error is %s; want code %d", r, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(r.String(), w) {
			t.Errorf("error is %s; want the words %q in it", r, w)
		}
	}
}

// wantReply checks that the call has succeeded, with this reply.
func wantReply(t testing.TB, cmd CallCmd, want string) {
	t.Helper()
	v, r := cmd.Reply()
	if r != nil {
		t.Errorf("error is %s; want the reply %q", r, want)
	} else if got := *v.(*string); got != want {
		t.Errorf("reply is %q; want %q", got, want)
	}
}

// wantReason checks the side and the text of the close reason.
func wantReason(t testing.TB, s BaseSession, side Side, words string) {
	t.Helper()
	r := s.CloseReason()
	if r == nil || r.Side != side || !strings.Contains(r.String(), words) {
		t.Errorf("close reason is %+v; want side %s with the words %q", r, side, words)
	}
}

// wantReady checks everything that shows that a session takes calls.
func wantReady(t testing.TB, s *session) {
	t.Helper()
	synctest.Wait()
	if got := s.getState(); got != ready {
		t.Errorf("state is %v; want ready", got)
	}
	wantLive(t, s)
}

func wantLive(t testing.TB, s *session) {
	t.Helper()
	if !s.Health() || isClosed(s.CloseNotify()) || s.CloseReason() != nil {
		t.Errorf("Health %v, CloseNotify closed %v, CloseReason %v; want a live session",
			s.Health(), isClosed(s.CloseNotify()), s.CloseReason())
	}
	if got := s.env.hub.get(s.ID()); got != s {
		t.Errorf("GetSession(%q) = %v; want the session", s.ID(), got)
	}
}

// wantState checks everything that shows that a session takes no more calls.
func wantState(t testing.TB, s *session, want state) {
	t.Helper()
	synctest.Wait()
	if got := s.getState(); got != want {
		t.Errorf("state is %v; want %v", got, want)
	}
	if s.Health() || !isClosed(s.CloseNotify()) || s.CloseReason() == nil {
		t.Errorf("Health %v, CloseNotify closed %v, CloseReason %v; want neither health nor an open CloseNotify, and a reason",
			s.Health(), isClosed(s.CloseNotify()), s.CloseReason())
	}
	if slices.Contains(s.env.hub.all(), s) {
		t.Errorf("the peer still has the session under %q", s.ID())
	}
	if want != closed {
		return
	}
	if !isClosed(s.done.Done()) || s.pending.Len() != 0 || s.link.conn.SetDeadline(time.Time{}) == nil {
		t.Errorf("done %v, %d calls pending; want the end, and the connection closed", isClosed(s.done.Done()), s.pending.Len())
	}
}

func (s *session) getState() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// rawEnd is the other end of a session, without a peer.
type rawEnd struct {
	t    testing.TB
	sock *socket.Conn
	conn net.Conn
}

// serveRaw makes a session of p whose other end is the test.
func (w *world) serveRaw(p *peer, opts ...memnet.Option) (*session, *rawEnd) {
	w.t.Helper()
	a, b := memnet.Pipe(opts...)
	s := p.ServeConn(a)
	if s == nil {
		w.t.Fatal("ServeConn refused")
	}
	end := newRawEnd(w.t, b)
	return s.(*session), end
}

func newRawEnd(t testing.TB, conn net.Conn) *rawEnd {
	end := &rawEnd{t, socket.NewConn(conn, testwire.New, socket.Options{Limit: 1 << 30}), conn}
	t.Cleanup(func() {
		conn.Close()
		end.sock.Stop(nil)
		end.sock.Join()
		end.sock.Release()
	})
	return end
}

// send writes one message, and waits until the session has handled it.
func (e *rawEnd) send(mtype byte, seq int32, method, body string, set ...MessageSetting) {
	e.t.Helper()
	err := e.start(mtype, seq, method, body, set...)
	if err == nil {
		err = e.sock.WaitFlushed(context.Background())
	}
	if err != nil {
		e.t.Fatal(err)
	}
	synctest.Wait()
}

// start is send that does not wait.
func (e *rawEnd) start(mtype byte, seq int32, method, body string, set ...MessageSetting) error {
	m := new(socket.Envelope)
	m.SetMtype(mtype)
	m.SetSeq(seq)
	m.SetServiceMethod(method)
	m.SetBody([]byte(body))
	m.SetBodyCodec(testwire.Text)
	for _, s := range set {
		s(m)
	}
	err := e.sock.Enqueue(context.Background(), m)
	e.sock.Flush(socket.NoBlock)
	return err
}

// receive reads one message. A hello is dropped, as by a peer that does not know it.
func (e *rawEnd) receive() *socket.Envelope {
	e.t.Helper()
	m, err := e.read()
	if err != nil {
		e.t.Fatal(err)
	}
	return m
}

func (e *rawEnd) read() (*socket.Envelope, error) {
	m, err := e.next()
	for err == nil && m.Mtype() == TypeControl && m.ServiceMethod() == verbHello {
		m, err = e.next()
	}
	return m, err
}

// next reads one message, whatever it is.
func (e *rawEnd) next() (*socket.Envelope, error) {
	m := new(socket.Envelope)
	if err := e.sock.ReadInto(m); err != nil {
		return nil, err
	}
	m.KeepBody()
	return m, nil
}

// silent checks that nothing has been sent to this end.
func (e *rawEnd) silent() {
	e.t.Helper()
	e.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	defer e.conn.SetReadDeadline(time.Time{})
	if m, err := e.read(); err == nil {
		e.t.Errorf("received %s of seq %d, %s; want nothing", TypeText(m.Mtype()), m.Seq(), m.Rerror())
	}
}

func containsAll(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
