package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
)

const patience = time.Minute

type client struct {
	name  string
	proto tp.ProtoFunc
	pipes []string // that go with it
}

var (
	allPipes = []string{"", "m", "g", "gm", "mg"}
	clients  = []client{
		{"raw", rawproto.NewRawProtoFunc(), allPipes},
		{"raw v5", rawproto.NewRawProtoFunc(rawproto.V5), allPipes},
		{"raw v7", rawproto.NewRawProtoFunc(rawproto.V7), allPipes},
		{"json", jsonproto.NewJSONProtoFunc(), allPipes},
		{"json v7", jsonproto.NewJSONProtoFunc(jsonproto.V7), allPipes},
		{"protobuf", pbproto.NewPbProtoFunc(), allPipes},
		{"protobuf v7", pbproto.NewPbProtoFunc(pbproto.V7), allPipes},
		{"http", httproto.NewHTTProtoFunc(), []string{"", "g"}},
		{"http v7", httproto.NewHTTProtoFunc(httproto.V7), []string{"", "g"}},
	}
)

// serve starts the server of the tests, and returns its address.
func serve(t *testing.T, cfg tp.PeerConfig, plugin ...tp.Plugin) string {
	t.Helper()
	if cfg.LocalIP = "127.0.0.1"; cfg.Network != "" {
		cfg.LocalIP = "" // any name of that network
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Protocols == nil {
		cfg.Protocols = protocols
	}
	srv := tp.NewPeer(cfg, plugin...)
	t.Cleanup(func() { srv.Close() })
	tp.HandleCall(srv, "/math/add", add)
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, arg *[]byte) ([]byte, error) { return *arg, nil })
	if err := srv.Listen(); err != nil {
		t.Fatal(err)
	}
	return srv.Addrs()[0].String()
}

func newClient(t *testing.T) tp.Peer {
	cli := tp.NewPeer(tp.PeerConfig{DefaultCallTimeout: patience, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { cli.Close() })
	return cli
}

// call makes the first call of a session, and then others through other pipes.
func call(sess tp.Session, c client, pipe string, size int) error {
	body := append(bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size], "\x00\xff{\"\\\n"...)
	for _, p := range append([]string{pipe}, c.pipes...) {
		var got []byte
		if r := sess.Call("/echo", body, &got, tp.WithXferPipe([]byte(p)...)).Rerror(); r != nil {
			return fmt.Errorf("pipe %q: %w", p, r.Err())
		}
		if !bytes.Equal(got, body) {
			return fmt.Errorf("pipe %q: got %d other bytes", p, len(got))
		}
		r := sess.Call("/math/add", []int{-1}, new(int), tp.WithXferPipe([]byte(p)...)).Rerror()
		if want := "1001 no negative numbers: -1"; r == nil || r.Err().Error() != want {
			return fmt.Errorf("pipe %q: error: got %v, want %s", p, r, want)
		}
	}
	return nil
}

// Each first frame is distinguished from those of all other protocols, whichever are
// tried before.
func TestFirstFrame(t *testing.T) {
	for _, order := range [][]string{
		{"raw", "json", "protobuf", "http"},
		{"http", "protobuf", "json", "raw"},
		{"protobuf", "http", "raw", "json"},
	} {
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			addr, cli := serve(t, tp.PeerConfig{Protocols: order}), newClient(t)
			for _, c := range clients {
				for _, pipe := range c.pipes {
					for _, size := range []int{0, 500, 100_000} {
						c := c
						if size > 500 {
							if len(pipe) > 1 {
								continue
							}
							c.pipes = nil // large ones take long
						}
						t.Run(fmt.Sprintf("%s %q %d", c.name, pipe, size), func(t *testing.T) {
							sess, r := cli.Dial(addr, c.proto)
							if r != nil {
								t.Fatal(r)
							}
							defer sess.Close()
							if err := call(sess, c, pipe, size); err != nil {
								t.Error(err)
							}
						})
					}
				}
			}
		})
	}
}

// A client may send its first bytes one by one.
func TestByteByByte(t *testing.T) {
	addr := serve(t, tp.PeerConfig{})
	for _, c := range clients {
		for _, pipe := range c.pipes {
			t.Run(fmt.Sprintf("%s %q", c.name, pipe), func(t *testing.T) {
				front, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer front.Close()
				go trickle(front, addr)
				sess, r := newClient(t).Dial(front.Addr().String(), c.proto)
				if r != nil {
					t.Fatal(r)
				}
				if err := call(sess, c, pipe, 40); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// trickle passes one connection on to addr, the requests in single bytes.
func trickle(lis net.Listener, addr string) {
	from, err := lis.Accept()
	if err != nil {
		return
	}
	defer from.Close()
	to, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		io.Copy(from, to)
		from.Close()
	}()
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(from, b); err != nil {
			return
		}
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}

// Clients of all protocols call at once.
func TestAtOnce(t *testing.T) {
	addr, cli := serve(t, tp.PeerConfig{}), newClient(t)
	var wg sync.WaitGroup
	for _, c := range clients {
		sess, r := cli.Dial(addr, c.proto)
		if r != nil {
			t.Fatal(r)
		}
		for i := range 4 {
			wg.Go(func() {
				for round := range 2 {
					if err := call(sess, c, c.pipes[i%len(c.pipes)], 300*i*round); err != nil {
						t.Errorf("%s: %v", c.name, err)
						return
					}
				}
			})
		}
	}
	browser := &http.Client{Transport: new(http.Transport), Timeout: patience}
	defer browser.CloseIdleConnections()
	for range 4 {
		wg.Go(func() {
			for _, test := range []struct {
				body, want string
				status     int
			}{{"[1,2,3]", "6", 200}, {"[-1]", `{"code":1001,"msg":"no negative numbers","cause":"-1"}`, 299}, {"[40,2]", "42", 200}} {
				resp, err := browser.Post("http://"+addr+"/math/add", "application/json", strings.NewReader(test.body))
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != test.want || resp.StatusCode != test.status {
					t.Errorf("%s: got %s %q, %v; want %q", test.body, resp.Status, body, err, test.want)
				}
			}
		})
	}
	wg.Wait()
}

// lines is a log.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func logged(t *testing.T) (lines, *slog.Logger) {
	level := tp.GetLoggerLevel()
	t.Cleanup(func() { tp.SetLoggerLevel2(level) })
	tp.SetLoggerLevel("DEBUG")
	l := make(lines, 1000)
	return l, slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// with waits for a line that has all the texts.
func (l lines) with(t *testing.T, texts ...string) {
	t.Helper()
	var seen []string
	over := time.After(patience)
	for {
		select {
		case line := <-l:
			seen = append(seen, line)
			missing := 0
			for _, text := range texts {
				if !strings.Contains(line, text) {
					missing++
				}
			}
			if missing == 0 {
				return
			}
		case <-over:
			t.Fatalf("no line with %q in the log:\n%s", texts, strings.Join(seen, ""))
		}
	}
}

// ends wants the connection to be closed by the other side within d, without a message.
func ends(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(d))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %d bytes, %v; want the end", n, err)
	}
}

func TestGarbage(t *testing.T) {
	log, logger := logged(t)
	addr := serve(t, tp.PeerConfig{Logger: logger})
	for name, sent := range map[string]string{
		"text":              "hello, is anybody there?\r\n",
		"tls":               "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"ssh":               "SSH-2.0-OpenSSH_9.6\r\n",
		"zeros":             strings.Repeat("\x00", 64),
		"thrift":            "\x00\x00\x00\x65\x0f\xff\x00\x00\x00\x00\x00\x01",
		"a size, and noise": "\x00\x00\x00\x20\x00\xfe\xdc\xba\x98",
		"broken gzip":       "\x00\x00\x00\x0a\x01g\x1f\x8b\x08\x00\x00\x00\x00\x00",
		"wrong md5":         "\x00\x00\x00\x17\x01m{" + strings.Repeat("\x00", 20),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, sent); err != nil {
				t.Fatal(err)
			}
			ends(t, c, patience)
			words := []string{"WARN", c.LocalAddr().String(), "none of the protocols raw, json, protobuf, http begins with", "unsupported protocol"}
			if name == "tls" {
				words = []string{"WARN", c.LocalAddr().String(), "TLS handshake"}
			}
			log.with(t, words...)
		})
	}
}

// A client that begins a message and stops is closed after the time of a handshake.
func TestTooSlow(t *testing.T) {
	const handshake = 10 * time.Second
	cfg := func(t *testing.T, n *tptest.Network) tp.PeerConfig {
		return tp.PeerConfig{Network: n.Register(t), HandshakeTimeout: handshake}
	}
	for name, sent := range map[string]string{
		"one byte": "\x00", "a letter": "P", "half of a piped frame": "\x00\x00\x00\x2d\x01g\x1f\x8b\x08",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, start := tptest.NewNetwork(), time.Now()
				log, logger := logged(t)
				cfg := cfg(t, n)
				cfg.Logger = logger
				c, err := n.Dial(t.Context(), serve(t, cfg))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := io.WriteString(c, sent); err != nil {
					t.Fatal(err)
				}
				ends(t, c, 2*handshake)
				if took := time.Since(start); took < handshake || took > handshake+time.Second {
					t.Errorf("the connection was closed after %v, want %v", took, handshake)
				}
				log.with(t, "timeout", c.LocalAddr().String())
			})
		})
	}
	for _, c := range clients {
		t.Run(c.name+" is recognised and may be slow", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := cfg(t, tptest.NewNetwork())
				addr := serve(t, cfg)
				cli := tp.NewPeer(tp.PeerConfig{Network: cfg.Network, Logger: slog.New(slog.DiscardHandler)})
				defer cli.Close()
				sess := tptest.Dial(t, cli, addr, c.proto)
				for range 2 {
					if err := call(sess, c, c.pipes[0], 10); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * handshake)
				}
				if !sess.Health() {
					t.Errorf("the session ended: %v", sess.CloseReason())
				}
			})
		})
	}
}

type greeter struct{}

func (greeter) Name() string { return "greeter" }

func (greeter) PostAccept(s tp.PreSession) *tp.Rerror { return s.RawPush("/note/say", "welcome") }

// Until it has received something the port speaks the first protocol.
func TestSpeaksFirst(t *testing.T) {
	for _, c := range []struct {
		name  string
		proto tp.ProtoFunc
	}{
		{"raw", rawproto.NewRawProtoFunc()}, {"json", jsonproto.NewJSONProtoFunc()}, {"protobuf", pbproto.NewPbProtoFunc()},
	} {
		t.Run(c.name, func(t *testing.T) {
			order := []string{c.name}
			for _, name := range protocols {
				if name != c.name {
					order = append(order, name)
				}
			}
			addr := serve(t, tp.PeerConfig{Protocols: order}, greeter{})
			cli := newClient(t)
			received := make(chan string, 1)
			tp.HandlePush(cli, "/note/say", func(_ tp.PushCtx, text *string) error {
				received <- *text
				return nil
			})
			sess := tptest.Dial(t, cli, addr, c.proto)
			select {
			case text := <-received:
				if text != "welcome" {
					t.Errorf("got %q", text)
				}
			case <-time.After(patience):
				t.Fatal("no push")
			}
			if err := call(sess, client{pipes: allPipes}, "", 10); err != nil {
				t.Error(err)
			}
		})
	}
}
