package websocket

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

func TestNetwork(t *testing.T) {
	n := newNetwork("ws", "tcp", Options{})
	tptest.RunNetwork(t,
		func(ctx context.Context, addr string) (net.Conn, error) {
			return n.Dial(ctx, tp.DialConfig{Network: "ws", Addr: addr})
		},
		func() (net.Listener, error) {
			return n.Listen(context.Background(), tp.ListenConfig{Network: "ws", LocalIP: "127.0.0.1"})
		}, tptest.Handshake(n.Handshake))
}

// TestGarbage: what does not begin with a request ends its connection, with a line that
// tells what it looks like, and no other.
func TestGarbage(t *testing.T) {
	tp.SetLoggerLevel("WARNING")
	t.Cleanup(func() { tp.SetLoggerLevel("OFF") })
	for name, test := range map[string]struct{ bytes, want string }{
		"frames of raw":    {"\x00\x00\x00\x2dr\x00\x011\x01\x09/math/add", "looks like"},
		"a frame":          {"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "not with a request of HTTP"},
		"TLS":              {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"},
		"zeros":            {strings.Repeat("\x00", 100), "not with a request of HTTP"},
		"a long method":    {strings.Repeat("A", 1000), "not with a request of HTTP"},
		"a head too long":  {"GET / HTTP/1.1\r\n" + strings.Repeat("x", 1<<20), "longer than 16384 bytes"},
		"lines of nothing": {"GET / HTTP/1.1\r\n" + strings.Repeat(":\r\n", 10000), "longer than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			log := new(tptest.Lines)
			srv, addrs := servers(t, tp.PeerConfig{Logger: log.Logger()})
			cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"raw"}})
			sess, rerr := cli.Dial(addrs["network"])
			require.Nil(t, rerr)
			conn, err := net.Dial("tcp", addrs["network"])
			require.NoError(t, err)
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			go io.WriteString(conn, test.bytes)
			_, err = io.ReadAll(conn) // until the server closes
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			upper(t, sess)
			require.Equal(t, 1, srv.CountSession())
			require.Eventually(t, func() bool { return log.Contain(test.want) }, 20*time.Second, time.Millisecond, "log: %q", log.All())
		})
	}
}

// TestHalfOpen: hundreds of handshakes that stop in the middle cost no session, keep nobody
// out, and end in time; Close does not wait for them.
func TestHalfOpen(t *testing.T) {
	before := runtime.NumGoroutine()
	srv, addrs := servers(t, tp.PeerConfig{HandshakeTimeout: 24 * time.Hour})
	request := "GET / HTTP/1.1\r\n" + strings.ReplaceAll(good, "|", "\r\n")
	for i := range 300 {
		conn, err := net.Dial("tcp", addrs["network"])
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, request[:i*len(request)/300])
		require.NoError(t, err)
	}
	cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"raw"}})
	sess, rerr := cli.Dial(addrs["network"])
	require.Nil(t, rerr)
	upper(t, sess)
	require.Equal(t, 1, srv.CountSession())
	start := time.Now()
	srv.Close()
	cli.Close()
	require.Less(t, time.Since(start), 20*time.Second)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+50 }, time.Minute, 10*time.Millisecond)
}

// TestSlowHandshake: a client that sends a byte now and then does not get more than
// HandshakeTimeout.
func TestSlowHandshake(t *testing.T) {
	_, addrs := servers(t, tp.PeerConfig{HandshakeTimeout: 300 * time.Millisecond})
	conn, err := net.Dial("tcp", addrs["network"])
	require.NoError(t, err)
	defer conn.Close()
	go func() {
		io.WriteString(conn, "GET / HTTP/1.1\r\nX: ")
		for {
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.ReadAll(conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// TestSilentServer: a server that accepts and does not answer costs the client its
// HandshakeTimeout.
func TestSilentServer(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer lis.Close()
	cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"raw"}, HandshakeTimeout: 100 * time.Millisecond})
	_, rerr := cli.Dial(lis.Addr().String())
	require.Equal(t, tp.CodeDialFailed, rerr.Code)
	require.Contains(t, rerr.Reason, "handshake took longer than handshake_timeout")
}

// TestSlowFrame: a frame that does not come to its end ends the session.
func TestSlowFrame(t *testing.T) {
	srv, addrs := servers(t, tp.PeerConfig{FrameTimeout: 100 * time.Millisecond})
	for name, frame := range map[string]string{
		"half a header":  "\x82",
		"half a payload": "\x82\x85\x37\xfa\x21\x3d\x7f",
		"a fragment":     "\x02\x80\x37\xfa\x21\x3d",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addrs["network"])
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\n"+strings.ReplaceAll(good, "|", "\r\n")+"\r\n"+frame)
			require.NoError(t, err)
			conn.SetDeadline(time.Now().Add(time.Minute))
			_, err = io.ReadAll(conn)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Eventually(t, func() bool { return srv.CountSession() == 0 }, time.Minute, time.Millisecond)
		})
	}
}

// TestFragmentsOverLimit: a message in fragments is over the limit as one in a frame is, and
// takes no more memory.
func TestFragmentsOverLimit(t *testing.T) {
	srv, addrs := servers(t, tp.PeerConfig{MessageSizeLimit: 100_000})
	conn, err := net.Dial("tcp", addrs["network"])
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\n"+strings.ReplaceAll(good, "|", "\r\n")+"\r\n")
	require.NoError(t, err)
	go func() {
		f := framer{masked: true}
		for op := ws.OpBinary; ; op = ws.OpContinuation {
			if _, err := conn.Write(f.frame(op, false, strings.Repeat("x", 1000))); err != nil {
				return
			}
		}
	}()
	b, err := io.ReadAll(conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Contains(t, string(b), "\x88\x02\x03\xf1", "a close frame with the code 1009")
	require.Eventually(t, func() bool { return srv.CountSession() == 0 }, time.Minute, time.Millisecond)
}

// TestVanished: a peer that vanishes is noticed by IdleTimeout.
func TestVanished(t *testing.T) {
	srv, addrs := servers(t, tp.PeerConfig{IdleTimeout: 200 * time.Millisecond})
	cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"raw"}})
	sess, rerr := cli.Dial(addrs["network"])
	require.Nil(t, rerr)
	tptest.Receive(t, sess.CloseNotify(), "the end of the session") // begun by the server: this side has no IdleTimeout
	require.Equal(t, tp.SideRemote, sess.CloseReason().Side)
	require.Eventually(t, func() bool { return srv.CountSession() == 0 }, time.Minute, time.Millisecond)
}

// TestTLS: wss by name, and a page server with TLS of its own.
func TestTLS(t *testing.T) {
	cfg := config()
	cfg.Network = "wss"
	srv := newPeer(t, cfg)
	srv.SetTLSConfig(tp.GenerateTLSConfigForServer())
	handle(srv)
	tp.HandleCall(srv, "/tls", func(ctx tp.CallCtx, _ *string) (bool, error) {
		state := ctx.ConnectionState()
		return state != nil && state.HandshakeComplete, nil
	})
	require.NoError(t, srv.Listen())
	cli := newPeer(t, tp.PeerConfig{Network: "wss", Protocols: []string{"raw"}})
	cli.SetTLSConfig(tp.GenerateTLSConfigForClient())
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	require.Nil(t, rerr)
	upper(t, sess)
	ok := false
	require.Nil(t, sess.Call("/tls", "", &ok).Rerror())
	require.True(t, ok)

	// A client without TLS, and one that dials a server without TLS.
	plain := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"raw"}})
	_, rerr = plain.Dial(srv.Addrs()[0].String())
	require.Equal(t, tp.CodeDialFailed, rerr.Code)
	_, addrs := servers(t, tp.PeerConfig{})
	_, rerr = cli.Dial(addrs["network"])
	require.Equal(t, tp.CodeDialFailed, rerr.Code)
	require.Contains(t, rerr.Reason, "tls")

	web := NewServer("/ws", config())
	defer web.Close()
	web.SetTLSConfig(tp.GenerateTLSConfigForServer())
	handle(web)
	require.NoError(t, web.Listen())
	c := NewClient("/ws", tp.PeerConfig{})
	defer c.Close()
	c.SetTLSConfig(&tls.Config{InsecureSkipVerify: true})
	sess, rerr = c.Dial(web.Addrs()[0].String())
	require.Nil(t, rerr)
	upper(t, sess)
}

// TestMain runs a server in a process of its own, for TestKilled.
func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	if port := os.Getenv("WEBSOCKET_TEST_PORT"); port != "" {
		n, _ := strconv.ParseUint(port, 10, 16)
		srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", ListenPort: uint16(n), Network: "ws"})
		handle(srv)
		if err := srv.Listen(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(srv.Addrs()[0])
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// startServer starts a process with a server, and returns its address.
func startServer(t *testing.T, port string) (cmd *exec.Cmd, addr string) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEBSOCKET_TEST_PORT="+port)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	addr, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd, strings.TrimSpace(addr)
}

// TestKilled: a server that is killed, and comes back; the sessions of its clients do too.
func TestKilled(t *testing.T) {
	cmd, addr := startServer(t, "0")
	cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"raw"}, RedialTimes: -1, RedialInterval: time.Millisecond})
	sess, rerr := cli.Dial(addr)
	require.Nil(t, rerr)
	upper(t, sess)
	require.NoError(t, cmd.Process.Kill())
	cmd.Wait()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	startServer(t, port)
	require.Eventually(t, func() bool {
		var reply string
		return sess.Call("/upper", "hello", &reply).Rerror() == nil && reply == "HELLO"
	}, time.Minute, 10*time.Millisecond)
}

// TestParked: idle sessions have no goroutine, where TCP has none either; by a network and
// by a handler.
func TestParked(t *testing.T) {
	_, addrs := servers(t, tp.PeerConfig{})
	for name, addr := range addrs {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"raw"}})
			const n = 200
			for range n {
				sess, rerr := cli.Dial(addr)
				require.Nil(t, rerr)
				upper(t, sess)
			}
			most := before + n/2
			if runtime.GOOS != "linux" {
				most += 2 * n
			}
			require.Eventually(t, func() bool { return runtime.NumGoroutine() < most }, time.Minute, 10*time.Millisecond)
		})
	}
}

// TestAnotherSubProtocol: messages of another protocol end the session with 1003.
func TestAnotherSubProtocol(t *testing.T) {
	_, addrs := servers(t, tp.PeerConfig{})
	c := dialForeign(t, addrs["network"], SubRaw)
	require.NoError(t, c.Write(t.Context(), websocket.MessageBinary, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")))
	_, _, err := c.Read(t.Context())
	require.Equal(t, websocket.StatusUnsupportedData, websocket.CloseStatus(err), "%v", err)
}
