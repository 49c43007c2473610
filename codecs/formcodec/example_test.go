package formcodec_test

import (
	"fmt"
	"net/url"

	_ "github.com/teleport-go/teleport/codecs/formcodec"
	"github.com/teleport-go/teleport/core/codec"
)

func Example() {
	type search struct {
		Text string   `form:"q"`
		Page int      `form:"page,omitempty"`
		In   []string `form:"in"`
	}
	body, err := codec.Marshal(codec.Form, search{Text: "two words", In: []string{"title", "text"}})
	fmt.Println(string(body), err)

	var s search
	err = codec.Unmarshal(codec.Form, []byte("page=2&q=a%26b&other=ignored"), &s)
	fmt.Println(s.Text, s.Page, err)

	var v url.Values
	err = codec.Unmarshal(codec.Form, body, &v)
	fmt.Println(v["in"], err)
	// Output:
	// q=two+words&in=title&in=text <nil>
	// a&b 2 <nil>
	// [title text] <nil>
}
