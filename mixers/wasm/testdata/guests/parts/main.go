// Command parts is a guest with a filter and a codec of this repository, and a filter that
// misbehaves.
package main

import (
	"fmt"
	"time"

	"github.com/teleport-go/teleport/codecs/cborcodec"
	"github.com/teleport-go/teleport/mixers/wasm/guest"
	"github.com/teleport-go/teleport/xfers/md5"
)

func init() { guest.Serve(filter{}, cbor{}, wayward{}) }

func main() {}

// filter is md5 under another id, so that a test can have both.
type filter struct{ md5.Filter }

func (filter) ID() byte     { return 230 }
func (filter) Name() string { return "md5-guest" }

// cbor is the CBOR codec under another id.
type cbor struct{ cborcodec.Codec }

func (cbor) ID() byte     { return 231 }
func (cbor) Name() string { return "cbor-guest" }

// wayward does what the bytes tell it.
type wayward struct{}

func (wayward) ID() byte     { return 200 }
func (wayward) Name() string { return "wayward" }

func (wayward) OnPack(b []byte) ([]byte, error) {
	switch string(b) {
	case "panic":
		panic("told to panic")
	case "spin":
		for i := 0; ; i++ {
			if i < 0 {
				break
			}
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "bomb":
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
			all[len(all)-1][0] = 1
		}
	case "print":
		fmt.Println("told to print")
	}
	return b, nil
}

func (wayward) OnUnpack(b []byte) ([]byte, error) { return b, nil }
