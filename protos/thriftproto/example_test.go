package thriftproto_test

import (
	"bytes"
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/protos/thriftproto"
)

// A call as Teleport v5 writes it, and any program that speaks Thrift over THeader
// reads it.
func ExampleNewStructProtoFunc() {
	var wire bytes.Buffer
	proto := thriftproto.NewStructProtoFunc()(&wire)
	err := proto.Pack(socket.NewMessage(
		socket.WithSeq(1),
		socket.WithMtype(socket.TypeCall),
		socket.WithServiceMethod("Home.Test"),
		socket.WithAddMeta("peer_id", "110"),
		socket.WithBodyCodec('t'), // with codecs/thriftcodec the body may be any thrift.TStruct
		socket.WithBody([]byte("\x0b\x00\x01\x00\x00\x00\x06andeya\x00")),
	))
	fmt.Printf("%q %v\n", wire.Bytes()[14:], err)

	m := socket.NewMessage()
	err = proto.Unpack(m)
	fmt.Printf("%d %s %s %q %v\n", m.Seq(), m.ServiceMethod(), m.Meta(), m.RawBody(), err)
	// Output:
	// "\x00\x00\x01\x01\aTp-Meta\vpeer_id=110\x80\x01\x00\x01\x00\x00\x00\tHome.Test\x00\x00\x00\x01\v\x00\x01\x00\x00\x00\x06andeya\x00" <nil>
	// 1 Home.Test peer_id=110 "\v\x00\x01\x00\x00\x00\x06andeya\x00" <nil>
}
