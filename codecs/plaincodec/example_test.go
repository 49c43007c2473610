package plaincodec_test

import (
	"fmt"

	_ "github.com/teleport-go/teleport/codecs/plaincodec"
	"github.com/teleport-go/teleport/core/codec"
)

func Example() {
	body, err := codec.Marshal(codec.Plain, 12.5)
	fmt.Printf("%s %v\n", body, err)

	var f float32
	err = codec.Unmarshal(codec.Plain, body, &f)
	fmt.Println(f, err)
	// Output:
	// 12.5 <nil>
	// 12.5 <nil>
}
