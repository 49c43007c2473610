// Package md5 detects damage to messages on the wire.
//
// It appends the MD5 sum of the bytes, and checks it on arrival. MD5 detects accidents,
// not attacks.
package md5

import (
	"crypto/md5"
	"errors"
	"fmt"

	"github.com/teleport-go/teleport/core/xfer"
)

func init() { xfer.Register(Filter{}) }

// ErrCheckFailed is wrapped by the error of an unpacking whose sum is wrong or missing.
var ErrCheckFailed = errors.New("check failed")

// Filter is the MD5 transfer filter, with the id 'm' and the name "md5". Its
// methods may be called concurrently.
type Filter struct{ as *identity }

// identity is the id and the name that were passed to Reg.
type identity struct {
	id   byte
	name string
}

var _ xfer.Appender = Filter{}

// Reg registers the filter with that id and that name, in place of those that have
// them, as xfer.Replace does. It panics if the id is 0 or the name empty. It is meant
// for main, before messages are sent.
func Reg(id byte, name string) { xfer.Replace(Filter{&identity{id, name}}) }

// ID returns xfer.MD5, or the id passed to Reg.
func (f Filter) ID() byte {
	if f.as != nil {
		return f.as.id
	}
	return xfer.MD5
}

// Name returns xfer.NameMD5, or the name passed to Reg.
func (f Filter) Name() string {
	if f.as != nil {
		return f.as.name
	}
	return xfer.NameMD5
}

// OnPack returns data followed by its sum, in a new slice.
func (f Filter) OnPack(data []byte) ([]byte, error) {
	return f.AppendPack(make([]byte, 0, len(data)+md5.Size), data)
}

// OnUnpack checks the sum and returns data without it, in a new slice. The
// error wraps ErrCheckFailed.
func (f Filter) OnUnpack(data []byte) ([]byte, error) {
	return f.AppendUnpack(nil, data, len(data))
}

// AppendPack appends src and its sum to dst.
func (Filter) AppendPack(dst, src []byte) ([]byte, error) {
	sum := md5.Sum(src)
	return append(append(dst, src...), sum[:]...), nil
}

// AppendUnpack checks the sum at the end of src and appends the bytes before it to dst.
// The error wraps ErrCheckFailed, or xfer.ErrTooLarge.
func (Filter) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	n := len(src) - md5.Size
	if n < 0 {
		return dst, fmt.Errorf("md5: %w: %d bytes, the sum alone has %d", ErrCheckFailed, len(src), md5.Size)
	}
	if n > max {
		return dst, fmt.Errorf("md5: %w: %d bytes, the limit is %d", xfer.ErrTooLarge, n, max)
	}
	if md5.Sum(src[:n]) != [md5.Size]byte(src[n:]) {
		return dst, fmt.Errorf("md5: %w: wrong sum of %d bytes", ErrCheckFailed, n)
	}
	return append(dst, src[:n]...), nil
}
