package prototest

import (
	"bytes"
	"crypto/md5"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/teleport-go/teleport/core/xfer"
)

// RegisterFilters registers the filter md5 as v5 and v7 have it, for golden files, unless
// there is one, and a filter with the id Bomb.
func RegisterFilters() { registerFilters() }

var registerFilters = sync.OnceFunc(func() {
	if _, err := xfer.Get(xfer.MD5); err != nil {
		xfer.Register(md5Filter{})
	}
	xfer.Register(bomb{})
})

// md5Filter appends the sum of the bytes.
type md5Filter struct{}

func (md5Filter) ID() byte     { return xfer.MD5 }
func (md5Filter) Name() string { return xfer.NameMD5 }

func (md5Filter) OnPack(b []byte) ([]byte, error) {
	sum := md5.Sum(b)
	return append(slices.Clone(b), sum[:]...), nil
}

func (md5Filter) OnUnpack(b []byte) ([]byte, error) {
	n := len(b) - md5.Size
	if n < 0 {
		return nil, io.ErrUnexpectedEOF
	}
	if sum := md5.Sum(b[:n]); string(sum[:]) != string(b[n:]) {
		return nil, errors.New("wrong sum")
	}
	return b[:n], nil
}

// Bomb is the id of a filter that makes a thousand bytes of each when it unpacks.
const Bomb = 'B'

type bomb struct{}

func (bomb) ID() byte                          { return Bomb }
func (bomb) Name() string                      { return "test bomb" }
func (bomb) OnPack(b []byte) ([]byte, error)   { return slices.Clone(b), nil }
func (bomb) OnUnpack(b []byte) ([]byte, error) { return bytes.Repeat(b, 1000), nil }
