package zstd_test

import (
	"fmt"
	"strings"

	"github.com/teleport-go/teleport/core/xfer"
	_ "github.com/teleport-go/teleport/xfers/zstd"
)

func Example() {
	pipe := xfer.NewXferPipe()
	if err := pipe.Append(xfer.Zstd); err != nil {
		fmt.Println(err)
		return
	}
	packed, err := pipe.OnPack([]byte(strings.Repeat("a", 1000)))
	fmt.Println(len(packed) < 50, err)
	plain, err := pipe.OnUnpack(packed)
	fmt.Println(len(plain), err)
	// Output:
	// true <nil>
	// 1000 <nil>
}
