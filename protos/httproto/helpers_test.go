package httproto

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/core/xfer"
)

func TestMain(m *testing.M) {
	codec.Register(jsonCodec{})
	codec.Register(plainCodec{})
	codec.Register(formCodec{})
	codec.Register(xmlCodec{})
	xfer.Register(gzipFilter{})
	tp.SetLoggerLevel("OFF")
	os.Exit(m.Run())
}

type jsonCodec struct{}

func (jsonCodec) ID() byte                        { return codec.JSON }
func (jsonCodec) Name() string                    { return codec.NameJSON }
func (jsonCodec) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (jsonCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

type plainCodec struct{}

func (plainCodec) ID() byte     { return codec.Plain }
func (plainCodec) Name() string { return codec.NamePlain }

func (plainCodec) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return []byte(v), nil
	case *string:
		return []byte(*v), nil
	}
	return nil, fmt.Errorf("%T is no string", v)
}

func (plainCodec) Unmarshal(b []byte, v any) error {
	s, ok := v.(*string)
	if !ok {
		return fmt.Errorf("%T is no *string", v)
	}
	*s = string(b)
	return nil
}

// formCodec carries map[string]string alone.
type formCodec struct{}

func (formCodec) ID() byte     { return codec.Form }
func (formCodec) Name() string { return codec.NameForm }

func (formCodec) Marshal(v any) ([]byte, error) {
	pairs, ok := v.(map[string]string)
	if !ok {
		return nil, fmt.Errorf("%T is no form", v)
	}
	form := make(url.Values)
	for k, v := range pairs {
		form.Set(k, v)
	}
	return []byte(form.Encode()), nil
}

func (formCodec) Unmarshal(b []byte, v any) error {
	pairs, ok := v.(*map[string]string)
	if !ok {
		return fmt.Errorf("%T is no form", v)
	}
	form, err := url.ParseQuery(string(b))
	*pairs = make(map[string]string)
	for k := range form {
		(*pairs)[k] = form.Get(k)
	}
	return err
}

type xmlCodec struct{}

func (xmlCodec) ID() byte                        { return codec.XML }
func (xmlCodec) Name() string                    { return codec.NameXML }
func (xmlCodec) Marshal(v any) ([]byte, error)   { return xml.Marshal(v) }
func (xmlCodec) Unmarshal(b []byte, v any) error { return xml.Unmarshal(b, v) }

type gzipFilter struct{}

func (gzipFilter) ID() byte     { return xfer.Gzip }
func (gzipFilter) Name() string { return xfer.NameGzip }

func (gzipFilter) OnPack(b []byte) ([]byte, error) { return zipped(b), nil }

func (gzipFilter) OnUnpack(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// server is a peer with the protocol, for clients of any kind.
type server struct {
	peer    tp.Peer
	addr    string
	entered chan string   // texts that /wait was called with
	release chan struct{} // one for each /wait that may go on
}

// serve starts a peer on a port of its own, unless cfg has a network. Its routes: /echo (body and the
// metadata X-Note come back), /zip (the reply goes through gzip), /fail (an error
// of the code in the query), /wait, /meta (the metadata as a query string), /pairs
// (a map comes back), /count (its length does), /bytes (they come back).
func serve(t *testing.T, cfg tp.PeerConfig, plugin ...tp.Plugin) *server {
	t.Helper()
	tptest.LeakCheck(t)
	s := &server{entered: make(chan string, 2*maxOpen), release: make(chan struct{}, 2*maxOpen)}
	if cfg.Network == "" {
		cfg.LocalIP = "127.0.0.1"
	}
	if cfg.Protocol == nil {
		cfg.Protocol = NewHTTProtoFunc()
	}
	s.peer = tptest.NewPeer(t, cfg, plugin...)
	tp.HandleCall(s.peer, "/echo", func(ctx tp.CallCtx, arg *string) (string, error) {
		if note := ctx.PeekMeta("X-Note"); note != nil {
			ctx.SetMeta("X-Note", string(note))
		}
		return *arg, nil
	})
	tp.HandleCall(s.peer, "/zip", func(ctx tp.CallCtx, arg *string) (string, error) {
		ctx.AddXferPipe(xfer.Gzip)
		return *arg, nil
	})
	tp.HandleCall(s.peer, "/fail", func(ctx tp.CallCtx, arg *[]byte) (string, error) {
		var code int32
		fmt.Sscan(ctx.Query().Get("code"), &code)
		return "", tp.NewRerror(code, "failed", "on purpose").Err()
	})
	tp.HandleCall(s.peer, "/wait", func(ctx tp.CallCtx, arg *string) (string, error) {
		s.entered <- *arg
		select {
		case <-s.release:
		case <-time.After(patience):
		}
		return *arg, nil
	})
	tp.HandleCall(s.peer, "/meta", func(ctx tp.CallCtx, arg *[]byte) (string, error) {
		m := ctx.CopyMeta()
		m.Del(MetaMethod) // TestMethod looks at it
		return ctx.ServiceMethod() + " " + m.String(), nil
	})
	tp.HandleCall(s.peer, "/pairs", func(ctx tp.CallCtx, arg *map[string]string) (map[string]string, error) { return *arg, nil })
	tp.HandleCall(s.peer, "/count", func(ctx tp.CallCtx, arg *map[string]string) (int, error) { return len(*arg), nil })
	tp.HandleCall(s.peer, "/bytes", func(ctx tp.CallCtx, arg *[]byte) ([]byte, error) { return *arg, nil })
	s.addr = tptest.Listen(t, s.peer)
	return s
}

// client is a raw connection to a server.
type client struct {
	net.Conn
	r *bufio.Reader
}

// sessions waits until the server counts n sessions.
func (s *server) sessions(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); s.peer.CountSession() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server has %d sessions; want %d", s.peer.CountSession(), n)
		}
	}
}

func (s *server) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	return newClient(t, c, err)
}

// newClient takes the results of a dial.
func newClient(t *testing.T, c net.Conn, err error) *client {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &client{c, bufio.NewReader(c)}
}

// send writes text whose lines end with "\n" only, for CRLF.
func (c *client) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c, crlf(text)); err != nil {
		t.Fatal(err)
	}
}

func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// response reads one, with its body.
func (c *client) response(t *testing.T, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("body of the response: %v", err)
	}
	return resp, string(body)
}

// post sends a request with a body, and headers as "Name: value" lines.
func (c *client) post(t *testing.T, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	head := fmt.Sprintf("POST %s HTTP/1.1\nHost: h\nContent-Length: %d\n", path, len(body))
	for _, h := range headers {
		if h != "" {
			head += h + "\n"
		}
	}
	c.send(t, head+"\n")
	if _, err := c.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	return c.response(t, "POST")
}

// ended checks that the server closes, without another byte.
func (c *client) ended(t *testing.T) {
	t.Helper()
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		t.Errorf("after the last response: %q, %v; want the end", b, err)
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s has not come", what)
		panic("unreachable")
	}
}
