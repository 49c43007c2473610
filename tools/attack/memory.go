//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

const (
	// patience is how long an attacker goes on while the victim takes nothing.
	patience = 10 * time.Second
	// bomb is a body that stays below the limit of a message, 64 MiB.
	bomb = 60 << 20
)

// memoryAttacks want bytes that the sender has not sent, or that nobody frees.
func memoryAttacks() (list []attack) {
	list = append(list,
		held(rawProto, "g", 32<<20, 22, 22), held(rawProto, "z", 32<<20, 22, 200),
		held(jsonProto, "g", 32<<20, 22, 22), held(pbProto, "z", 32<<20, 22, 200), held(thriftProto, "g", 32<<20, 22, 22),
		held(httpProto, "g", 32<<20, 22, 22),
		held(rawProto, "gg", bomb, 30, 200), held(pbProto, "gg", bomb, 10, 200), held(thriftProto, "zz", bomb, 10, 200),
	)
	for _, p := range []protocol{anyProto, rawProto, pbProto, httpProto} {
		list = append(list, firstFrames(p))
	}
	for _, p := range []protocol{rawProto, jsonProto, pbProto, thriftProto, structProto, httpProto, anyProto} {
		list = append(list, halves(p))
	}
	list = append(list, attack{
		what: "chunks without end", proto: httpProto,
		sends: "{10|40} connections × 60 MiB in chunks, the last one missing",
		play: func(a *arena) error {
			head := []byte("POST /echo HTTP/1.1\r\nHost: v\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
			chunk := append([]byte("10000\r\n"), append(filler(64<<10), "\r\n"...)...)
			a.begin()
			return a.each(a.scale(10, 40), func(_ int, conn *net.TCPConn) error {
				a.send(conn, 2*time.Second, append([][]byte{head}, repeat(chunk, bomb>>16)...)...)
				return nil
			})
		},
	})
	for _, p := range []protocol{rawProto, jsonProto, pbProto, thriftProto, httpProto} {
		list = append(list, unread(p, 1))
	}
	list = append(list, unread(rawProto, 20), packedReplies(rawProto), ordered(rawProto), ordered(pbProto))
	return list
}

func repeat(b []byte, n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = b
	}
	return list
}

// held sends small frames that filters make large, to handlers that keep them.
func held(p protocol, pipe string, size, short, long int) attack {
	return attack{
		what: "packed bodies (" + pipe + "), held", proto: p, busy: true,
		sends: fmt.Sprintf("{%d|%d} small frames, %s each once unpacked; handlers that take 3 s", short, long, mib(int64(size))),
		play: func(a *arena) error {
			conn, err := a.dial()
			if err != nil {
				return err
			}
			discard(conn)
			n := a.scale(short, long)
			f := p.call(1, "/slow", p.codec, filler(size), piped(pipe))
			a.begin()
			a.send(conn, patience, repeat(f, n)...)
			_, _, err = a.await(hold, func(l levels) bool { return l.Held >= n })
			return err
		},
	}
}

// firstFrames sends small frames that filters make large, each on a connection of its own.
func firstFrames(p protocol) attack {
	return attack{
		what: "compressed first frames", proto: p, busy: true,
		sends: "30 connections × a frame of 0.3 KB (http: 60 KB) whose filters make 60 MiB of it",
		play: func(a *arena) error {
			pipe := "gg"
			if p.name == httpProto.name {
				pipe = "g" // which is all that HTTP has
			}
			f := p.call(1, "/echo", p.codec, filler(bomb), piped(pipe))
			a.begin()
			return a.each(30, func(_ int, conn *net.TCPConn) error {
				a.send(conn, patience, f)
				if text := answer(p, conn, time.Minute); text == noAnswer {
					return errors.New(text)
				}
				return nil
			})
		},
	}
}

// halves sends large frames without their end.
func halves(p protocol) attack {
	return attack{
		what: "half-arrived frames", proto: p,
		sends: "{10|100} connections × 60 MiB of a frame, its last byte missing",
		play: func(a *arena) error {
			f := p.call(1, "/echo", p.codec, filler(bomb))
			a.begin()
			return a.each(a.scale(10, 100), func(_ int, conn *net.TCPConn) error {
				a.send(conn, 2*time.Second, f[:len(f)-1])
				return nil
			})
		},
	}
}

// unread asks for large replies, and reads none.
func unread(p protocol, sessions int) attack {
	what := "replies that nobody reads"
	if sessions > 1 {
		what += ", " + strconv.Itoa(sessions) + " sessions"
	}
	return attack{
		what: what, proto: p, busy: sessions > 1,
		sends: fmt.Sprintf("%d × 2,500 calls that ask for 1 MiB each", sessions),
		play: func(a *arena) error {
			var calls []byte
			for i := range 2500 {
				calls = append(calls, p.call(i+1, "/mega", p.codec, p.echo)...)
			}
			a.begin()
			err := a.each(sessions, func(_ int, conn *net.TCPConn) error {
				a.send(conn, 2*time.Second, calls)
				return nil
			})
			time.Sleep(hold) // what the attack is: a client that does nothing
			return err
		},
	}
}

// packedReplies asks for replies that go through a filter, which takes time, at once.
func packedReplies(p protocol) attack {
	return attack{
		what: "packed replies", proto: p, busy: true,
		sends: "4 × {250|1,000} calls that ask for 1 MiB each through gzip",
		play: func(a *arena) error {
			n := a.scale(250, 1000)
			var calls []byte
			for i := range n {
				calls = append(calls, p.call(i+1, "/mega", p.codec, p.echo, piped("g"))...)
			}
			a.begin()
			return a.each(4, func(_ int, conn *net.TCPConn) error {
				go a.send(conn, patience, calls)
				_, _, err := count(p, conn, n)
				return err
			})
		},
	}
}

// ordered sends pushes to a handler that stands still.
func ordered(p protocol) attack {
	const size = 32 << 10
	return attack{
		what: "pushes to an ordered handler that stands still", proto: p,
		sends: "15,000 pushes of 32 KiB; the handler takes 3 s for the first",
		play: func(a *arena) error {
			conn, err := a.dial()
			if err != nil {
				return err
			}
			const n = 15000
			f := p.message(3, 1, "/push/slow", p.codec, filler(size))
			began := time.Now()
			if taken := a.send(conn, patience, repeat(f, n)...); taken < n*len(f) {
				return fmt.Errorf("the sender was cut off after %d of %d pushes", taken/len(f), n)
			}
			took := time.Since(began)
			l, ok, err := a.await(15*time.Second, func(l levels) bool { return l.Pushes == n })
			if err == nil && !ok {
				err = fmt.Errorf("%d of %d pushes were handled", l.Pushes, n)
			}
			a.note("%d of %d handled; the sender wrote for %v", l.Pushes, n, round2(took))
			return err
		},
	}
}
