package cborcodec_test

import (
	"fmt"

	_ "github.com/teleport-go/teleport/codecs/cborcodec"
	"github.com/teleport-go/teleport/core/codec"
)

func Example() {
	body, err := codec.Marshal(codec.CBOR, map[string]int{"sum": 6})
	fmt.Printf("%x %v\n", body, err)

	var reply struct{ Sum int }
	err = codec.Unmarshal(codec.CBOR, body, &reply)
	fmt.Println(reply.Sum, err)
	// Output:
	// a16373756d06 <nil>
	// 6 <nil>
}
