package jsoncodec_test

import (
	"fmt"

	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	"github.com/teleport-go/teleport/core/codec"
)

func Example() {
	body, err := codec.Marshal(codec.JSON, map[string]int{"sum": 6})
	fmt.Println(string(body), err)

	var reply struct{ Sum int }
	err = codec.Unmarshal(codec.JSON, body, &reply)
	fmt.Println(reply.Sum, err)
	// Output:
	// {"sum":6} <nil>
	// 6 <nil>
}
