package httproto

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// A client that hangs up ends the contexts of its requests, as with net/http; one that has
// only ended its half of the connection gets its response all the same.
func TestClientHangsUp(t *testing.T) {
	for _, any := range []bool{false, true} {
		for name, hangUp := range map[string]func(*net.TCPConn) error{
			"closes":      (*net.TCPConn).Close,
			"half-closes": (*net.TCPConn).CloseWrite,
			"resets":      func(c *net.TCPConn) error { c.SetLinger(0); return c.Close() },
		} {
			t.Run(name, func(t *testing.T) {
				cfg := tp.PeerConfig{}
				if any {
					cfg.Protocol = tp.AnyProto("http")
				}
				s := serve(t, cfg)
				begun, causes := make(chan bool, 2), make(chan error, 2)
				tp.HandleCall(s.peer, "/hang", func(ctx tp.CallCtx, _ *[]byte) (string, error) {
					c := ctx.Context()
					begun <- true
					<-c.Done()
					causes <- context.Cause(c)
					return "late", nil
				})
				c := s.dial(t)
				c.send(t, "POST /hang HTTP/1.1\nHost: h\nContent-Length: 0\n\nPOST /hang HTTP/1.1\nHost: h\nX-Seq: 2\nContent-Length: 0\n\n")
				for range 2 {
					receive(t, begun, "a request")
				}
				if err := hangUp(c.Conn.(*net.TCPConn)); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					cause := receive(t, causes, "the end of a context")
					var reason *tp.CloseReason
					if !errors.As(cause, &reason) || name != "resets" && !errors.Is(cause, tp.ErrCallerGone) {
						t.Errorf("the context has ended with %v; want %v", cause, tp.ErrCallerGone)
					}
				}
				if name != "half-closes" {
					return
				}
				for range 2 {
					if resp, body := c.response(t, "POST"); resp.StatusCode != 200 || !strings.Contains(body, "late") {
						t.Errorf("%s %q; want the response", resp.Status, body)
					}
				}
				c.ended(t)
			})
		}
	}
}
