package tp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

// loud records the lines at WARNING and ERROR.
type loud struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (h *loud) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (h *loud) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Level <= slog.LevelError { // not those at PRINT
		h.lines = append(h.lines, r.Message)
	}
	return nil
}

func (h *loud) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := h.lines
	h.lines = nil
	return lines
}

func TestReviewPeerCannotFloodTheLog(t *testing.T) {
	const badFilter = 66 // not registered
	for _, test := range []struct {
		name string
		send func(end *rawEnd, i int32)
	}{
		{"type that is not allowed", func(end *rawEnd, i int32) { end.send(77, i, "/echo", "x") }},
		{"push without a route", func(end *rawEnd, i int32) { end.send(TypePush, i, "/nowhere", "x") }},
		{"push that does not decode", func(end *rawEnd, i int32) { end.send(TypePush, i, "/note", "x", WithBodyCodec(99)) }},
		{"push that fails", func(end *rawEnd, i int32) { end.send(TypePush, i, "/failing", "x") }},
		{"push whose handler panics", func(end *rawEnd, i int32) { end.send(TypePush, i, "/panicking", "x") }},
		{"call whose handler panics", func(end *rawEnd, i int32) { end.send(TypeCall, i, "/panicking", "x") }},
		{"push whose hook panics", func(end *rawEnd, i int32) { end.send(TypePush, i, "/hooked", "x") }},
		{"frame of which no message can be made", func(end *rawEnd, i int32) {
			end.conn.Write([]byte{0, 0, 0, 7, 1, badFilter, 0})
			synctest.Wait()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := &loud{Handler: slog.DiscardHandler}
			inWorld(t, func(cfg *PeerConfig) { cfg.Logger = slog.New(log) }, func(t *testing.T, w *world) {
				HandlePush(w.server, "/failing", func(PushCtx, *string) error { return io.ErrNoProgress })
				HandlePush(w.server, "/panicking", func(PushCtx, *string) error { panic("on purpose") })
				HandleCall(w.server, "/panicking", func(CallCtx, *string) (string, error) { panic("on purpose") })
				HandlePush(w.server, "/hooked", func(PushCtx, *string) error { return nil }, &PluginImpl{PluginName: "panics",
					OnPostReadPushBody: func(ReadCtx) *Rerror { panic("on purpose") }})
				s, end := w.serveRaw(w.server)
				go io.Copy(io.Discard, end.conn) // the replies
				for i := range int32(300) {
					test.send(end, i+1)
				}
				if got := log.take(); len(got) < 1 || len(got) > 2*throttle.Burst {
					t.Errorf("%d lines for 300 messages; want a few: %.300q", len(got), got[:min(len(got), 3)])
				}
				pass(time.Minute)
				test.send(end, 1000)
				if got := log.take(); len(got) < 1 || len(got) > 2 || !strings.Contains(strings.Join(got, ""), " more since") {
					t.Errorf("lines %.300q a minute later; want them to count the suppressed ones", got)
				}
				wantReady(t, s)
			})
		})
	}
}

func TestReviewHandshakesCannotFloodTheLog(t *testing.T) {
	log := &loud{Handler: slog.DiscardHandler}
	config := GenerateTLSConfigForServer() // outside the bubble, whose clock is another
	inWorld(t, func(cfg *PeerConfig) { cfg.Logger = slog.New(log) }, func(t *testing.T, w *world) {
		p := w.peer(func(cfg *PeerConfig) { cfg.Logger = slog.New(log) })
		if err := p.SetTLSConfig(config); err != nil {
			t.Fatal(err)
		}
		addr := w.listen(p)
		for range 100 {
			conn, err := w.net.Dial(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			conn.Close()
			synctest.Wait()
		}
		if got := log.take(); len(got) != throttle.Burst || !strings.Contains(got[0], "tls handshake") {
			t.Errorf("%d lines for 100 failed handshakes; want a few: %.300q", len(got), got[:min(len(got), 3)])
		}
	})
}

// Refusals that wait for hooks, or for their turn, each take a goroutine or an entry of
// a queue: their number is bounded too.
func TestReviewRefusalsAreBounded(t *testing.T) {
	for _, inTurn := range []bool{false, true} {
		t.Run(fmt.Sprintf("in turn %v", inTurn), func(t *testing.T) {
			gate := make(chan struct{})
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.open(func(cfg *PeerConfig) { cfg.MaxHandlers = 2 })
				defer close(gate)
				if !inTurn {
					w.server.PluginContainer().AppendLeft(&PluginImpl{PluginName: "slow", OnPreWriteReply: func(WriteCtx) *Rerror {
						<-w.gate
						return nil
					}})
				}
				a, b := memnet.Pipe()
				s := w.server.ServeConn(a, func(rw io.ReadWriter) socket.Proto {
					if inTurn {
						return turning{testwire.New(rw)}
					}
					return testwire.New(rw)
				}).(*session)
				end := newRawEnd(t, b)
				most := 0
				for i := range int32(3 * maxRefusals) {
					m := new(socket.Envelope)
					m.SetMtype(TypeCall)
					m.SetSeq(i + 1)
					m.SetServiceMethod("/stuck")
					if end.sock.Enqueue(t.Context(), m) != nil || end.sock.WaitFlushed(t.Context()) != nil {
						break
					}
					synctest.Wait()
					most = max(most, s.work.running(), runtime.NumGoroutine())
				}
				if limit := 2 + maxRefusals + 50; most > limit {
					t.Errorf("up to %d at once; want no more than %d", most, limit)
				}
				wantReason(t, s, SideLocal, "refused")
				w.release()
			})
		})
	}
}

// turning marks every CALL as one whose reply must go out in order.
type turning struct{ socket.Proto }

func (p turning) Unpack(m socket.Message) error {
	err := p.Proto.Unpack(m)
	m.(*socket.Envelope).SetInTurn()
	return err
}

// If a proxy sends the client's address on the connection itself, that address decides
// whether X-Real-IP is believed.
func TestReviewModifySocketAsksAgainWhomToTrust(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.TrustedProxies = []string{"10.0.0.0/8"} }, func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendLeft(&PluginImpl{PluginName: "proxy", OnPostAccept: func(s PreSession) *Rerror {
			s.ModifySocket(func(conn net.Conn) (net.Conn, ProtoFunc) { return addressed{conn, "192.0.2.1:5"}, nil })
			return nil
		}})
		HandleCall(w.server, "/who", func(c CallCtx, _ *string) (string, error) { return c.RealIP(), nil })
		a, b := memnet.Pipe()
		if w.server.ServeConn(addressed{a, "10.0.0.1:5"}) == nil {
			t.Fatal("refused")
		}
		end := newRawEnd(t, b)
		end.send(TypeCall, 1, "/who", "", WithAddMeta(MetaRealIP, "127.0.0.1"))
		if got := string(end.receive().RawBody()); got != "192.0.2.1:5" {
			t.Errorf("RealIP is %s; want that of the client, which is not a trusted proxy", got)
		}
	})
}

// addressed is a connection with another remote address.
type addressed struct {
	net.Conn
	from string
}

func (c addressed) RemoteAddr() net.Addr {
	a, _ := net.ResolveTCPAddr("tcp", c.from)
	return a
}
