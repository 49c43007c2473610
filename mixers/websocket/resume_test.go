package websocket

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// once is a Resumer whose streams are their first connections. Sessions that outlive them
// are tested with package mixers/resume, in tools/examples/resume and tools/browsers.
type once struct {
	facts  chan tp.ConnFacts // of connections that were accepted
	refuse error
	taken  chan net.Conn // if not nil, connections go there, as if they were those of older streams
}

func (*once) Dial(ctx context.Context, d tp.DialConfig, connect func(context.Context, tp.DialConfig) (net.Conn, error)) (net.Conn, error) {
	return connect(ctx, d)
}

func (o *once) Accept(_ context.Context, conn net.Conn, facts tp.ConnFacts) (net.Conn, error) {
	switch {
	case o.refuse != nil:
		return nil, o.refuse
	case o.taken != nil:
		o.taken <- conn
		return nil, nil
	}
	if o.facts != nil {
		o.facts <- facts
	}
	return conn, nil
}

// resuming are a peer that listens with these streams, and a handler for the same peer.
func resuming(t *testing.T, o Options, cfg tp.PeerConfig) map[string]string {
	cfg.LocalIP, cfg.Net = "127.0.0.1", Network(o)
	srv := newPeer(t, cfg)
	handle(srv)
	require.NoError(t, srv.Listen())
	return map[string]string{"network": srv.Addrs()[0].String(), "handler": webServer(t, srv, o)}
}

// TestResumeByName: clients with streams and without, with each protocol, on one server.
func TestResumeByName(t *testing.T) {
	user := func(*http.Request) (map[any]any, *tp.Rerror) { return map[any]any{"user": "ann"}, nil }
	streams := &once{facts: make(chan tp.ConnFacts, 1)}
	for where, addr := range resuming(t, Options{Resume: streams, Handshake: user}, tp.PeerConfig{}) {
		for _, proto := range []string{"raw", "json", "protobuf"} {
			t.Run(where+" "+proto, func(t *testing.T) {
				for name, o := range map[string]Options{"with": {Resume: streams}, "without": {}} {
					cli := newPeer(t, tp.PeerConfig{Net: Network(o), Protocols: []string{proto}})
					handle(cli)
					sess, rerr := cli.Dial(addr)
					require.Nil(t, rerr)
					upper(t, sess)
					who, err := tp.Invoke[string](t.Context(), sess, "/who", "")
					require.NoError(t, err)
					require.Contains(t, who, "ann@127.0.0.1")
					if name == "with" {
						require.Equal(t, map[any]any{"user": "ann"}, tptest.Receive(t, streams.facts, "the facts").Swap)
					}
					require.Empty(t, streams.facts, "a client without streams")
				}
			})
		}
	}
}

// TestResumeTLS: the first connection is that of the engine, which runs TLS on it, and the
// stream tells its state.
func TestResumeTLS(t *testing.T) {
	streams := new(once)
	srv := newPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Net: Network(Options{Resume: streams})})
	require.NoError(t, srv.SetTLSConfig(tp.GenerateTLSConfigForServer()))
	handle(srv)
	require.NoError(t, srv.Listen())
	cli := newPeer(t, tp.PeerConfig{Net: Network(Options{Resume: streams})})
	require.NoError(t, cli.SetTLSConfig(tp.GenerateTLSConfigForClient()))
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	require.Nil(t, rerr)
	upper(t, sess)
	require.True(t, sess.ConnectionState().HandshakeComplete)
}

// again is a Resumer that makes a second connection at once.
type again struct {
	*once
	second error // of that
}

func (a *again) Dial(ctx context.Context, d tp.DialConfig, connect func(context.Context, tp.DialConfig) (net.Conn, error)) (net.Conn, error) {
	conn, err := connect(ctx, d)
	if err != nil {
		return nil, err
	}
	var second net.Conn
	if second, a.second = connect(ctx, d); second != nil {
		second.Close()
	}
	return conn, nil
}

// TestResumeTLSFunctionFails: a function of the TLS configuration that panics, or ends its
// goroutine, fails the one connection, also if that is not the first one.
func TestResumeTLSFunctionFails(t *testing.T) {
	for _, test := range []struct {
		name string
		f    func() error
		err  string
	}{
		{"well", func() error { return nil }, ""},
		{"panics", func() error { panic("boom") }, "a function of the TLS configuration panicked: boom"},
		{"ends its goroutine", func() error { runtime.Goexit(); return nil }, "has ended its goroutine"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			streams := &again{once: new(once)}
			srv := newPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Net: Network(Options{Resume: streams})})
			require.NoError(t, srv.SetTLSConfig(tp.GenerateTLSConfigForServer()))
			handle(srv)
			require.NoError(t, srv.Listen())
			cli := newPeer(t, tp.PeerConfig{Net: Network(Options{Resume: streams})})
			var calls atomic.Int64
			require.NoError(t, cli.SetTLSConfig(&tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error {
				if calls.Add(1) == 1 {
					return nil
				}
				return test.f()
			}}))
			sess, rerr := cli.Dial(srv.Addrs()[0].String())
			require.Nil(t, rerr)
			require.Equal(t, int64(2), calls.Load())
			if test.err == "" {
				require.NoError(t, streams.second)
			} else {
				require.ErrorContains(t, streams.second, test.err)
			}
			upper(t, sess)
		})
	}
}

// TestResumeNames: what servers answer to the names of streams.
func TestResumeNames(t *testing.T) {
	with, without := resuming(t, Options{Resume: new(once)}, tp.PeerConfig{}), resuming(t, Options{}, tp.PeerConfig{})
	for _, test := range []struct {
		name, offers, want string
		addrs              map[string]string
	}{
		{"with streams", "resume.teleport.json, teleport.json", "resume.teleport.json", with},
		{"the client's order", "teleport.json, resume.teleport.json", "teleport.json", with},
		{"another protocol", "resume.mqtt, resume.teleport.raw", "resume.teleport.raw", with},
		{"without", "resume.teleport.json, teleport.json", "teleport.json", without},
		{"without, and no other name", "resume.teleport.json", "", without},
		{"no such protocol", "resume.mqtt", "", with},
		{"twice", "resume.resume.teleport.json", "", with},
	} {
		for where, addr := range test.addrs {
			t.Run(test.name+" "+where, func(t *testing.T) {
				status, rest := ask(t, addr, "GET / HTTP/1.1|"+good+"Sec-WebSocket-Protocol: "+test.offers+"||")
				if test.want == "" {
					require.Equal(t, "HTTP/1.1 400 Bad Request", status)
					return
				}
				require.Equal(t, "HTTP/1.1 101 Switching Protocols", status)
				require.Contains(t, rest, "\r\nSec-WebSocket-Protocol: "+test.want+"\r\n")
			})
		}
	}
}

// TestResumeTaken: a connection that goes on with an older stream is that one's, and one that
// is refused is closed.
func TestResumeTaken(t *testing.T) {
	for name, streams := range map[string]*once{"taken": {taken: make(chan net.Conn, 1)}, "refused": {refuse: errors.New("not yours")}} {
		for where, addr := range resuming(t, Options{Resume: streams}, tp.PeerConfig{}) {
			t.Run(name+" "+where, func(t *testing.T) {
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				io.WriteString(conn, "GET / HTTP/1.1\r\n"+strings.ReplaceAll(good, "|", "\r\n")+"Sec-WebSocket-Protocol: resume.teleport.raw\r\n\r\n")
				r := bufio.NewReader(conn)
				answer, err := http.ReadResponse(r, nil)
				require.NoError(t, err)
				require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
				if name == "refused" {
					_, err := r.ReadByte()
					require.ErrorIs(t, err, io.EOF)
					return
				}
				theirs := tptest.Receive(t, streams.taken, "the connection")
				defer theirs.Close()
				_, err = theirs.Write([]byte("hello"))
				require.NoError(t, err)
				b := make([]byte, 7)
				_, err = io.ReadFull(r, b)
				require.NoError(t, err)
				require.Equal(t, "\x82\x05hello", string(b))
			})
		}
	}
}

// TestResumeNeedsName: a client with a protocol that has no name gets an error that says so.
func TestResumeNeedsName(t *testing.T) {
	addrs := resuming(t, Options{Resume: new(once)}, tp.PeerConfig{})
	cli := newPeer(t, tp.PeerConfig{Net: Network(Options{Resume: new(once)})})
	_, rerr := cli.Dial(addrs["network"], NewWsProtoFunc())
	require.ErrorIs(t, rerr.Err(), errNoName)
}

// TestResumeRefused: a refusal of the handshake ends a dial with its code.
func TestResumeRefused(t *testing.T) {
	no := func(*http.Request) (map[any]any, *tp.Rerror) {
		return nil, tp.NewRerror(tp.CodeUnauthorized, "who are you", "")
	}
	for where, addr := range resuming(t, Options{Resume: new(once), Handshake: no}, tp.PeerConfig{}) {
		t.Run(where, func(t *testing.T) {
			cli := newPeer(t, tp.PeerConfig{Net: Network(Options{Resume: new(once)})})
			_, rerr := cli.Dial(addr)
			require.Equal(t, int32(tp.CodeUnauthorized), rerr.Code)
			require.Contains(t, rerr.Reason, "who are you")
		})
	}
}
