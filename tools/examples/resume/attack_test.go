package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume"
	"github.com/teleport-go/teleport/mixers/websocket"
)

// The preamble of mixers/resume.
const (
	preambleSize = 32
	tokenAt      = 4
	sentAt       = 20
	receivedAt   = 26
)

func preamble(token string, sent, received uint64) []byte {
	b := append([]byte("tpr\x01"), token...)
	b = append(b, make([]byte, sentAt-len(b))...)
	for _, p := range []uint64{sent, received} {
		b = append(b, binary.BigEndian.AppendUint64(nil, p)[2:]...)
	}
	return b
}

// attacker is a client that writes bytes by hand.
type attacker struct {
	net.Conn
	r *bufio.Reader
}

// dial shakes hands for a stream. more is lines of the request, each behind a line end.
func dial(t *testing.T, addr, query, more string) *attacker {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = fmt.Fprintf(conn, "GET /ws?%s HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: resume.teleport.raw%s\r\n\r\n", query, more)
	require.NoError(t, err)
	return &attacker{conn, bufio.NewReader(conn)}
}

// shake reads the answer to the request.
func (a *attacker) shake(t *testing.T) {
	answer, err := http.ReadResponse(a.r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
}

// send sends a message, with the mask zero.
func (a *attacker) send(t *testing.T, b []byte) {
	_, err := a.Write(append([]byte{0x82, 0x80 | byte(len(b)), 0, 0, 0, 0}, b...))
	require.NoError(t, err)
}

// receive reads a message of at most 125 bytes.
func (a *attacker) receive(t *testing.T) []byte {
	var head [2]byte
	_, err := io.ReadFull(a.r, head[:])
	require.NoError(t, err)
	require.EqualValues(t, 0x82, head[0])
	b := make([]byte, head[1])
	_, err = io.ReadFull(a.r, b)
	require.NoError(t, err)
	return b
}

// ask exchanges preambles, and returns the token of the answer, or the verdict.
func (a *attacker) ask(t *testing.T, question []byte) (token string, verdict byte) {
	a.send(t, question)
	b := a.receive(t)
	require.Len(t, b, preambleSize)
	if token = string(b[tokenAt:sentAt]); token == strings.Repeat("\x00", 16) {
		return "", b[receivedAt-1]
	}
	return token, 0
}

// gone checks that the server closes the connection, and does not wait for it.
func (a *attacker) gone(t *testing.T) {
	_, err := io.Copy(io.Discard, a.r)
	var timeout net.Error
	require.NotErrorAs(t, err, &timeout)
}

// listening is a server whose clients say who they are: by the network, and by a handler for
// a peer of the same streams.
func listening(t *testing.T, stats *resume.Stats) map[string]string {
	o := websocket.Options{
		Path: "/ws", Resume: resume.NewStreams(resume.Options{Stats: stats}),
		Handshake: func(r *http.Request) (map[any]any, *tp.Rerror) {
			if r.URL.Query().Get("user") == "" {
				return nil, tp.NewRerror(tp.CodeUnauthorized, "who are you?", "")
			}
			return map[any]any{"user": r.URL.Query().Get("user")}, nil
		},
	}
	srv := tptest.NewPeer(t, tp.PeerConfig{Net: websocket.Network(o), LocalIP: "127.0.0.1", HandshakeTimeout: 2 * time.Second})
	web := httptest.NewServer(websocket.NewHandler(srv, o))
	t.Cleanup(web.Close)
	return map[string]string{"network": tptest.Listen(t, srv), "handler": web.Listener.Addr().String()}
}

// A session can be taken over by the client that began it, and by nobody else.
func TestStolenToken(t *testing.T) {
	stats := new(resume.Stats)
	addrs := listening(t, stats)
	for where, addr := range addrs {
		t.Run(where, func(t *testing.T) {
			first := dial(t, addr, "user=ann", "")
			first.shake(t)
			token, _ := first.ask(t, preamble("", 0, 0))
			require.NotEmpty(t, token)
			wrong := "x" + token[1:]
			for _, test := range []struct {
				name, user string
				question   []byte
				want       byte
			}{
				{"another user", "bob", preamble(token, 0, 0), 3},
				{"another token", "ann", preamble(wrong, 0, 0), 1},
				{"received what was not sent", "ann", preamble(token, 0, 1<<30), 2},
				{"sent less than was received", "ann", preamble(token, 1<<48-1, 0), 2},
			} {
				t.Run(test.name, func(t *testing.T) {
					for _, addr := range addrs { // the streams are the same
						a := dial(t, addr, "user="+test.user, "")
						a.shake(t)
						got, verdict := a.ask(t, test.question)
						require.Empty(t, got)
						require.Equal(t, test.want, verdict)
						a.gone(t)
					}
				})
			}
			t.Run("no user", func(t *testing.T) {
				a := dial(t, addr, "", "")
				answer, err := http.ReadResponse(a.r, nil)
				require.NoError(t, err)
				require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
			})
			t.Run("a page of another origin", func(t *testing.T) {
				a := dial(t, addr, "user=ann", "\r\nOrigin: https://evil.example")
				answer, err := http.ReadResponse(a.r, nil)
				require.NoError(t, err)
				require.Equal(t, http.StatusForbidden, answer.StatusCode)
			})
			second := dial(t, addr, "user=ann", "") // which closes the first one
			second.shake(t)
			again, _ := second.ask(t, preamble(token, 0, 0))
			require.Equal(t, token, again)
			first.gone(t)
			second.Close()
		})
	}
	require.EqualValues(t, 2, stats.Streams.Load(), "sessions")
}

// Connections that send no preamble, or too slowly, end, and others go on.
func TestNoPreamble(t *testing.T) {
	addrs := listening(t, nil)
	t.Run("half of it", func(t *testing.T) {
		a := dial(t, addrs["network"], "user=ann", "") // whose limit is the peer's HandshakeTimeout; that of a handler is 10 s
		a.shake(t)
		a.send(t, preamble("", 0, 0)[:10])
		a.gone(t)
	})
	for where, addr := range addrs {
		for name, send := range map[string]string{
			"zeros":          "\x82\xa0\x00\x00\x00\x00" + strings.Repeat("\x00", 32),
			"a frame of raw": "\x82\xa0\x00\x00\x00\x00" + "\x00\x00\x00\x20r\x00\x011\x01\x09/math/add" + strings.Repeat("\x00", 13),
			"text":           "\x81\x85\x00\x00\x00\x00hello",
			"no mask":        "\x82\x20" + string(preamble("", 0, 0)),
			"a huge claim":   "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00" + strings.Repeat("x", 1000),
			"fragments":      strings.Repeat("\x00\x80\x00\x00\x00\x00", 100),
			"close":          "\x88\x82\x00\x00\x00\x00\x03\xe8",
		} {
			t.Run(where+" "+name, func(t *testing.T) {
				a := dial(t, addr, "user=ann", "")
				a.shake(t)
				io.WriteString(a, send)
				a.gone(t)
			})
		}
		a := dial(t, addr, "user=ann", "")
		a.shake(t)
		token, _ := a.ask(t, preamble("", 0, 0))
		require.NotEmpty(t, token, where)
	}
}

// What is no record ends its session, and no other.
func TestBadRecords(t *testing.T) {
	stats := new(resume.Stats)
	addr := listening(t, stats)["network"]
	good := dial(t, addr, "user=ann", "")
	good.shake(t)
	good.ask(t, preamble("", 0, 0))
	for name, record := range map[string]string{
		"nothing": "\x00\x00", "unknown": "\x80\x03", "an ack of what was not sent": "\x80\x00\x00\x00\x7f\x00\x00\x00", "bye before the end": "\x80\x02",
		"a masked frame in the stream": "\x00\x07\x82\x81\x00\x00\x00\x00x",
	} {
		t.Run(name, func(t *testing.T) {
			a := dial(t, addr, "user=ann", "")
			a.shake(t)
			token, _ := a.ask(t, preamble("", 0, 0))
			a.send(t, []byte(record))
			if strings.HasPrefix(name, "a masked") {
				a.send(t, []byte("\x80\x01\x80\x02")) // else the server waits for it, for the grace
			}
			a.gone(t)
			for verdict := byte(0); verdict != 1; { // until its stream has ended
				again := dial(t, addr, "user=ann", "")
				again.shake(t)
				_, verdict = again.ask(t, preamble(token, 1<<20, 0))
				again.Close()
			}
		})
	}
	good.send(t, []byte("\x80\x00\x00\x00\x00\x00\x00\x00"))
	require.Zero(t, stats.Expired.Load())
}
