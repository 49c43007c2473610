package websocket

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
)

// handleStreams registers the streams of the tests.
func handleStreams(r tp.Router) {
	// It answers each message, and returns at the end of the opener's.
	tp.HandleStream(r, "/chat", func(_ tp.StreamCtx, s *tp.Stream[string, string]) error {
		for v, err := range s.All() {
			if err == nil {
				err = s.Send("re: " + *v)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	tp.HandleStream(r, "/failing", func(_ tp.StreamCtx, s *tp.Stream[string, string]) error {
		if err := s.Send("last words"); err != nil {
			return err
		}
		return tp.NewRerror(777, "no", "because").Err()
	})
}

// onlySession returns the session of a peer that has one.
func onlySession(t *testing.T, p tp.Peer) (sess tp.Session) {
	require.Eventually(t, func() bool {
		p.RangeSession(func(s tp.Session) bool { sess = s; return true })
		return sess != nil
	}, time.Minute, time.Millisecond)
	return sess
}

// wantStreams opens streams, and checks what the other side's handlers do.
func wantStreams(t *testing.T, ctx context.Context, sess tp.Session) {
	open := func(method string) *tp.Stream[string, string] {
		s, err := tp.OpenStream[string, string](ctx, sess, method)
		require.NoError(t, err)
		return s
	}
	chat := open("/chat")
	large := strings.Repeat("é\n", 20_000)
	texts := []string{"hello", "", large, " spaces ", large}
	for _, text := range texts {
		require.NoError(t, chat.Send(text))
	}
	require.NoError(t, chat.CloseSend())
	var got []string
	for v, err := range chat.All() {
		require.NoError(t, err)
		got = append(got, strings.TrimPrefix(*v, "re: "))
	}
	require.Equal(t, texts, got)
	require.NoError(t, chat.Wait())
	require.Positive(t, chat.Acked(), "the other side has given credit back")

	failing := open("/failing")
	v, err := failing.Recv()
	require.NoError(t, err)
	require.Equal(t, "last words", *v)
	_, err = failing.Recv()
	require.Equal(t, int32(777), tp.Code(err))
	require.Equal(t, tp.CodeNotFound, tp.Code(open("/nowhere").Wait()))
}

// TestStreams opens streams from both sides, over each network and each sub-protocol.
func TestStreams(t *testing.T) {
	for _, network := range []string{"ws", "wss"} {
		for _, proto := range []string{"raw", "json", "protobuf"} {
			t.Run(network+" "+proto, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				// With a window smaller than a message, credit goes back and forth.
				cfg := tp.PeerConfig{LocalIP: "127.0.0.1", Network: network, Protocols: []string{proto}, StreamWindow: 1000}
				srv, cli := newPeer(t, cfg), newPeer(t, cfg)
				handleStreams(srv)
				handleStreams(cli)
				if network == "wss" {
					srv.SetTLSConfig(tp.GenerateTLSConfigForServer())
					cli.SetTLSConfig(tp.GenerateTLSConfigForClient())
				}
				require.NoError(t, srv.Listen())
				sess, rerr := cli.Dial(srv.Addrs()[0].String())
				require.Nil(t, rerr)
				wantStreams(t, ctx, onlySession(t, srv)) // the client has not said anything yet
				wantStreams(t, ctx, sess)
			})
		}
	}
}

// TestControlCrosses: what both sides have said in the handshake goes with a connection that
// a Reboot hands over.
func TestControlCrosses(t *testing.T) {
	for _, control := range []bool{false, true} {
		pf := func(control bool) *appender {
			return newProtoFunc(link{name: SubJSON, control: control}, builtIn(SubJSON).New)(closedConn{}).(*appender)
		}
		state, err := pf(control).AppendState(nil)
		require.NoError(t, err)
		to := pf(false)
		require.NoError(t, to.Restore(state))
		require.Equal(t, control, to.CarriesControl())
	}
}

// TestStreamsScript: a script written by hand gets no CONTROL before it has sent some.
func TestStreamsScript(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv, addrs := servers(t, tp.PeerConfig{StreamWindow: 1000})
	handleStreams(srv)
	for name, addr := range addrs {
		t.Run(name, func(t *testing.T) {
			c := dialForeign(t, addr, SubJSON)
			sess := onlySession(t, srv)
			_, err := tp.OpenStream[string, string](ctx, sess, "/any")
			require.Equal(t, tp.CodeNotImplemented, tp.Code(err), "%v", err)
			say(t, c, `{"seq":1,"serviceMethod":"/upper","body":"hello"}`)
			require.Equal(t, `{"seq":1,"mtype":2,"body":"HELLO"}`, hear(t, c))

			say(t, c, `{"seq":0,"mtype":6,"serviceMethod":"hello","meta":{"v":"1","f":"cancel,stream","w":"100"}}`)
			require.Equal(t, `{"mtype":6,"serviceMethod":"hello","meta":{"v":"1","f":"cancel,stream","w":"1000"}}`, hear(t, c))
			say(t, c, `{"seq":2,"serviceMethod":"/chat","meta":{"X-Stream":"1000"}}`)
			say(t, c, `{"seq":2,"mtype":7,"body":"hi"}`)
			require.Equal(t, `{"seq":-2,"mtype":7,"body":"re: hi"}`, hear(t, c))
			say(t, c, `{"seq":2,"mtype":6,"serviceMethod":"end"}`)
			require.Equal(t, `{"seq":2,"mtype":2,"meta":{"X-Stream":"1"},"bodyCodec":106}`, hear(t, c))

			s, err := tp.OpenStream[string, string](ctx, sess, "/page")
			require.NoError(t, err)
			require.Regexp(t, `^\{"seq":\d+,"mtype":1,"serviceMethod":"/page","meta":\{"X-Stream":"1000"`, hear(t, c))
			require.NoError(t, s.Close())
			require.Contains(t, hear(t, c), `"mtype":6,"serviceMethod":"cancel"`)
			require.NoError(t, sess.Close())
		})
	}
}
