package tp

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
)

// This file tests how many lines the framework logs about events that repeat for long.

// levelLines counts the lines of a peer by level and text.
type levelLines struct{ lockedBuffer }

func (l *levelLines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *levelLines) count(words ...string) (n int) {
	for line := range strings.Lines(l.String()) {
		if containsAll(line, words...) {
			n++
		}
	}
	return n
}

func (l *levelLines) want(t *testing.T, n int, words ...string) {
	t.Helper()
	if got := l.count(words...); got != n {
		t.Errorf("%d lines with %q; want %d:\n%s", got, words, n, l.String())
	}
}

func TestLinesOfALongRedial(t *testing.T) {
	var lines levelLines
	inWorld(t, func(cfg *PeerConfig) { cfg.RedialTimes, cfg.Logger = -1, lines.logger() }, func(t *testing.T, w *world) {
		c, _ := w.pair()
		w.net.Refuse(w.addr, 225)
		mem(c).Cut()
		pass(150 * time.Minute)
		wantReady(t, c)
		lines.want(t, 0, "level=ERROR")
		lines.want(t, 3, "level=WARN")
		for _, attempt := range []string{"attempt 1:", "attempt 10:", "attempt 100:"} {
			lines.want(t, 1, "level=WARN", "redial fail", attempt)
		}
		lines.want(t, 222, "level=DEBUG", "redial fail")
		lines.want(t, 1, "level=INFO", "redial ok", "attempt 226, after 1h")
	})
}

func TestLinesOfManyRedials(t *testing.T) {
	const sessions = 200
	var lines levelLines
	inWorld(t, func(cfg *PeerConfig) { cfg.RedialTimes = 6 }, func(t *testing.T, w *world) {
		cli := w.peer(func(cfg *PeerConfig) { cfg.RedialTimes, cfg.Logger = 6, lines.logger() })
		for range sessions {
			if _, r := cli.Dial(w.addr); r != nil {
				t.Fatal(r)
			}
		}
		w.net.Refuse(w.addr, sessions*6)
		w.net.CutAll()
		pass(time.Minute)
		if n := cli.CountSession(); n != 0 {
			t.Fatalf("%d sessions are left; want none after 6 attempts", n)
		}
		if n := lines.count("level=WARN"); n == 0 || n > 20 {
			t.Errorf("%d lines at WARN for %d sessions; want 1 to 20", n, sessions)
		}
		if n := lines.count("level=ERROR", "redialling given up", "attempt 6:"); n == 0 || n > 60 || n != lines.count("level=ERROR") {
			t.Errorf("%d lines at ERROR say that redialling was given up, of %d; want 1 to 60", n, lines.count("level=ERROR"))
		}
		if lines.count("more since the last such line") == 0 {
			t.Error("no line says how many were held back")
		}
	})
}

func TestIsPowerOfTen(t *testing.T) {
	var got []int32
	for n := int32(0); n < 20_000; n++ {
		if isPowerOfTen(n) {
			got = append(got, n)
		}
	}
	if want := "[1 10 100 1000 10000]"; fmt.Sprint(got) != want {
		t.Errorf("powers of ten are %v; want %s", got, want)
	}
}

// A load balancer that checks whether the port is open causes no warning; a client that
// begins a handshake and fails does.
func TestLinesOfTLSHandshakes(t *testing.T) {
	config := GenerateTLSConfigForServer() // outside the bubble, whose clock is another
	hello := clientHello(t)
	for _, test := range []struct {
		name, says string
		then       func(*memnet.Conn)
		level      string
	}{
		{"connects and hangs up", "", func(c *memnet.Conn) { c.Close() }, "DEBUG"},
		{"connects and is reset", "", (*memnet.Conn).Cut, "DEBUG"},
		{"begins and hangs up", hello, func(c *memnet.Conn) { c.Close() }, "WARN"},
		{"half a record", hello[:20], func(c *memnet.Conn) { c.Close() }, "WARN"},
		{"speaks without TLS", "GET / HTTP/1.1\r\n\r\n", func(c *memnet.Conn) { c.Close() }, "WARN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines levelLines
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.peer(func(cfg *PeerConfig) { cfg.Logger = lines.logger() })
				if err := p.SetTLSConfig(config); err != nil {
					t.Fatal(err)
				}
				conn, err := w.net.Dial(t.Context(), w.listen(p))
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(conn, test.says)
				synctest.Wait()
				test.then(conn.(*memnet.Conn))
				synctest.Wait()
				lines.want(t, 1, "level="+test.level, "handshake", conn.LocalAddr().String())
				if test.level == "DEBUG" {
					lines.want(t, 0, "level=WARN")
				}
			})
		})
	}
}

// The same without TLS: a probe leaves lines at DEBUG only, also if a hook waits for what
// is said first; a connection is INFO once it has sent a message.
func TestLinesOfProbes(t *testing.T) {
	hangUp := func(w *world, c *memnet.Conn) { c.Close() }
	reset := func(w *world, c *memnet.Conn) { c.Cut() }
	speak := func(mtype byte) func(*world, *memnet.Conn) {
		return func(w *world, c *memnet.Conn) {
			end := newRawEnd(w.t, c)
			end.send(mtype, 1, "/echo", "x")
			synctest.Wait()
			end.send(TypeCall, 2, "/echo", "x")
		}
	}
	checks := &PluginImpl{PluginName: "checks", OnPostAccept: func(s PreSession) *Rerror {
		m, r := s.Receive(func(Header) any { return nil })
		if r == nil && m.Mtype() != TypeAuthCall {
			r = NewRerror(CodeUnauthorized, "", "")
		}
		return r
	}}
	for _, test := range []struct {
		name    string
		plugins []Plugin
		then    func(*world, *memnet.Conn)
		level   string // of the highest line
	}{
		{"connects and hangs up", nil, hangUp, "DEBUG"},
		{"connects and is reset", nil, reset, "DEBUG"},
		{"says something", nil, speak(TypeCall), "INFO"},
		{"is expected to authenticate, and hangs up", []Plugin{checks}, hangUp, "DEBUG"},
		{"is expected to authenticate, and is reset", []Plugin{checks}, reset, "DEBUG"},
		{"authenticates", []Plugin{checks}, speak(TypeAuthCall), "INFO"},
		{"says something else", []Plugin{checks}, speak(TypeCall), "WARN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines levelLines
			inWorld(t, nil, func(t *testing.T, w *world) {
				p := w.peer(func(cfg *PeerConfig) { cfg.Logger = lines.logger() }, test.plugins...)
				conn, err := w.net.Dial(t.Context(), w.listen(p))
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				before := lines.count("level=INFO")
				test.then(w, conn.(*memnet.Conn))
				pass(10 * time.Second) // a refused connection lingers
				accepted := 0
				if test.level == "INFO" {
					accepted = 1
				}
				lines.want(t, accepted, "level=INFO", "accept ok", conn.LocalAddr().String())
				lines.want(t, accepted, "accept ok")
				if got := lines.count("level=INFO") - before; got != accepted {
					t.Errorf("%d lines at INFO; want %d:\n%s", got, accepted, lines.String())
				}
				if warns := lines.count("level=WARN") + lines.count("level=ERROR"); (warns > 0) != (test.level == "WARN") {
					t.Errorf("%d lines above INFO:\n%s", warns, lines.String())
				}
				if test.level == "DEBUG" && lines.count("level=DEBUG", conn.LocalAddr().String()) == 0 {
					t.Errorf("no line at DEBUG:\n%s", lines.String())
				}
			})
		})
	}
}

// clientHello is the beginning of a TLS client's first message.
func clientHello(t *testing.T) string {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake()
		client.Close()
	}()
	hello := make([]byte, 4096)
	n, err := server.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	return string(hello[:n])
}
