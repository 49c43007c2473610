// Command zstdguest is a guest with the filter zstd.
package main

import (
	"github.com/teleport-go/teleport/mixers/outproc/guest"
	"github.com/teleport-go/teleport/xfers/zstd"
)

func main() { guest.Serve(zstd.Filter{}) }
