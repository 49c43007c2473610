package outproctest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/mixers/outproc/internal/rawlane"
)

const token = "a-token-of-the-suite"

// byHand is a guest that the suite has started as a host does.
type byHand struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	addr  string
	ended chan error
	seq   int64
}

func (s *suite) startByHand(t *testing.T) *byHand {
	dir, err := os.MkdirTemp("", "op")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, s.guest.Path, s.guest.Args...)
	cmd.Env = append(s.environment(), contract.EnvCookie+"="+contract.Cookie, contract.EnvToken+"="+token,
		contract.EnvDir+"="+dir, contract.EnvVersions+"="+strconv.Itoa(contract.Version))
	b := &byHand{t: t, cmd: cmd, ended: make(chan error, 1)}
	b.stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, theirs, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout = theirs
	require.NoError(t, cmd.Start())
	theirs.Close()
	go func() { b.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		b.stdin.Close()
		if b.ended != nil {
			<-b.ended
		}
		out.Close()
	})
	require.NoError(t, out.SetReadDeadline(time.Now().Add(patience)))
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "read the handshake")
	fields := strings.Split(strings.TrimSpace(line), "|")
	require.GreaterOrEqual(t, len(fields), 5, "the handshake is %q", line)
	require.Equal(t, []string{"1", strconv.Itoa(contract.Version), "unix"}, fields[:3], "the handshake is %q", line)
	require.Equal(t, contract.Protocol, fields[4], "the handshake is %q", line)
	require.True(t, strings.HasPrefix(fields[3], dir), "the socket %s is not in %s", fields[3], dir)
	b.addr = fields[3]
	return b
}

// dial connects to the lane.
func (b *byHand) dial() net.Conn {
	conn, err := net.Dial("unix", b.addr)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { conn.Close() })
	require.NoError(b.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// open dials and says hello.
func (b *byHand) open() net.Conn {
	conn := b.dial()
	reply := b.call(conn, contract.RouteHello, mustJSON(b.t, contract.Hello{Contract: contract.Version, Token: token}))
	require.JSONEq(b.t, `{"contract":1}`, string(reply.Body), "the reply to hello")
	return conn
}

// call sends a CALL and reads its REPLY.
func (b *byHand) call(conn net.Conn, route string, body []byte) rawlane.Frame {
	b.t.Helper()
	b.seq++
	seq := strconv.FormatInt(b.seq, 36)
	_, err := conn.Write(rawlane.Frame{Seq: seq, Type: rawlane.Call, Route: route, Body: body}.Append(nil))
	require.NoError(b.t, err, "write a CALL of %s", route)
	for {
		f, err := rawlane.Read(conn)
		require.NoError(b.t, err, "read the REPLY of %s", route)
		if f.Type == rawlane.Reply {
			require.Equal(b.t, seq, f.Seq, "the sequence number of the REPLY of %s", route)
			return f
		}
	}
}

func isError(f rawlane.Frame) bool { return strings.Contains(f.Meta, "X-Reply-Error=") }

// wantRefused checks that the part has refused a body, and that the guest lives.
func (b *byHand) wantRefused(conn net.Conn, route, body string) {
	b.t.Helper()
	f := b.call(conn, route, []byte(body))
	meta, err := url.ParseQuery(f.Meta)
	require.NoError(b.t, err, "the metadata of the REPLY of %s", route)
	var r struct{ Code int32 }
	require.NoError(b.t, json.Unmarshal([]byte(meta.Get("X-Reply-Error")), &r), "%s with the body %.100q: want a REPLY with an error, not %q", route, body, f.Body)
	require.Equal(b.t, contract.CodeRefused, r.Code, "the code of the error of %s with the body %.100q", route, body)
	require.False(b.t, isError(b.call(conn, contract.RoutePing, nil)), "a ping after a body that was refused has an error")
}

// answer is call for a body that the part must not refuse.
func (b *byHand) answer(conn net.Conn, route, name string, body []byte) []byte {
	b.t.Helper()
	f := b.call(conn, route, body)
	require.False(b.t, isError(f), "%s, %s: the REPLY has the error %s", route, name, f.Meta)
	return f.Body
}

// wantEnd waits for the end of the process.
func (b *byHand) wantEnd(why string) {
	b.t.Helper()
	select {
	case <-b.ended:
		b.ended = nil
	case <-time.After(patience):
		require.FailNow(b.t, "the guest runs on, although "+why)
	}
}

// wantClosed waits until the guest has closed the connection.
func (b *byHand) wantClosed(conn net.Conn, why string) {
	b.t.Helper()
	for {
		if _, err := rawlane.Read(conn); err != nil {
			require.NotErrorIs(b.t, err, os.ErrDeadlineExceeded, "the guest keeps the connection, although %s", why)
			return
		}
	}
}

// lane: what a host of another version may send does no harm.
func (s *suite) lane(t *testing.T) {
	b := s.startByHand(t)
	conn := b.open()
	desc, err := contract.ParseDescription(b.call(conn, contract.RouteDescribe, nil).Body)
	require.NoError(t, err)
	require.JSONEq(t, string(mustJSON(t, s.desc)), string(mustJSON(t, desc)), "the description on the lane and that of describe")
	require.True(t, isError(b.call(conn, "/no/such/route", nil)), "a route that does not exist has a REPLY without an error")
	require.True(t, isError(b.call(conn, contract.RouteConfigure, []byte("no json"))), "a configuration that is no JSON has a REPLY without an error")
	for _, f := range []rawlane.Frame{
		{Seq: "0", Type: rawlane.Push, Route: "/no/such/push", Body: []byte("x")},
		{Seq: "0", Type: rawlane.Control, Route: "unknown"},
		{Seq: "zz", Type: rawlane.Reply},
	} {
		_, err := conn.Write(f.Append(nil))
		require.NoError(t, err)
	}
	b.seq++ // one byte at a time, with metadata that the guest does not know
	for _, c := range (rawlane.Frame{Seq: strconv.FormatInt(b.seq, 36), Type: rawlane.Call, Route: contract.RoutePing, Meta: "X-New=a%20b&X-Timeout=5s"}).Append(nil) {
		_, err := conn.Write([]byte{c})
		require.NoError(t, err)
	}
	f, err := rawlane.Read(conn)
	require.NoError(t, err)
	require.Equal(t, strconv.FormatInt(b.seq, 36), f.Seq)
	require.False(t, isError(f), "a ping has the error %s", f.Meta)
}

func (s *suite) wrongToken(t *testing.T) {
	b := s.startByHand(t)
	conn := b.dial()
	_, err := conn.Write(rawlane.Frame{Seq: "1", Type: rawlane.Call, Route: contract.RouteHello, Body: []byte(`{"contract":1,"token":"wrong"}`)}.Append(nil))
	require.NoError(t, err)
	b.wantClosed(conn, "the token is wrong")
}

func (s *suite) wrongFirst(t *testing.T) {
	b := s.startByHand(t)
	conn := b.dial()
	_, err := conn.Write(rawlane.Frame{Seq: "1", Type: rawlane.Call, Route: contract.RouteDescribe}.Append(nil))
	require.NoError(t, err)
	b.wantClosed(conn, "the first message is not hello")
}

// garbage: bytes that are no frame end the connection, and so the guest, whose lane that was.
func (s *suite) garbage(t *testing.T) {
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "\x7f\xff\xff\xffr\x00", "\x00\x00\x00\x02r\x00", "\x00\x00\x00\x0cr\x00\xff1234567"} {
		b := s.startByHand(t)
		conn := b.open()
		_, err := conn.Write([]byte(text))
		require.NoError(t, err)
		if c, ok := conn.(*net.UnixConn); ok {
			require.NoError(t, c.CloseWrite())
		}
		b.wantClosed(conn, "it has received bytes that are no frame")
		b.wantEnd("its lane has ended")
	}
}

func (s *suite) drained(t *testing.T) {
	b := s.startByHand(t)
	conn := b.open()
	require.False(t, isError(b.call(conn, contract.RouteDrain, nil)), "drain has a REPLY with an error")
	b.wantEnd("it was drained")
}

func (s *suite) laneEnds(t *testing.T) {
	b := s.startByHand(t)
	conn := b.open()
	require.NoError(t, conn.Close())
	require.NoError(t, b.stdin.Close())
	b.wantEnd("its lane and its standard input have ended")
}

func (s *suite) hostGone(t *testing.T) {
	b := s.startByHand(t)
	require.NoError(t, b.stdin.Close())
	b.wantEnd("its standard input has ended, and no lane was opened")
}
