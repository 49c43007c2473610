package httproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

var errNoMemory = errors.New("no memory")

// counted is a connection that has room for so many bytes.
type counted struct {
	*peeker
	io.Writer
	room, kept, most int
}

func (c *counted) Keep(n int) error {
	if c.kept = n; n > c.room {
		return errNoMemory
	}
	c.most = max(c.most, n)
	return nil
}

func (c *counted) Read(b []byte) (int, error) { return c.peeker.Read(b) }

// chunks returns a body in chunks of size bytes.
func chunks(body []byte, size int) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// A body that is put together counts before its memory is taken, and
// where there is none left it is an error of the connection.
func TestCollectedBodiesCount(t *testing.T) {
	const mib = 1 << 20
	body := bytes.Repeat([]byte("0123456789abcdef"), mib/16)
	post := crlf("POST /echo HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n")
	for _, test := range []struct {
		name, text string
		most       int // bytes that are counted at once
	}{
		{"one chunk", post + "\r\n" + chunks(body, mib), mib + mib/2},
		{"small chunks", post + "\r\n" + chunks(body, 1000), mib + mib/2},
		{"growing chunks", post + "\r\n" + chunks(body[:mib/2], mib/4)[:mib/2+18] + chunks(body[:mib/2], mib/2), mib + mib/2},
		{"response until the end", crlf("HTTP/1.1 200 OK\n\n") + string(body), mib + mib/2},
		{"response in chunks", crlf("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n") + chunks(body, mib), mib + mib/2},
	} {
		t.Run(test.name, func(t *testing.T) {
			read := func(room int) (*counted, *socket.Envelope, error) {
				c := &counted{peeker: &peeker{r: strings.NewReader(test.text)}, Writer: io.Discard, room: room}
				p := NewHTTProtoFunc()(c).(*httpProto)
				p.called(1)
				m := new(socket.Envelope)
				m.SetLimit(64 * mib)
				return c, m, p.Unpack(m)
			}
			c, m, err := read(1 << 30)
			if err != nil || !bytes.Equal(m.RawBody(), body) {
				t.Fatalf("Unpack: %v, a body of %d bytes", err, len(m.RawBody()))
			}
			if c.kept < mib || c.kept > test.most || c.most > test.most {
				t.Errorf("%d bytes counted at the end and %d at most; want %d to %d", c.kept, c.most, mib, test.most)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c, _, err = read(mib / 2)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, errNoMemory) || errors.Is(err, socket.ErrBadMessage) || !strings.Contains(err.Error(), "http: body of more than ") {
				t.Errorf("without memory: %v, want that the body has none", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > mib+mib/2 {
				t.Errorf("without memory: %d bytes were taken", took)
			}
			if c.most > mib/2 {
				t.Errorf("without memory: %d bytes were counted", c.most)
			}
		})
	}
}

// Bodies in chunks that never end, on many connections, stay within ReadMemory; those
// that must end say so, and others go on.
func TestChunksWithinReadMemory(t *testing.T) {
	const mib = 1 << 20
	s := serve(t, tp.PeerConfig{ReadMemory: 4 * mib, MessageSizeLimit: 64 * mib})
	good := s.dial(t)
	piece := strings.Repeat("x", mib)
	var clients []*client
	for range 20 {
		c := s.dial(t)
		c.send(t, "POST /echo HTTP/1.1\nHost: h\nContent-Type: text/plain\nTransfer-Encoding: chunked\n\n")
		io.WriteString(c, fmt.Sprintf("%x\r\n%s\r\n", mib, piece)) // may be refused by now
		clients = append(clients, c)
		if resp, text := good.post(t, "/echo", "fine", "Content-Type: text/plain"); resp.StatusCode != 200 || text != "fine" {
			t.Fatalf("a call beside: %s %q", resp.Status, text)
		}
	}
	deadline := time.Now().Add(patience)
	for ended := 0; ended < 15; {
		ended = 0
		for _, c := range clients {
			c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := c.r.Peek(1); err != nil && !isTimeout(err) {
				ended++
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections of 20 have ended; want those that do not fit into 4 MiB", ended)
		}
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// A server whose response never ends uses up the memory of its client alone, and the
// call says which.
func TestEndlessResponse(t *testing.T) {
	for name, head := range map[string]string{
		"chunks":        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
		"until the end": "HTTP/1.1 200 OK\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			served := make(chan struct{})
			go func() {
				defer close(served)
				conn, err := lis.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				conn.Read(make([]byte, 1<<10))
				_, err = io.WriteString(conn, crlf(head))
				for err == nil {
					_, err = fmt.Fprintf(conn, "8000\r\n%s\r\n", strings.Repeat("x", 0x8000))
				}
			}()
			peer := tptest.NewPeer(t, tp.PeerConfig{Protocol: NewHTTProtoFunc(), ReadMemory: 1 << 20})
			sess, r := peer.Dial(lis.Addr().String())
			if r != nil {
				t.Fatal(r)
			}
			r = sess.Call("http://h/x", "x", new(string), tp.WithBodyCodec(codec.Plain)).Rerror()
			if r == nil || !strings.Contains(r.Reason, "PeerConfig.ReadMemory") {
				t.Errorf("the call ended with %v; want that ReadMemory was exceeded", r)
			}
			receive(t, served, "the end of the connection")
		})
	}
}
