package pbproto_test

import (
	"bytes"
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/protos/pbproto"
)

// The same message as an eRPC v7 peer writes it.
func ExampleNewPbProtoFunc() {
	var wire bytes.Buffer
	proto := pbproto.NewPbProtoFunc(pbproto.V7)(&wire)
	err := proto.Pack(socket.NewMessage(
		socket.WithSeq(6),
		socket.WithMtype(socket.TypePush),
		socket.WithServiceMethod("/note/say"),
		socket.WithBodyCodec('j'),
		socket.WithBody([]byte(`"hi"`)),
	))
	fmt.Printf("%x %v\n", wire.Bytes(), err)

	m := socket.NewMessage()
	err = pbproto.NewPbProtoFunc()(&wire).Unpack(m)
	fmt.Println(m.Seq(), m.ServiceMethod(), string(m.RawBody()), err)
	// Output:
	// 0000002000080610031a092f6e6f74652f7361792206636f64653d30306a3a0422686922 <nil>
	// 6 /note/say "hi" <nil>
}
