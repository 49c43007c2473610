//go:build linux

package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// floodAttacks are much of what each peer may do a little of.
func floodAttacks() (list []attack) {
	for _, p := range []protocol{rawProto, jsonProto, pbProto, thriftProto, structProto, httpProto, anyProto} {
		list = append(list, slowloris(p))
	}
	for _, p := range []protocol{rawProto, httpProto, anyProto} {
		list = append(list, silent(p), comeAndGo(p), resets(p), killed(p))
	}
	for _, p := range []protocol{rawProto, pbProto, httpProto} {
		list = append(list, crowd(p, 1, 20_000), names(p))
	}
	return append(list, crowd(rawProto, 20, 8_000), tinyFrames(rawProto), tinyFrames(jsonProto), badMessages(jsonProto), badMessages(pbProto))
}

// slowloris sends frames a byte a second, each on a connection of its own.
func slowloris(p protocol) attack {
	const timeout = 2 * time.Second
	return attack{
		what: "a byte a second", proto: p, flags: []string{"-frame-timeout=" + timeout.String()},
		sends: "{100|500} connections × a call, a byte a second; FrameTimeout 2 s",
		play: func(a *arena) error {
			f := p.call(1, "/echo", p.codec, bytes.Repeat(p.echo, 100))
			began := time.Now()
			err := a.each(a.scale(100, 500), func(_ int, conn *net.TCPConn) error {
				for _, c := range f[:len(f)-1] {
					conn.Write([]byte{c})
					if _, ended := awaitEnd(conn, time.Second); ended {
						return nil
					}
					if time.Since(began) > 5*timeout {
						return fmt.Errorf("a connection was still open after %v", 5*timeout)
					}
				}
				return nil
			})
			a.note("all ended after %v", round2(time.Since(began)))
			return err
		},
	}
}

// silent connects and says nothing.
func silent(p protocol) attack {
	const timeout = 2 * time.Second
	return attack{
		what: "connections that say nothing", proto: p, flags: []string{"-idle-timeout=" + timeout.String()},
		sends: "{200|2,000} connections, no byte; IdleTimeout 2 s",
		play: func(a *arena) error {
			began := time.Now()
			err := a.each(a.scale(200, 2000), func(_ int, conn *net.TCPConn) error {
				if _, ended := awaitEnd(conn, 5*timeout); !ended {
					return fmt.Errorf("a connection was still open after %v", 5*timeout)
				}
				return nil
			})
			a.note("all ended after %v", round2(time.Since(began)))
			return err
		},
	}
}

const (
	// workers is how many attackers connect at once.
	workers = 16
	// connects is how many connections all of them make in a second.
	connects = 2000
)

// repeatedly runs f n times, on some goroutines at once.
func (a *arena) repeatedly(n int, f func() error) error {
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() {
			for range n / workers {
				a.pace(rate / connects)
				if err := f(); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func comeAndGo(p protocol) attack {
	return attack{
		what: "connect and go", proto: p,
		sends: "{3,200|16,000} connections, 2,000 a second, each closed at once",
		play: func(a *arena) error {
			return a.repeatedly(a.scale(3200, 16000), func() error {
				conn, err := net.Dial("tcp", a.addrs[p.name])
				if err == nil {
					conn.Close()
				}
				return err
			})
		},
	}
}

// resets sends half a frame or a whole one, and resets the connection.
func resets(p protocol) attack {
	return attack{
		what: "connections that are reset", proto: p,
		sends: "{3,200|16,000} connections, 2,000 a second, each with a part of two calls, then RST",
		play: func(a *arena) error {
			f := bytes.Repeat(p.call(1, "/echo", p.codec, p.echo), 2)
			return a.repeatedly(a.scale(3200, 16000), func() error {
				conn, err := net.Dial("tcp", a.addrs[p.name])
				if err != nil {
					return err
				}
				conn.Write(f[:rand.IntN(len(f))])
				conn.(*net.TCPConn).SetLinger(0)
				return conn.Close()
			})
		},
	}
}

// killed ends many sessions at once, with the process that has them.
func killed(p protocol) attack {
	return attack{
		what: "sessions that end at once", proto: p, busy: true, stall: 2.5,
		sends: "{3,000|9,000} sessions of a process that is killed",
		play: func(a *arena) error {
			n := a.scale(3000, 9000)
			c, err := start(a.program, "crowd", "-proto", p.name, "-addr", a.addrs[p.name], "-n", strconv.Itoa(n))
			if err != nil {
				return err
			}
			defer c.end()
			var ready string
			if err := c.receive(&ready); err != nil {
				return err
			}
			a.begin()
			if err := c.cmd.Process.Kill(); err != nil {
				return err
			}
			l, ok, err := a.await(patience, func(l levels) bool { return l.Sessions < n/10 })
			if err == nil && !ok {
				err = fmt.Errorf("%d sessions are left after %v", l.Sessions, patience)
			}
			a.note("all ended after %v", round2(time.Since(a.began)))
			return err
		},
	}
}

// runCrowd makes sessions that have called once each, and keeps them until the end of its
// input.
func runCrowd(args []string) error {
	fs := flag.NewFlagSet("crowd", flag.ExitOnError)
	proto := fs.String("proto", "raw", "protocol")
	addr := fs.String("addr", "", "address")
	n := fs.Int("n", 0, "sessions")
	if err := fs.Parse(args); err != nil {
		return err
	}
	p, err := lookup(*proto)
	if err != nil {
		return err
	}
	f := p.call(1, "/echo", p.codec, p.echo)
	for range *n {
		conn, err := net.Dial("tcp", *addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.Write(f); err != nil {
			return err
		}
		if err := answered(p, conn, 1); err != nil {
			return err
		}
	}
	// What its end takes of the processors must not be the victim's: clients are elsewhere.
	// Not before: beside busy programs so low a priority stands still.
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19); err != nil {
		return err
	}
	say("ready")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// crowd calls slow handlers, more of them than a session may run at once.
func crowd(p protocol, sessions, n int) attack {
	what, of := "more calls than handlers", "a session with"
	if sessions > 1 {
		what += fmt.Sprintf(", %d sessions", sessions)
		of = fmt.Sprintf("%d sessions with", sessions)
	}
	return attack{
		what: what, proto: p, busy: true,
		sends: fmt.Sprintf("%s %d,000 calls at once to handlers that take 3 s", of, n/1000),
		play: func(a *arena) error {
			var calls []byte
			for i := range n {
				calls = append(calls, p.call(i+1, "/slow", p.codec, p.echo)...)
			}
			var served, refused atomic.Int64
			a.begin()
			err := a.each(sessions, func(_ int, conn *net.TCPConn) error {
				go a.send(conn, patience, calls)
				s, r, err := count(p, conn, n)
				served.Add(int64(s))
				refused.Add(int64(r))
				return err
			})
			a.note("%d served, %d refused", served.Load(), refused.Load())
			return err
		},
	}
}

// names calls routes that are not there, each by another name and with other metadata.
func names(p protocol) attack {
	return attack{
		what: "routes that are not there", proto: p, busy: true,
		sends: "50,000 calls, each with another method and another key of metadata",
		play: func(a *arena) error {
			conn, err := a.dial()
			if err != nil {
				return err
			}
			var calls []byte
			const n = 50000
			for i := range n {
				name := strings.Repeat(strconv.Itoa(i), 20)
				calls = append(calls, p.call(i+1, "/"+name, p.codec, p.echo, tp.WithAddMeta("K"+name, name))...)
			}
			a.begin()
			go a.send(conn, patience, calls)
			served, refused, err := count(p, conn, n)
			a.note("%d served, %d refused", served, refused)
			return err
		},
	}
}

// tinyFrames sends frames that cost the sender next to nothing.
func tinyFrames(p protocol) attack {
	return attack{
		what: "pushes to no route", proto: p, busy: true,
		sends: "1,000,000 pushes",
		play: func(a *arena) error {
			f := bytes.Repeat(p.message(tp.TypePush, 1, "/n", 0, nil), 1000)
			good := p.call(1, "/echo", p.codec, p.echo)
			a.begin()
			return a.each(1, func(_ int, conn *net.TCPConn) error {
				a.send(conn, patience, append(repeat(f, 1000), good)...)
				return answered(p, conn, 1)
			})
		},
	}
}

// badMessages sends frames that are whole and empty.
func badMessages(p protocol) attack {
	return attack{
		what: "empty frames", proto: p, busy: true,
		sends: "5 MB of frames of length 0, or 1",
		play: func(a *arena) error {
			return a.each(2, func(i int, conn *net.TCPConn) error {
				discard(conn)
				if i == 0 {
					a.send(conn, patience, p.call(1, "/echo", p.codec, p.echo), make([]byte, 5<<20))
				} else {
					a.send(conn, patience, p.call(1, "/echo", p.codec, p.echo), bytes.Repeat([]byte{0, 0, 0, 1, 0}, 1<<20))
				}
				return nil
			})
		},
	}
}
