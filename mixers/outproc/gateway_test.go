//go:build unix

package outproc

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

func init() {
	roles["resp"] = func() { guest.Serve(resp{}) }
}

// resp is a gateway for the inline commands of RESP, the protocol of Redis: a line is a
// command, and the answer begins with + or -.
type resp struct{}

func (resp) Name() string                  { return "resp" }
func (resp) Listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

func (resp) Refuse(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // a busy machine may take more than its 100 ms
	io.WriteString(conn, "-ERR max number of clients reached\r\n")
}

func (resp) Routes(r tp.Router) {
	tp.HandlePush(r, "/message", func(ctx tp.PushCtx, text *string) error {
		_, err := fmt.Fprintf(guest.Foreign(ctx.Session()), "+message %s\r\n", *text)
		return err
	})
	tp.HandleCall(r, "/name", func(ctx tp.CallCtx, _ *string) (string, error) {
		return guest.Foreign(ctx.Session()).RemoteAddr().String(), nil
	})
}

func (resp) Serve(conn net.Conn, host tp.Session) {
	lines := bufio.NewReaderSize(conn, 512)
	for {
		line, err := lines.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			io.WriteString(conn, "-ERR the line is too long\r\n")
			return
		}
		if err != nil {
			return
		}
		words := strings.Fields(string(line))
		switch {
		case len(words) == 0:
			continue
		case words[0] == "PANIC":
			panic("in a gateway")
		}
		var out string
		if err := host.Call("/kv/"+strings.ToLower(words[0]), words[1:], &out).Rerror().Err(); err != nil {
			fmt.Fprintf(conn, "-ERR %d\r\n", tp.ToRerror(err).Code)
		} else {
			fmt.Fprintf(conn, "+%s\r\n", out)
		}
	}
}

// store is a peer that a gateway is for.
type store struct {
	tp.Peer
	ended chan struct{} // gets a value for each session that has ended

	mu     sync.Mutex
	values map[string]string
}

func newStore(t *testing.T) *store {
	s := &store{values: make(map[string]string), ended: make(chan struct{}, 100)}
	s.Peer = tptest.NewPeer(t, tp.PeerConfig{Logger: tptest.Logger(t), DefaultBodyCodec: "json"}, &tp.PluginImpl{
		PluginName:       "ended",
		OnPostDisconnect: func(tp.BaseSession) *tp.Rerror { s.ended <- struct{}{}; return nil },
	})
	tp.HandleCall(s, "/kv/set", func(_ tp.CallCtx, words *[]string) (string, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.values[(*words)[0]] = (*words)[1]
		return "OK", nil
	})
	tp.HandleCall(s, "/kv/get", func(_ tp.CallCtx, words *[]string) (string, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.values[(*words)[0]], nil
	})
	tp.HandleCall(s, "/kv/whoami", func(ctx tp.CallCtx, _ *[]string) (string, error) { return ctx.IP(), nil })
	return s
}

// client is a foreign client.
type client struct {
	net.Conn
	in *bufio.Reader
}

func dialForeign(t *testing.T, addr string) *client {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) line(t *testing.T) string {
	t.Helper()
	line, err := c.in.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

func (c *client) do(t *testing.T, command string) string {
	t.Helper()
	_, err := io.WriteString(c, command+"\r\n")
	require.NoError(t, err)
	return c.line(t)
}

// gone checks that the connection has ended.
func (c *client) gone(t *testing.T) {
	t.Helper()
	_, err := c.in.ReadByte()
	require.Error(t, err)
	netErr, ok := err.(net.Error)
	require.False(t, ok && netErr.Timeout(), "the connection stays open")
}

// A foreign connection is a session of its own: calls, pushes and calls to the client go
// through it, with the foreign address, and both end together.
func TestGateway(t *testing.T) {
	s := newStore(t)
	h := loadRole(t, "resp")
	require.NoError(t, h.ServeGateway(t.Context(), "resp", s))
	a, b := dialForeign(t, h.GatewayAddr("resp")), dialForeign(t, h.GatewayAddr("resp"))
	require.Equal(t, "+OK", a.do(t, "SET k v1"))
	require.Equal(t, "+v1", b.do(t, "GET k"))
	require.Equal(t, "+"+a.LocalAddr().String(), a.do(t, "WHOAMI"))
	require.Equal(t, fmt.Sprint("-ERR ", tp.CodeNotFound), a.do(t, "NOSUCH"))

	io.WriteString(a, strings.Repeat("SET n 1\r\nSET n 2\r\nGET n\r\n", 50))
	for range 50 {
		require.Equal(t, "+OK +OK +2", a.line(t)+" "+a.line(t)+" "+a.line(t))
	}

	sess, ok := s.GetSession(b.LocalAddr().String())
	require.True(t, ok, "the id of the session is the foreign address")
	require.NoError(t, sess.Push("/message", "hello").Err())
	require.Equal(t, "+message hello", b.line(t))
	var name string
	require.NoError(t, sess.Call("/name", "", &name).Rerror().Err())
	require.Equal(t, b.LocalAddr().String(), name)

	require.NoError(t, sess.Close())
	<-s.ended
	b.gone(t)
	require.NoError(t, a.Close())
	<-s.ended

	long := dialForeign(t, h.GatewayAddr("resp"))
	require.Equal(t, "-ERR the line is too long", long.do(t, strings.Repeat("x", 600)))
	<-s.ended
	panics := dialForeign(t, h.GatewayAddr("resp"))
	io.WriteString(panics, "PANIC\r\n")
	panics.gone(t)
	<-s.ended
	last := dialForeign(t, h.GatewayAddr("resp"))
	require.Equal(t, "+2", last.do(t, "GET n"))
	require.NoError(t, h.Close())
	last.gone(t)
	<-s.ended
	require.Empty(t, h.GatewayAddr("resp"))
	require.ErrorContains(t, h.ServeGateway(t.Context(), "resp", s), "it was closed")
}

// When the guest is killed its foreign connections end; the host and its other sessions
// live, and the next process listens again. Reload does the same.
func TestGatewayKilled(t *testing.T) {
	s := newStore(t)
	h := loadRole(t, "resp")
	require.NoError(t, h.ServeGateway(t.Context(), "resp", s))
	require.ErrorContains(t, h.ServeGateway(t.Context(), "resp", s), "it is served already")
	require.ErrorContains(t, h.ServeGateway(t.Context(), "other", s), `has no gateway "other"`)
	for _, end := range []func(){
		func() { require.NoError(t, syscall.Kill(activePID(h), syscall.SIGKILL)) },
		func() { require.NoError(t, h.Reload(t.Context())) },
	} {
		old := h.GatewayAddr("resp")
		c := dialForeign(t, old)
		require.Equal(t, "+OK", c.do(t, "SET k v"))
		end()
		c.gone(t)
		<-s.ended
		require.Eventually(t, func() bool { return h.GatewayAddr("resp") != old }, 30*time.Second, time.Millisecond)
		again := dialForeign(t, h.GatewayAddr("resp"))
		require.Equal(t, "+v", again.do(t, "GET k"))
		require.NoError(t, again.Close())
		<-s.ended
	}
}

// A connection over the limit is refused with words and counted, and there is room for
// another one when one has ended.
func TestGatewayLimit(t *testing.T) {
	s := newStore(t)
	h := loadRole(t, "resp", func(g *Guest) { g.pingEvery = 500 * time.Millisecond }) // ten without an answer end it
	require.NoError(t, h.ServeGateway(t.Context(), "resp", s, GatewayConfig{MaxConns: 2}))
	addr := h.GatewayAddr("resp")
	a, b := dialForeign(t, addr), dialForeign(t, addr)
	require.Equal(t, "+OK", a.do(t, "SET k v"))
	require.Equal(t, "+v", b.do(t, "GET k"))
	for n := range 3 {
		c := dialForeign(t, addr)
		require.Equal(t, "-ERR max number of clients reached", c.line(t))
		c.gone(t)
		require.Eventually(t, func() bool { return h.GatewayStats("resp") == GatewayStats{2, uint64(n + 1)} }, 30*time.Second, time.Millisecond, "%+v", h.GatewayStats("resp"))
	}
	require.Equal(t, 2, s.CountSession())
	require.NoError(t, a.Close())
	<-s.ended
	require.Eventually(t, func() bool {
		c := dialForeign(t, addr)
		defer c.Close()
		return c.do(t, "GET k") == "+v"
	}, 30*time.Second, time.Millisecond)
	require.NoError(t, h.Close())
	b.gone(t)
	require.Zero(t, h.GatewayStats("resp").Conns)
	require.Zero(t, h.GatewayStats("other"))
}

// A guest that opens more connections than it may is refused by the host.
func TestGatewayLimitOfHost(t *testing.T) {
	s := newStore(t)
	lis, err := net.Listen("unix", filepath.Join(t.TempDir(), "gw"))
	require.NoError(t, err)
	g := &gateway{h: &Handle{guest: Guest{Logger: tptest.Logger(t)}}, name: "resp", stop: make(chan struct{})}
	g.h.owned.Go(func() { g.accept(lis, s, "t", make(chan struct{}, 1)) })
	open := func() net.Conn {
		conn, err := net.Dial("unix", lis.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		require.NoError(t, contract.WriteForeign(conn, &contract.Foreign{Token: "t", Network: "tcp", Address: "192.0.2.1:1"}))
		return conn
	}
	first := open()
	require.Eventually(t, func() bool { return s.CountSession() == 1 }, 30*time.Second, time.Millisecond)
	second := open()
	_, err = second.Read(make([]byte, 1))
	require.Error(t, err)
	require.EqualValues(t, 1, g.refused.Load())
	require.NoError(t, first.Close())
	<-s.ended
	open()
	require.Eventually(t, func() bool { return s.CountSession() == 1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, lis.Close())
	require.NoError(t, s.Close())
	g.h.owned.Wait()
}

// The counts in the reply to a ping are those of the process, and one that is too large
// is not decoded.
func TestGatewayCounts(t *testing.T) {
	g := &gateway{name: "resp"}
	i := &instance{h: &Handle{parts: []loadedPart{{part: g}}}, refused: make(map[string]uint64)}
	const five = `{"refused":{"resp":5,"other":7}}`
	for _, test := range []struct {
		name, pong string
		want       uint64
	}{
		{"empty", "", 0},
		{"no JSON", "{", 0},
		{"too large", five + strings.Repeat(" ", contract.MaxDescription), 0},
		{"the first", five, 5},
		{"the same again", five, 5},
		{"two more", `{"refused":{"resp":7}}`, 7},
		{"fewer", five, 7},
	} {
		i.count([]byte(test.pong))
		require.Equal(t, test.want, g.refused.Load(), test.name)
	}
	require.Len(t, i.refused, 1)
}

// What is no guest's connection is refused.
func TestGatewayRefuses(t *testing.T) {
	s := newStore(t)
	for _, test := range []struct{ name, bytes, words string }{
		{"garbage", "\xff\xff\xff\xffx", "at most 65536 are allowed"},
		{"cut", "\x00\x00\x00\x09{", "EOF"},
		{"wrong token", "\x00\x00\x00\x0d{\"token\":\"x\"}", "wrong token"},
		{"wrong certificate", "\x00\x00\x00\x2d{\"token\":\"t\",\"tls\":{\"certificates\":[\"eA==\"]}}", "a certificate of the connection"},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				io.WriteString(far, test.bytes)
				far.Close()
			}()
			_, err := serveForeign(near, s, "t")
			require.ErrorContains(t, err, test.words)
			_, err = near.Write([]byte("x"))
			require.Error(t, err, "it is closed")
		})
	}
	_, err := newGateway(&Handle{guest: Guest{Connect: "unix:///x"}}, contract.Part{Name: "x"})
	require.ErrorContains(t, err, "set Path in place of Connect")
}
