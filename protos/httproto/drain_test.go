package httproto

import (
	"context"
	"net/http"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// A request that arrives while the session drains has not run, and says that it may be
// made elsewhere: to balancers and HTTP clients by the status, to peers as ever.
func TestDraining(t *testing.T) {
	const (
		v7     = `{"code":102,"msg":"Connection Closed","cause":"draining"}`
		v5     = `{"code":102,"message":"Connection Closed","reason":"draining"}`
		waits  = "POST /wait HTTP/1.1\nHost: h\nContent-Type: text/plain\nContent-Length: 1\n\na"
		second = "POST /echo HTTP/1.1\nHost: h\nContent-Type: text/plain\nContent-Length: 1\n"
	)
	for _, test := range []struct {
		name   string
		header string // of the requests that come too late
		status int
		body   string
		close  bool
	}{
		{"any client", "", 503, v7, true},
		{"with X-Seq", "X-Seq: 9\n", 503, v7, false},
		{"peer of v5", "X-Seq: 9\nUser-Agent: " + agentV5 + "\n", 299, v5, false},
		{"peer of v7", "X-Seq: 9\nUser-Agent: " + agentV7 + "\n", 299, v7, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, tp.PeerConfig{Protocol: New(Config{Status: func(int32) int { return 418 }})})
			c := s.dial(t)
			c.send(t, waits)
			receive(t, s.entered, "the first request")
			s.peer.RangeSession(func(sess tp.Session) bool {
				go sess.Drain(context.Background())
				receive(t, sess.CloseNotify(), "the beginning of the drain")
				return false
			})
			check := func(resp *http.Response, body string) {
				t.Helper()
				if resp.StatusCode != test.status || body != test.body || resp.Close != test.close {
					t.Errorf("%s %s, Connection: close %v; want %d %s, %v", resp.Status, body, resp.Close, test.status, test.body, test.close)
				}
			}
			c.send(t, second+test.header+"\na")
			if !test.close {
				check(c.response(t, "POST"))
			} else {
				// A request with X-Seq is answered at once: when it is, the other has been read.
				c.send(t, second+"X-Seq: 8\n\na")
				if resp, _ := c.response(t, "POST"); resp.StatusCode != 503 || resp.Close {
					t.Errorf("the request with X-Seq: %s, Connection: close %v; want 503 and to stay open", resp.Status, resp.Close)
				}
			}
			s.release <- struct{}{}
			if resp, body := c.response(t, "POST"); resp.StatusCode != 200 || body != "a" || resp.Close == test.close {
				t.Errorf("the request under way: %s %q, Connection: close %v; want 200, and close if nothing follows", resp.Status, body, resp.Close)
			}
			if test.close {
				check(c.response(t, "POST"))
			}
			c.ended(t)
		})
	}
}
