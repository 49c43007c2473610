//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// serverAttacks are hostile servers, to which the victim dials.
func serverAttacks() (list []attack) {
	const timeout = 5 * time.Second
	for _, p := range []protocol{rawProto, jsonProto, pbProto, thriftProto, httpProto} {
		list = append(list,
			server(p, "never an answer", "nothing", 10, 2*time.Second, func() [][]byte { return nil }),
			server(p, "half a reply", "60 MiB of a reply, its last byte missing, on 10 connections", 1, timeout, func() [][]byte {
				f := reply(p, 1, filler(bomb), "")
				return [][]byte{f[:len(f)-1]}
			}),
			server(p, "a reply over the limit", "a reply of 100 MiB", 1, timeout, func() [][]byte {
				return [][]byte{reply(p, 1, filler(100<<20), "")}
			}),
			server(p, "packed replies", "5 replies of 60 KB, 60 MiB each once unpacked", 5, timeout, func() (list [][]byte) {
				for i := range 5 {
					list = append(list, reply(p, i+1, filler(bomb), "g"))
				}
				return list
			}),
			server(p, "a reply over the limit once unpacked", "70 KB, of which filters make 70 MiB", 1, timeout, func() [][]byte {
				return [][]byte{reply(p, 1, filler(70<<20), "g")}
			}),
			server(p, "noise for a reply", "bytes that are none of the protocol", 1, timeout, func() [][]byte {
				return [][]byte{bytes.Repeat([]byte{0xff}, 1000)}
			}),
		)
	}
	for _, p := range []protocol{rawProto, jsonProto, pbProto, thriftProto} {
		list = append(list,
			server(p, "replies to other calls", "100,000 replies with numbers that no call has", 10, timeout, func() [][]byte {
				return repeat(bytes.Repeat(reply(p, 1000, p.echo, ""), 1000), 100)
			}),
			server(p, "a reply of another type", "a reply of type AUTH_REPLY", 1, timeout, func() [][]byte {
				return [][]byte{p.message(tp.TypeAuthReply, 1, "", p.codec, p.echo)}
			}),
			server(p, "calls and pushes for an answer", "20,000 calls and pushes to routes that are not there", 10, timeout, func() [][]byte {
				both := append(p.call(1, "/none", p.codec, p.echo), p.message(tp.TypePush, 1, "/none", p.codec, p.echo)...)
				return repeat(bytes.Repeat(both, 100), 100)
			}),
		)
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	return append(list,
		server(httpProto, "chunks without end", "a reply in chunks that do not end", 1, timeout, endless(head+"Transfer-Encoding: chunked\r\n\r\n", "10000\r\n"+string(filler(64<<10))+"\r\n")),
		server(httpProto, "a reply without length", "a reply that ends with the connection, which does not end", 1, timeout, endless(head+"\r\n", string(filler(64<<10)))),
		server(httpProto, "headers without end", "header lines without end", 1, timeout, endless(head, "X-A: "+string(filler(1000))+"\r\n")),
		server(httpProto, "answers 100 without end", "100 Continue without end", 1, timeout, endless("", "HTTP/1.1 100 Continue\r\n\r\n")),
	)
}

// reply returns the frame of a REPLY. HTTP's is written by hand, since its writer
// answers only what it has read.
func reply(p protocol, seq int, body []byte, pipe string) []byte {
	if p.name != httpProto.name {
		return p.message(tp.TypeReply, seq, "", p.codec, body, piped(pipe))
	}
	encoding := ""
	if pipe != "" {
		f := p.call(seq, "/", p.codec, body, piped(pipe))
		_, body, _ = bytes.Cut(f, []byte("\r\n\r\n"))
		encoding = "Content-Encoding: gzip\r\n"
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Seq: %d\r\n%sContent-Length: %d\r\n\r\n", seq, encoding, len(body))
	return append([]byte(head), body...)
}

// endless makes what a server sends out of a beginning and a part that it repeats,
// 600 MiB of it.
func endless(head, part string) func() [][]byte {
	return func() [][]byte {
		return append([][]byte{[]byte(head)}, repeat([]byte(part), 600<<20/len(part))...)
	}
}

// server lets the victim dial a hostile server from 10 connections and make calls. The
// server sends the same to each connection, once a call has arrived. Every call has to
// end within its time.
func server(p protocol, what, sends string, calls int, timeout time.Duration, script func() [][]byte) attack {
	const dials = 10
	return attack{
		what: "hostile server: " + what, proto: p, sends: sends, busy: true,
		play: func(a *arena) error {
			parts := script()
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			var wg sync.WaitGroup
			defer wg.Wait()
			defer lis.Close()
			wg.Go(func() {
				for {
					conn, err := lis.Accept()
					if err != nil {
						return
					}
					a.keep(conn)
					wg.Go(func() {
						defer conn.Close()
						conn.Read(make([]byte, 1)) // the first call
						discard(conn)
						a.send(conn, patience, parts...)
						<-a.over
					})
				}
			})
			defer close(a.over)
			a.begin()
			var o outcome
			if err := a.victim.ask(&o, "dial %s %s %d %d %v", p.name, lis.Addr(), dials, calls, timeout); err != nil {
				return err
			}
			return a.judge(o, dials*calls, timeout)
		},
	}
}

// judge notes how the victim's calls have ended.
func (a *arena) judge(o outcome, calls int, timeout time.Duration) error {
	if o.Dial != "" {
		return fmt.Errorf("the victim could not dial: %s", o.Dial)
	}
	text, times := most(o.Errors)
	if times > 0 {
		a.note("%d of %d calls: %s, after %v", times, calls, text, round2(o.Longest))
	} else {
		a.note("%d calls served, after %v", o.OK, round2(o.Longest))
	}
	if late := timeout + time.Second; o.Longest > late {
		return fmt.Errorf("a call ended after %v; its deadline was %v", round2(o.Longest), timeout)
	}
	return nil
}
