package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/proxy"
)

// This file tests a chain of three processes: a gateway and a service, which forward, and
// a backend, which works. The test is the client.

const (
	envRole = "PROXY_TEST_ROLE" // of a process: backend, or proxy
	envNext = "PROXY_TEST_NEXT" // the address that a proxy forwards to
)

// closeTime is how long the processes wait for replies when a connection has ended.
const closeTime = 300 * time.Millisecond

// runRole is the program of a process of the chain. It prints its address, and ends with
// its standard input. The backend prints when a call begins, with the milliseconds that it
// has, and when its context ends.
func runRole(role string) {
	t := new(testing.T)
	cfg := tp.PeerConfig{CloseTimeout: closeTime}
	var srv tp.Peer
	if role == "backend" {
		srv = tptest.NewPeer(t, cfg)
		tp.HandleCall(srv, "/work", func(ctx tp.CallCtx, _ *int) (int, error) {
			c := ctx.Context()
			left := time.Duration(0)
			if at, ok := c.Deadline(); ok {
				left = time.Until(at)
			}
			fmt.Println("begin", left.Milliseconds())
			<-c.Done()
			fmt.Println("end", context.Cause(c))
			return 0, nil
		})
	} else {
		next := tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{CloseTimeout: closeTime, RedialTimes: -1}), os.Getenv(envNext))
		srv = tptest.NewPeer(t, cfg, proxy.NewPlugin(func(*proxy.Label) proxy.Forwarder { return next }))
	}
	fmt.Println("listens", tptest.Listen(t, srv))
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// process is one of the chain.
type process struct {
	name  string
	addr  string
	lines chan string // that it prints
}

func startProcess(t *testing.T, name, role, next string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envRole+"="+role, envNext+"="+next, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, lines: make(chan string, 100)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-read
		cmd.Wait()
	})
	p.addr = p.said(t, "listens ")
	return p
}

// said returns the rest of the next line, which must begin so.
func (p *process) said(t *testing.T, begin string) string {
	t.Helper()
	select {
	case line := <-p.lines:
		rest, ok := strings.CutPrefix(line, begin)
		if !ok {
			t.Fatalf("the %s says %q; want %q", p.name, line, begin)
		}
		return rest
	case <-time.After(time.Minute):
		t.Fatalf("the %s has not said %q within a minute", p.name, begin)
	}
	panic("not reached")
}

// The work at the backend stops when the client's context ends and when its connection is
// cut, over two proxies in processes of their own; its deadline is never later than the
// client's.
func TestCancelOverThreeProcesses(t *testing.T) {
	backend := startProcess(t, "backend", "backend", "")
	service := startProcess(t, "service", "proxy", backend.addr)
	gateway := startProcess(t, "gateway", "proxy", service.addr)
	var conn net.Conn // of the newest session
	client := tptest.NewPeer(t, tp.PeerConfig{CloseTimeout: closeTime}, &tp.PluginImpl{PluginName: "conn", OnPostDial: func(s tp.PreSession) *tp.Rerror {
		s.ModifySocket(func(c net.Conn) (net.Conn, tp.ProtoFunc) { conn = c; return nil, nil })
		return nil
	}})
	for _, test := range []struct {
		name  string
		limit time.Duration // of the call; 0: none
		end   func(t *testing.T, sess tp.Session, cancel func())
		cause string // "": either
	}{
		{"the context is cancelled", time.Hour, func(_ *testing.T, _ tp.Session, cancel func()) { cancel() }, tp.ErrCallerGone.Error()},
		{"the context is cancelled, without a deadline", 0, func(_ *testing.T, _ tp.Session, cancel func()) { cancel() }, tp.ErrCallerGone.Error()},
		{"the deadline", 3 * time.Second, func(*testing.T, tp.Session, func()) {}, ""},
		{"the connection is reset", time.Hour, func(t *testing.T, sess tp.Session, _ func()) {
			if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
			sess.(tp.Breaker).Break(errors.New("cut"))
		}, tp.ErrCallerGone.Error()},
		{"the connection ends, as that of a process that was killed", time.Hour, func(t *testing.T, sess tp.Session, _ func()) {
			sess.(tp.Breaker).Break(errors.New("cut"))
		}, tp.ErrCallerGone.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			sess := tptest.Dial(t, client, gateway.addr)
			warm, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			sess.Call("/nowhere", 1, nil, tp.WithContext(warm)) // all of them have said hello
			ctx, cancel := context.WithCancel(t.Context())
			if test.limit > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), test.limit)
			}
			defer cancel()
			cmd := sess.AsyncCall("/work", 1, nil, nil, tp.WithContext(ctx))
			left, err := strconv.Atoi(backend.said(t, "begin "))
			if limit := int(test.limit.Milliseconds()); err != nil || left > limit || left == 0 && limit > 0 {
				t.Errorf("the backend has %d ms; want more than 0, at most %d", left, limit)
			}
			begun := time.Now()
			test.end(t, sess, cancel)
			if cause := backend.said(t, "end "); test.cause != "" && cause != test.cause {
				t.Errorf("the backend's context has ended with %q; want %q", cause, test.cause)
			}
			t.Logf("the backend has stopped after %v", time.Since(begun))
			<-cmd.Done()
		})
	}
}
