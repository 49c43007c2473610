package md5_test

import (
	"errors"
	"fmt"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/xfers/md5"
)

func Example() {
	pipe := xfer.NewXferPipe()
	if err := pipe.Append(xfer.MD5); err != nil {
		fmt.Println(err)
		return
	}
	packed, err := pipe.OnPack([]byte("body"))
	fmt.Printf("%x %v\n", packed, err)

	packed[0] = 'B'
	_, err = pipe.OnUnpack(packed)
	fmt.Println(errors.Is(err, md5.ErrCheckFailed))
	fmt.Println(err)
	// Output:
	// 626f6479841a2d689ad86bd1611447453c22c6fc <nil>
	// true
	// xfer: unpack with filter md5 (id 109): md5: check failed: wrong sum of 4 bytes
}
