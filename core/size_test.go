package tp

import (
	"testing"
	"unsafe"

	"github.com/teleport-go/teleport/core/socket"
)

// An idle session is the first three of these pieces of memory and little beside them, and
// each call of Session.Call allocates the fourth, so a field more may cost each the step to
// the next size class of the allocator. Above 512 bytes a piece with pointers has 8 bytes more.
func TestSizes(t *testing.T) {
	for _, test := range []struct {
		name       string
		size, most uintptr
	}{
		{"session", unsafe.Sizeof(session{}), 480},
		{"link", unsafe.Sizeof(link{}), 384},
		{"socket.Conn", unsafe.Sizeof(socket.Conn{}), 1024 - 8},
		{"callCmd", unsafe.Sizeof(callCmd{}), 512},
	} {
		if test.size > test.most {
			t.Errorf("%s has %d bytes, want at most %d, the size class of the allocator", test.name, test.size, test.most)
		}
	}
}
