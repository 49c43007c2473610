// Command md5guest is a guest with the filter md5.
package main

import (
	"github.com/teleport-go/teleport/mixers/outproc/guest"
	"github.com/teleport-go/teleport/xfers/md5"
)

func main() { guest.Serve(md5.Filter{}) }
