package pbcodec_test

import (
	"fmt"

	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "github.com/teleport-go/teleport/codecs/pbcodec"
	"github.com/teleport-go/teleport/core/codec"
)

func Example() {
	body, err := codec.Marshal(codec.Protobuf, wrapperspb.Int64(6))
	fmt.Printf("%x %v\n", body, err)

	var reply wrapperspb.Int64Value
	err = codec.Unmarshal(codec.Protobuf, body, &reply)
	fmt.Println(reply.GetValue(), err)
	// Output:
	// 0806 <nil>
	// 6 <nil>
}
