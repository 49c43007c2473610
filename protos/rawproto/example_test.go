package rawproto_test

import (
	"bytes"
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// The same message as an eRPC v7 peer writes it.
func ExampleNewRawProtoFunc() {
	var wire bytes.Buffer
	proto := rawproto.NewRawProtoFunc(rawproto.V7)(&wire)
	err := proto.Pack(socket.NewMessage(
		socket.WithSeq(6),
		socket.WithMtype(socket.TypePush),
		socket.WithServiceMethod("/note/say"),
		socket.WithBodyCodec('j'),
		socket.WithBody([]byte(`"hi"`)),
	))
	fmt.Printf("%x %v\n", wire.Bytes(), err)

	m := socket.NewMessage()
	err = rawproto.NewRawProtoFunc()(&wire).Unpack(m)
	fmt.Println(m.Seq(), m.ServiceMethod(), string(m.RawBody()), err)
	// Output:
	// 0000002100013603092f6e6f74652f7361790006636f64653d3000006a22686922 <nil>
	// 6 /note/say "hi" <nil>
}
