package tp

import (
	"testing"
	"unsafe"

	"github.com/teleport-go/teleport/core/socket"
)

// An idle session is these three pieces of memory and little beside them, so a field more
// may cost each session the step to the next size class of the allocator. Above 512 bytes
// a piece with pointers has 8 bytes more.
func TestSessionSize(t *testing.T) {
	for _, test := range []struct {
		name       string
		size, most uintptr
	}{
		{"session", unsafe.Sizeof(session{}), 480},
		{"link", unsafe.Sizeof(link{}), 384},
		{"socket.Conn", unsafe.Sizeof(socket.Conn{}), 1024 - 8},
	} {
		if test.size > test.most {
			t.Errorf("%s has %d bytes, want at most %d: see the heading of idle sessions in DESIGN.md", test.name, test.size, test.most)
		}
	}
}
