package jsonproto_test

import (
	"bytes"
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/protos/jsonproto"
)

// The same message as an eRPC v7 peer writes it.
func ExampleNewJSONProtoFunc() {
	var wire bytes.Buffer
	proto := jsonproto.NewJSONProtoFunc(jsonproto.V7)(&wire)
	err := proto.Pack(socket.NewMessage(
		socket.WithSeq(6),
		socket.WithMtype(socket.TypePush),
		socket.WithServiceMethod("/note/say"),
		socket.WithBodyCodec('j'),
		socket.WithBody([]byte(`"hi"`)),
	))
	fmt.Printf("%q %v\n", wire.Bytes(), err)

	m := socket.NewMessage()
	err = jsonproto.NewJSONProtoFunc()(&wire).Unpack(m)
	fmt.Println(m.Seq(), m.ServiceMethod(), string(m.RawBody()), err)
	// Output:
	// "\x00\x00\x00l\x00{\"seq\":6,\"mtype\":3,\"serviceMethod\":\"/note/say\",\"status\":\"code=0\",\"meta\":\"\",\"bodyCodec\":106,\"body\":\"\\\"hi\\\"\"}" <nil>
	// 6 /note/say "hi" <nil>
}
