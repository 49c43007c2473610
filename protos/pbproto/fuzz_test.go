package pbproto

import (
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

func FuzzUnpack(f *testing.F) { dialectTests.FuzzUnpack(f) }

func FuzzRoundTrip(f *testing.F) {
	// The dialect is not known where metadata reads like the other's status, and
	// nothing else is there.
	dialectTests.FuzzRoundTrip(f, func(_ Dialect, m socket.Message) bool {
		body, _ := m.Body().([]byte)
		return m.BodyCodec() == 0 && len(body) == 0 && strings.HasPrefix(m.Meta().String(), "code=")
	})
}
