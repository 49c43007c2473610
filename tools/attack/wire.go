//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"

	tp "github.com/teleport-go/teleport/core"
)

// probe is what one connection sends, and what has to happen then.
type probe struct {
	name string
	send []byte
	want verdict
}

type verdict int

const (
	ends  verdict = iota // the victim ends the connection
	lives                // a good call that follows is answered
	waits                // more is to come: the victim may wait for it, and ends with the connection
)

// wireAttacks are bytes that no peer of the protocol would write.
func wireAttacks() (list []attack) {
	for _, p := range protocols {
		if p.name != httpProto.name {
			list = append(list, probes(p, "frames that are none", "lengths from 0 to 2^32-1, cut frames, noise, TLS, SSH, Redis, HTTP", func() []probe { return foreign(p) }))
		}
	}
	for _, p := range []protocol{rawProto, jsonProto, pbProto, thriftProto} {
		at := probes(p, "frames with odd contents", "4,000 metadata, long and no methods, unknown types, codecs, numbers, damaged filters, replies and pushes to nothing",
			func() []probe { return odd(p) })
		at.busy = true // with 20,000 messages, and 64 MiB to unpack
		list = append(list, at)
	}
	return append(list,
		probes(httpProto, "requests that are none", "cut requests, other versions, TLS, SSH, raw frames", httpForeign),
		probes(httpProto, "ambiguous requests", "two lengths, a length beside chunks, odd chunks, folded and bare lines", smuggling),
		probes(httpProto, "floods in a request", "1,100 headers, lines, headers, trailers of 1 MiB, 900 requests at once", httpFloods),
	)
}

// foreign are bytes of other protocols, and lengths that cannot be.
func foreign(p protocol) []probe {
	length := func(n uint32, more string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, n), more...)
	}
	good := p.call(1, "/echo", p.codec, p.echo)
	random := rand.NewChaCha8([32]byte{})
	noise := make([]byte, 64<<10)
	random.Read(noise)
	noise[0] |= 0x80 // no length of a frame
	list := []probe{
		{"nothing", nil, waits},
		{"half a frame", good[:len(good)/2], waits},
		{"two bytes", good[:2], waits},
		{"length 2^32-1", length(1<<32-1, strings.Repeat("r", 64)), ends},
		{"length 2^31-1", length(1<<31-1, strings.Repeat("r", 64)), ends},
		{"length 1 GiB", length(1<<30, strings.Repeat("r", 64)), ends},
		{"length 0", length(0, ""), waits},
		{"length 3", length(3, "\x00\x00\x00"), waits},
		{"noise", noise, ends},
		{"TLS ClientHello", clientHello, ends},
		{"SSH", []byte("SSH-2.0-OpenSSH_9.9\r\n"), ends},
		{"Redis", []byte("*1\r\n$4\r\nPING\r\n"), ends},
		{"HTTP/2", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"), ends},
	}
	if p.name != anyProto.name {
		list = append(list, probe{"HTTP", []byte("GET / HTTP/1.1\r\nHost: v\r\n\r\n"), ends})
	}
	return list
}

// clientHello is the beginning of a TLS connection, which a plain port does not serve.
var clientHello = append([]byte("\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03"), bytes.Repeat([]byte("t"), 242)...)

// odd are frames whose lengths are right and whose contents are not.
func odd(p protocol) []probe {
	many := make([]tp.MessageSetting, 0, 4000)
	for i := range 4000 {
		many = append(many, tp.WithAddMeta(fmt.Sprintf("k%d", i), "v"))
	}
	damaged := p.call(3, "/echo", p.codec, p.echo, piped("m"))
	damaged[len(damaged)-1] ^= 1
	list := []probe{
		{"many metadata", p.call(1, "/echo", p.codec, p.echo, many...), lives},
		{"a long method", p.call(1, "/"+strings.Repeat("m", 250), p.codec, p.echo), lives},
		{"an unknown codec", p.call(1, "/echo", 200, p.echo), lives},
		{"an AUTH_CALL", p.message(tp.TypeAuthCall, 1, "", p.codec, p.echo), lives},
		{"a call without method", p.call(1, "", p.codec, p.echo), lives},
		{"sequence number -1", p.call(-1, "/echo", p.codec, p.echo), lives},
		{"a timeout of 2^63", p.call(1, "/echo", p.codec, p.echo, tp.WithAddMeta("X-Timeout", "9223372036854775808")), lives},
		{"a reply's error as metadata", p.call(1, "/echo", p.codec, p.echo, tp.WithAddMeta("X-Reply-Error", "{{")), lives},
		{"8 filters", p.call(1, "/echo", p.codec, p.echo, piped("mmmmmmmm")), lives},
		{"9 filters", p.call(1, "/echo", p.codec, p.echo, piped("mmmmmmmmm")), waits},
		{"a damaged checksum", damaged, waits},
		{"replies to no call", bytes.Repeat(p.message(tp.TypeReply, 1, "", p.codec, p.echo), 10000), lives},
		{"pushes to no route", bytes.Repeat(p.message(tp.TypePush, 1, "/none", p.codec, p.echo), 10000), lives},
		{"one number for 1000 calls", bytes.Repeat(p.call(7, "/echo", p.codec, p.echo), 1000), lives},
	}
	over := probe{"over the limit once unpacked", p.call(1, "/echo", p.codec, filler(65<<20), piped("gg")), ends}
	if p.name == thriftProto.name { // its filters do not hide the number of the call, which is answered
		over.want = lives
	} else { // and it has no room for other types
		list = append(list, probe{"an unknown type", p.message(77, 1, "/echo", p.codec, p.echo), lives})
	}
	return append(list, over)
}

// probes sends each on a connection of its own, and checks what happens.
func probes(p protocol, what, sends string, probes func() []probe) attack {
	return attack{
		what: what, proto: p, sends: sends,
		play: func(a *arena) error {
			list := probes()
			good := p.call(1000, "/echo", p.codec, p.echo)
			errs := make([]error, len(list))
			a.begin()
			err := a.each(len(list), func(i int, conn *net.TCPConn) error {
				pr := list[i]
				a.send(conn, patience, pr.send)
				switch pr.want {
				case ends:
					if _, ended := awaitEnd(conn, patience); !ended {
						errs[i] = fmt.Errorf("%s: the connection was not ended", pr.name)
					}
				case lives:
					a.send(conn, patience, good)
					if err := answered(p, conn, 1000); err != nil {
						errs[i] = fmt.Errorf("%s: the call behind it: %w", pr.name, err)
					}
				case waits:
					conn.CloseWrite()
					if _, ended := awaitEnd(conn, patience); !ended {
						errs[i] = fmt.Errorf("%s: the connection was not ended after its end", pr.name)
					}
				}
				return nil
			})
			ended, lived := 0, 0
			for i, e := range errs {
				switch {
				case e != nil:
					err = e
				case list[i].want == lives:
					lived++
				default:
					ended++
				}
			}
			a.note("%d connections ended, %d served on", ended, lived)
			return err
		},
	}
}
