package outproctest

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/mixers/outproc/internal/rawlane"
)

// handGateway is a gateway that the suite has opened as a host does.
type handGateway struct {
	b     *byHand
	lane  net.Conn
	route string
	addr  string       // of the gateway
	lis   net.Listener // for its sessions

	secure bool // it speaks TLS
}

const gatewayToken = "a-token-of-the-gateway"

func (b *byHand) openGateway(part contract.Part) *handGateway {
	g := &handGateway{b: b, lane: b.open(), route: contract.GatewayRoute(part.Name)}
	path := filepath.Join(filepath.Dir(b.addr), "gw")
	lis, err := net.Listen("unix", path)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { lis.Close() })
	g.lis = lis
	b.wantRefused(g.lane, g.route, "no json")
	request := mustJSON(b.t, contract.GatewayOpen{Address: path, Token: gatewayToken})
	reply := b.answer(g.lane, g.route, "the first request", request)
	var opened contract.GatewayOpened
	require.NoError(b.t, json.Unmarshal(reply, &opened), "the REPLY %.100q", reply)
	require.NotEmpty(b.t, opened.Address, "the address in the REPLY %.100q", reply)
	g.addr = opened.Address
	end := startTLS(b.t, g.addr)
	session, facts := g.accept()
	g.secure = facts.TLS != nil
	end()
	g.wantClosed(session, "its foreign connection has ended")
	again := b.answer(g.lane, g.route, "the same request again", request)
	require.JSONEq(b.t, string(reply), string(again), "the REPLY to the same request again")
	return g
}

// dial makes a foreign connection, and returns it and that of its session.
func (g *handGateway) dial() (foreign, session net.Conn) {
	t := g.b.t
	foreign, err := dialGateway(g.addr, g.secure)
	require.NoError(t, err)
	t.Cleanup(func() { foreign.Close() })
	session, facts := g.accept()
	if facts.Network == "tcp" {
		require.Equal(t, foreign.LocalAddr().String(), facts.Address, "the address in the facts of a connection")
	}
	return foreign, session
}

// accept returns the next connection of a session, and the facts ahead of it.
func (g *handGateway) accept() (net.Conn, *contract.Foreign) {
	t := g.b.t
	g.lis.(*net.UnixListener).SetDeadline(time.Now().Add(patience))
	session, err := g.lis.Accept()
	require.NoError(t, err, "the guest opens a session for each foreign connection")
	t.Cleanup(func() { session.Close() })
	require.NoError(t, session.SetDeadline(time.Now().Add(patience)))
	facts, err := contract.ReadForeign(session)
	require.NoError(t, err, "the facts of a foreign connection")
	require.Equal(t, gatewayToken, facts.Token, "the token in the facts of a connection")
	require.NotEmpty(t, facts.Network, "the network in the facts of a connection")
	if facts.TLS != nil {
		require.NotZero(t, facts.TLS.Version, "the TLS version in the facts of a connection")
	}
	return session, facts
}

// wantClosed waits until the guest has closed a session. Its calls, of what it has taken bytes
// of the suite for, are answered as by a host that has no such route.
func (g *handGateway) wantClosed(session net.Conn, why string) {
	g.b.t.Helper()
	for {
		f, err := rawlane.Read(session)
		if err != nil {
			require.NotErrorIs(g.b.t, err, os.ErrDeadlineExceeded, "the guest keeps a session, although %s", why)
			return
		}
		if f.Type == rawlane.Call {
			notFound := "X-Reply-Error=" + url.QueryEscape(`{"code":404,"message":"Not Found","reason":""}`)
			session.Write(rawlane.Frame{Seq: f.Seq, Type: rawlane.Reply, Meta: notFound}.Append(nil))
		}
	}
}

// gatewayOpen: a gateway listens when the host has named the socket for its sessions, and opens them.
func gatewayOpen(b *byHand, part contract.Part) {
	g := b.openGateway(part)
	foreign, session := g.dial()
	require.NoError(b.t, session.Close())
	wantGone(b.t, foreign, "the host has closed its session")
	foreign, session = g.dial()
	require.NoError(b.t, foreign.Close())
	g.wantClosed(session, "its foreign connection has ended")
	// A frame that is none ends a session, and no other one.
	foreign, session = g.dial()
	_, err := session.Write(bytes.Repeat([]byte{0xff}, 100))
	require.NoError(b.t, err)
	wantGone(b.t, foreign, "its session has got bytes that are no frame")
	// The host is there no more, or refuses.
	require.NoError(b.t, g.lis.Close())
	lost, err := dialGateway(g.addr, g.secure)
	require.NoError(b.t, err)
	defer lost.Close()
	wantGone(b.t, lost, "its session could not be opened")
	require.False(b.t, isError(b.call(g.lane, contract.RoutePing, nil)))
}

// gatewayDrain: a guest that is drained stops to listen, and ends its connections.
func gatewayDrain(b *byHand, part contract.Part) {
	g := b.openGateway(part)
	foreign, session := g.dial()
	require.False(b.t, isError(b.call(g.lane, contract.RouteDrain, nil)), "drain has a REPLY with an error")
	wantGone(b.t, foreign, "the guest was drained")
	io.Copy(io.Discard, session)
	b.wantEnd("it was drained")
	conn, err := dialGateway(g.addr, false)
	if err == nil {
		conn.Close()
	}
	require.Error(b.t, err, "a foreign connection after drain")
}
