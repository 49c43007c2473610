package wasm_test

import (
	"context"
	"fmt"
	"os"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/wasm"
)

// The filter of a guest is registered under its id, as an imported one is.
func ExampleLoad() {
	file, err := os.ReadFile("testdata/result.wasm")
	if err != nil {
		fmt.Println(err)
		return
	}
	h, err := wasm.Load(context.Background(), wasm.Module{Name: "example", Bytes: file})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()
	fmt.Println(h.Parts())

	var pipe xfer.XferPipe
	fmt.Println(pipe.Append(241), pipe.Names())
	_, err = pipe.OnPack([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
	fmt.Println(err)
	// Output:
	// [filter result (id 241)]
	// <nil> [result]
	// xfer: pack with filter result (id 241): wasm: guest example: pack with filter result (id 241): 530 Guest Unavailable: the guest broke down: it returned 1073741823 bytes at 0xffffffff, its memory has 131072
}
