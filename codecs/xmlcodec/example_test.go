package xmlcodec_test

import (
	"fmt"

	_ "github.com/teleport-go/teleport/codecs/xmlcodec"
	"github.com/teleport-go/teleport/core/codec"
)

func Example() {
	type sum struct {
		Value int `xml:"value"`
	}
	body, err := codec.Marshal(codec.XML, sum{6})
	fmt.Println(string(body), err)

	var reply sum
	err = codec.Unmarshal(codec.XML, body, &reply)
	fmt.Println(reply.Value, err)
	// Output:
	// <sum><value>6</value></sum> <nil>
	// 6 <nil>
}
