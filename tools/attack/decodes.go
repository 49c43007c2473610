//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"time"

	"github.com/teleport-go/teleport/core/codec"
)

// decodeAttacks want memory and time by what a codec makes of few bytes.
func decodeAttacks() []attack {
	nest := func(n int, open, inner, close string) []byte {
		return bytes.Join([][]byte{bytes.Repeat([]byte(open), n), []byte(inner), bytes.Repeat([]byte(close), n)}, nil)
	}
	list := func(n int, open, element, close string) []byte {
		return bytes.Join([][]byte{[]byte(open), bytes.Repeat([]byte(element), n), []byte(close)}, nil)
	}
	return []attack{
		decoded(rawProto, "XML, deep", codec.XML, "/decode/element", 16, nest(1<<20-1, "<x>", "", "</x>")),
		decoded(rawProto, "XML, deep into a struct", codec.XML, "/decode/element", 16, nest(1<<20-1, "<a>", "", "</a>")),
		decoded(rawProto, "XML, elements", codec.XML, "/decode/element", 4, list(4<<20-3, "<e>", "<a/>", "</e>")),
		decoded(rawProto, "XML, attributes", codec.XML, "/decode/element", 4, list(1<<20, "<e", " a='1'", "/>")),
		decoded(rawProto, "JSON, deep", codec.JSON, "/decode/any", 16, nest(1<<20, "[", "", "]")),
		decoded(rawProto, "JSON, elements into structs", codec.JSON, "/decode/records", 4, list(5<<20, "[", "{},", "{}]")),
		decoded(jsonProto, "JSON, elements into structs", codec.JSON, "/decode/records", 4, list(5<<20, "[", "{},", "{}]")),
		decoded(httpProto, "JSON, elements into structs", codec.JSON, "/decode/records", 4, list(5<<20, "[", "{},", "{}]")),
		decoded(rawProto, "JSON, elements into any", codec.JSON, "/decode/any", 4, list(5<<20, "[", "{},", "{}]")),
		decoded(rawProto, "JSON, elements within the limits", codec.JSON, "/decode/records", 16, list(340_000, "[", "{},", "{}]")),
		decoded(rawProto, "JSON, long number", codec.JSON, "/decode/any", 4, bytes.Repeat([]byte("9"), 4<<20)),
		decoded(rawProto, "protobuf, groups", codec.Protobuf, "/decode/protobuf", 8, nest(4<<20, "\x13", "", "\x14")),
		decoded(rawProto, "protobuf, elements", codec.Protobuf, "/decode/protobuf", 4, bytes.Repeat([]byte("\x0a\x00"), 7<<20)),
		decoded(pbProto, "protobuf, elements", codec.Protobuf, "/decode/protobuf", 4, bytes.Repeat([]byte("\x0a\x00"), 7<<20)),
		decoded(rawProto, "CBOR, elements into structs", codec.CBOR, "/decode/records", 4, append([]byte{0x9a, 0, 0xf0, 0, 0}, bytes.Repeat([]byte{0xa0}, 0xf00000)...)),
		decoded(rawProto, "CBOR, elements into any", codec.CBOR, "/decode/any", 4, append([]byte{0x9a, 0, 0xf0, 0, 0}, bytes.Repeat([]byte{0xa0}, 0xf00000)...)),
		decoded(rawProto, "CBOR, announced length", codec.CBOR, "/decode/any", 100, []byte{0x9a, 0x7f, 0xff, 0xff, 0xff}),
		decoded(rawProto, "form, keys", codec.Form, "/decode/form", 4, bytes.Repeat([]byte("&a"), 7<<20)[1:]),
		decoded(structProto, "Thrift, announced length", codec.Thrift, "/decode/bag", 100, []byte("\x0f\x00\x01\x0c\x05\xf5\xe0\x00")),
		decoded(thriftProto, "Thrift, announced length", codec.Thrift, "/decode/bag", 100, []byte("\x0f\x00\x01\x0c\x05\xf5\xe0\x00")),
		decoded(structProto, "Thrift, elements", codec.Thrift, "/decode/bag", 4, append([]byte("\x0f\x00\x01\x0c\x00\xe0\x00\x00"), make([]byte, 14<<20+1)...)),
		decoded(structProto, "Thrift, elements within the limits", codec.Thrift, "/decode/bag", 16, append([]byte("\x0f\x00\x01\x0c\x00\x1f\x00\x00"), make([]byte, 0x1f0000+1)...)),
		decoded(structProto, "Thrift, deep", codec.Thrift, "/decode/bag", 8, bytes.Repeat([]byte("\x0f\x00\x01\x0c\x00\x00\x00\x01"), 1<<19)),
	}
}

// decoded sends bodies to a handler that decodes them, all at once.
func decoded(p protocol, what string, id byte, route string, n int, body []byte) attack {
	return attack{
		what: what, proto: p, busy: true,
		sends: fmt.Sprintf("%d calls at once with %s of it", n, size(len(body))),
		play: func(a *arena) error {
			const patience = 30 * time.Second // for a decoder that takes one call after the other
			f := p.call(1, route, id, body)
			a.begin()
			answers := make([]string, n)
			err := a.each(n, func(i int, conn *net.TCPConn) error {
				a.send(conn, patience, f)
				answers[i] = answer(p, conn, patience)
				return nil
			})
			if err != nil {
				return err
			}
			count := map[string]int{}
			for i, text := range answers {
				count[text]++
				if text == noAnswer {
					err = fmt.Errorf("call %d of %d: %s after %v", i+1, n, noAnswer, patience)
				}
			}
			text, times := most(count)
			a.note("%d × %s", times, text)
			return err
		},
	}
}

// size is a number of bytes as people write it.
func size(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
