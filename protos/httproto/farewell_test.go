package httproto

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/tptest"
)

// What a client is sent last by a server that ends, when nothing of it is under way.
func TestGoodbye(t *testing.T) {
	const peer = "POST /echo HTTP/1.1\nHost: h\nContent-Length: 0\nX-Mtype: 1\nX-Seq: 1\nUser-Agent: "
	for _, test := range []struct {
		name, request string
		status        int // of the goodbye; 0: none
	}{
		{"a peer that may be of this project", peer + agentV5 + "\n\n", 200},
		{"a peer of v7", peer + agentV7 + "\n\n", 0},
		{"another client", "POST /echo HTTP/1.1\nHost: h\nContent-Length: 0\n\n", 0},
		{"another client with X-Seq", "POST /echo HTTP/1.1\nHost: h\nX-Seq: 1\nContent-Length: 0\n\n", 0},
		{"another client whose connection ends", "POST /echo HTTP/1.1\nHost: h\nConnection: close\nContent-Length: 0\n\n", 0},
		{"one that has asked nothing", "", 408},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, tp.PeerConfig{})
			c := s.dial(t)
			if test.request != "" {
				c.send(t, test.request)
				if resp, body := c.response(t, "POST"); resp.StatusCode != 200 {
					t.Fatalf("%s %s", resp.Status, body)
				}
			} else {
				s.sessions(t, 1)
			}
			closed := make(chan error, 1)
			go func() { closed <- s.peer.Close() }()
			if test.status != 0 {
				resp, body := c.response(t, "POST")
				if resp.StatusCode != test.status || resp.Header.Get("X-Bye") != "0" || resp.Header.Get("X-Seq") != "0" || !resp.Close || body != "" {
					t.Errorf("%s, %v, closes %v, %q; want %d, X-Bye: 0, X-Seq: 0 and the end", resp.Status, resp.Header, resp.Close, body, test.status)
				}
			}
			c.ended(t)
			c.Close()
			if err := receive(t, closed, "the end"); err != nil {
				t.Error(err)
			}
		})
	}
}

// What a client learns from a server that ends the connection: a request behind the one that
// was answered with "Connection: close", and one that came too late for a server which
// says 408, have not run. They are made again.
func TestRequestsThatWereNotRun(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Type: text/plain\n"
	for _, test := range []struct {
		name   string
		first  string // the response to the first request
		second string // behind the second one
		again  bool
	}{
		{"closes", ok + "Connection: close\n\nok", "", true},
		{"ends without a word", ok + "\nok", "", false},
		{"408", ok + "\nok", "HTTP/1.1 408 Request Timeout\nContent-Length: 0\nConnection: close\n\n", true},
		{"408 of a handler", ok + "\nok", "HTTP/1.1 408 Request Timeout\nContent-Length: 0\n\n", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			requests := make(chan string, 10)
			go func() {
				for n := 0; ; n++ {
					conn, err := lis.Accept()
					if err != nil {
						return
					}
					in := bufio.NewReader(conn)
					serve := func(responses ...string) {
						defer conn.Close()
						for _, response := range responses {
							req, err := http.ReadRequest(in)
							if err != nil {
								return
							}
							body, _ := io.ReadAll(req.Body)
							requests <- string(body)
							io.WriteString(conn, crlf(response))
						}
					}
					if n == 0 {
						serve(test.first, test.second)
					} else {
						serve(ok + "\nok")
					}
				}
			}()
			peer := tptest.NewPeer(t, tp.PeerConfig{Protocol: NewHTTProtoFunc(), RedialTimes: -1, RedialInterval: 1})
			sess, r := peer.Dial(lis.Addr().String())
			if r != nil {
				t.Fatal(r)
			}
			call := func(arg string) *tp.Rerror {
				return sess.Call("http://h/x", arg, new(string), tp.WithBodyCodec(codec.Plain)).Rerror()
			}
			if r := call("first"); r != nil {
				t.Fatal(r)
			}
			r = call("second")
			sess.Close()
			lis.Close()
			close(requests)
			var got []string
			for req := range requests {
				got = append(got, req)
			}
			want := "first second"
			if test.again {
				want += " second"
			}
			if text := strings.Join(got, " "); text != want || (r == nil) != test.again {
				t.Errorf("the server reads %q, the second call ends with %v; want %q", text, r, want)
			}
			if r != nil && errors.Is(r.Err(), tp.ErrNotRun) {
				t.Errorf("%s is not known not to have run", r)
			}
		})
	}
}
