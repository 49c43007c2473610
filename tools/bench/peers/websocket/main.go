// Command websocket serves and calls over WebSocket for tools/bench: through Teleport, and
// through handlers that are written by hand on WebSocket libraries.
package main

import (
	"github.com/teleport-go/teleport/tools/bench/harness"
)

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return append(teleport(), libraries()...)
}
