package httproto

import (
	"bytes"
	"io"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// A request behind others gets its 100 Continue when they are answered: a client
// reads what comes in the order of its requests.
func TestExpectInTurn(t *testing.T) {
	s := serve(t, tp.PeerConfig{})
	c := s.dial(t)
	const head = "POST /wait HTTP/1.1\nHost: h\nContent-Type: text/plain\nContent-Length: 1\n"
	c.send(t, head+"\n1"+head+"\n2"+head+"Expect: 100-continue\n\n")
	for _, want := range []string{"1", "2"} {
		if got := receive(t, s.entered, "a request"); got != want {
			t.Errorf("handled %q, want %q", got, want)
		}
		s.release <- struct{}{}
		if resp, body := c.response(t, "POST"); resp.StatusCode != 200 || body != want {
			t.Fatalf("%s %q, want 200 %q", resp.Status, body, want)
		}
	}
	if resp, _ := c.response(t, "POST"); resp.StatusCode != 100 {
		t.Fatalf("%s, want 100", resp.Status)
	}
	c.send(t, "3")
	s.release <- struct{}{}
	if resp, body := c.response(t, "POST"); resp.StatusCode != 200 || body != "3" {
		t.Errorf("%s %q, want 200 and the body", resp.Status, body)
	}
	c.send(t, "GET /echo HTTP/1.1\nHost: h\n\n")
	if resp, _ := c.response(t, "GET"); resp.StatusCode != 200 {
		t.Errorf("the request behind them: %s, want 200", resp.Status)
	}
}

// slowly is an accepted connection that says when its reader waits, and keeps what
// is emitted.
type slowly struct {
	io.Writer
	waits   chan struct{}
	arrives chan string
	emitted bytes.Buffer
}

func (s *slowly) Dialed() bool        { return false }
func (s *slowly) Emit(b []byte) error { s.emitted.Write(b); return nil }

func (s *slowly) Read(b []byte) (int, error) {
	s.waits <- struct{}{}
	return copy(b, <-s.arrives), nil
}

// The reader waits for the body meanwhile; the last of the responses before it
// carries the 100, and that alone.
func TestExpectWhileReading(t *testing.T) {
	for _, test := range []struct {
		name       string
		open, seqs int // requests before it, without and with X-Seq
		emitted    bool
	}{
		{"alone", 0, 0, true}, {"behind one", 1, 0, false}, {"behind three", 3, 0, false}, {"behind one with a seq", 0, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			rw := &slowly{waits: make(chan struct{}), arrives: make(chan string)}
			p := New(Config{})(rw).(*httpProto)
			read := make(chan error)
			m := socket.NewMessage()
			unpack := func(text string) {
				go func() { read <- p.Unpack(m) }()
				receive(t, rw.waits, "the reader")
				rw.arrives <- crlf(text)
			}
			var seqs []int32
			for i := range test.open + test.seqs {
				header := ""
				if i >= test.open {
					header = "X-Seq: 5\n"
				}
				unpack("GET /a HTTP/1.1\nHost: h\n" + header + "\n")
				if err := receive(t, read, "a request"); err != nil {
					t.Fatal(err)
				}
				seqs = append(seqs, m.Seq())
			}
			unpack("POST /a HTTP/1.1\nHost: h\nContent-Type: text/plain\nContent-Length: 1\nExpect: 100-continue\n\n")
			receive(t, rw.waits, "the reader, for the body")
			if got := rw.emitted.String() == continue100; got != test.emitted {
				t.Errorf("emitted %q at once: %v, want %v", rw.emitted.String(), got, test.emitted)
			}
			for i, seq := range seqs {
				frame, err := p.AppendFrame([]byte("before"), message(seq, socket.TypeReply, "", codec.JSON, "1"))
				if err != nil {
					t.Fatal(err)
				}
				if got := bytes.HasSuffix(frame, []byte("\r\n\r\n1"+continue100)); got != (i == test.open-1) || bytes.Contains(frame, []byte(continue100)) != got {
					t.Errorf("response %d: %q", i, frame)
				}
			}
			rw.arrives <- "x"
			if err := receive(t, read, "the request"); err != nil || string(m.RawBody()) != "x" {
				t.Errorf("%v, body %q", err, m.RawBody())
			}
			if frame, err := p.AppendFrame(nil, message(m.Seq(), socket.TypeReply, "", codec.JSON, "1")); err != nil || bytes.Contains(frame, []byte("100 Continue")) {
				t.Errorf("its own response: %q, %v", frame, err)
			}
		})
	}
}

// auth is a checker of the token "tok".
type auth struct{}

func (auth) Name() string { return "auth" }

func (auth) PostAccept(s tp.PreSession) *tp.Rerror {
	var got string
	m := s.PreReceive(func(tp.Header) any { return &got })
	r := m.Rerror()
	switch {
	case r != nil:
		return r
	case m.Mtype() != tp.TypeAuthCall:
		r = tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), "no AUTH_CALL")
	case got != "tok":
		r = tp.NewRerror(1403, "not you", "“a” & b")
	}
	if sent := s.PreReply(m, "pass", r); sent != nil {
		return sent
	}
	return r
}

const (
	authHead = "POST  HTTP/1.1\nAccept-Encoding: gzip\nContent-Length: 3\nContent-Type: text/plain;charset=utf-8\nUser-Agent: "
	authEnd  = "\nX-Mtype: 4\nX-Seq: 1\n\n"
	welcome  = "HTTP/1.1 200 OK\nContent-Length: 4\nContent-Type: text/plain;charset=utf-8\nX-Mtype: 5\nX-Seq: 1\n\npass"
	refused  = "HTTP/1.1 299 Business Error\nContent-Length: "
	refusedH = "\nContent-Type: application/json\nX-Mtype: 5\nX-Seq: 1\n\n"
)

// exactly reads as many bytes as want has, which they are to be.
func (c *client) exactly(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
		t.Fatalf("%v\n got %q\nwant %q", err, got[:n], want)
	}
}

// The AUTH_CALL of v5 and v7 has no service method, and they write none.
func TestAuth(t *testing.T) {
	s := serve(t, tp.PeerConfig{}, auth{})
	for agent, failure := range map[string]string{
		agentV5: refused + "56" + refusedH + `{"code":1403,"message":"not you","reason":"“a” & b"}`,
		agentV7: refused + "56" + refusedH + `{"code":1403,"msg":"not you","cause":"“a” \u0026 b"}`,
	} {
		t.Run(agent, func(t *testing.T) {
			c := s.dial(t)
			c.send(t, authHead+agent+authEnd+"tok")
			c.exactly(t, crlf(welcome))
			c.send(t, "POST /echo HTTP/1.1\nContent-Length: 1\nContent-Type: text/plain\nUser-Agent: "+agent+"\nX-Mtype: 1\nX-Seq: 2\n\na")
			c.exactly(t, crlf("HTTP/1.1 200 OK\nContent-Length: 1\nContent-Type: text/plain;charset=utf-8\nX-Mtype: 2\nX-Seq: 2\n\na"))

			c = s.dial(t)
			c.send(t, authHead+agent+authEnd+"shu")
			c.exactly(t, crlf(failure))
			c.ended(t)
		})
	}
	t.Run("a client that is no peer", func(t *testing.T) {
		c := s.dial(t)
		if resp, body := c.post(t, "/", "tok", "X-Mtype: 4", "Content-Type: text/plain"); resp.StatusCode != 200 || body != "pass" {
			t.Errorf("%s %q, want 200 pass", resp.Status, body)
		}
		if resp, body := c.post(t, "/echo", "a", "Content-Type: text/plain"); resp.StatusCode != 200 || body != "a" {
			t.Errorf("afterwards: %s %q", resp.Status, body)
		}
		c = s.dial(t)
		if resp, body := c.post(t, "/echo", "a", "Content-Type: text/plain"); resp.StatusCode != 401 {
			t.Errorf("without an AUTH_CALL: %s %q, want 401", resp.Status, body)
		}
		c.ended(t)
	})
}

// A server that does not authenticate answers an AUTH_CALL all the same, before
// the request behind it: the responses keep their order.
func TestAuthUnwanted(t *testing.T) {
	s := serve(t, tp.PeerConfig{})
	for agent, key := range map[string]string{agentV5: "reason", agentV7: "cause"} {
		c := s.dial(t)
		c.send(t, authHead+agent+authEnd+"tokGET /echo HTTP/1.1\nUser-Agent: "+agent+"\nX-Seq: 2\n\n")
		resp, body := c.response(t, "POST")
		if resp.StatusCode != 299 || resp.Header.Get("X-Seq") != "1" || !strings.Contains(body, `"code":405,`) || !strings.Contains(body, key) {
			t.Errorf("to %s: %s %q, X-Seq %q; want 299 with the code 405", agent, resp.Status, body, resp.Header.Get("X-Seq"))
		}
	}
	c := s.dial(t)
	for _, last := range []string{"", "Connection: close"} {
		c.send(t, "POST / HTTP/1.1\nHost: h\nX-Mtype: 4\nContent-Length: 0\n\n")
		if resp, body := c.post(t, "/echo", "a", "Content-Type: text/plain", last); resp.StatusCode != 405 {
			t.Errorf("the AUTH_CALL: %s %q, want 405", resp.Status, body)
		}
		if resp, body := c.response(t, "POST"); resp.StatusCode != 200 || body != "a" {
			t.Errorf("the next request: %s %q, want 200", resp.Status, body)
		}
	}
	c.ended(t)
	c = s.dial(t)
	c.send(t, "POST / HTTP/1.0\nX-Mtype: 4\nContent-Length: 0\n\nmore")
	if resp, body := c.response(t, "POST"); resp.StatusCode != 405 {
		t.Errorf("an AUTH_CALL that is the last: %s %q, want 405", resp.Status, body)
	}
	c.ended(t)
}
