package gzip_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/xfers/gzip"
)

func Example() {
	pipe := xfer.NewXferPipe()
	if err := pipe.Append(xfer.Gzip); err != nil {
		fmt.Println(err)
		return
	}
	packed, err := pipe.OnPack([]byte(strings.Repeat("again and ", 100)))
	fmt.Println(len(packed) < 100, err)

	data, err := pipe.OnUnpack(packed)
	fmt.Println(len(data), err)

	_, err = pipe.AppendUnpack(nil, packed, 500)
	fmt.Println(errors.Is(err, xfer.ErrTooLarge))
	// Output:
	// true <nil>
	// 1000 <nil>
	// true
}

func ExampleReg() {
	gzip.Reg('G', "gzip-9", 9)
	fmt.Println(gzip.Is('G'))
	// Output:
	// true
}
