// Command msgpackguest is a guest with the codec msgpack, of a library that a program need
// not import for it.
package main

import "github.com/teleport-go/teleport/mixers/outproc/guest"

func main() { guest.Serve(Codec{}) }
