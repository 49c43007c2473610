package md5

import (
	"crypto/md5"

	"github.com/teleport-go/teleport/core/xfer"
)

var _ xfer.Prefixer = Filter{}

// AppendPrefix appends the first bytes of src to dst, at most max, and none of its last
// 16, which may be the sum. The sum is not checked.
func (Filter) AppendPrefix(dst, src []byte, max int) ([]byte, error) {
	n := min(len(src)-md5.Size, max)
	if n <= 0 {
		return dst, nil
	}
	return append(dst, src[:n]...), nil
}
