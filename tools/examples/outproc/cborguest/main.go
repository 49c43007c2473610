// Command cborguest is a guest with the codec cbor.
package main

import (
	"github.com/teleport-go/teleport/codecs/cborcodec"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

func main() { guest.Serve(cborcodec.Codec{}) }
