package gzip

import (
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/teleport-go/teleport/core/xfer"
)

var _ xfer.Prefixer = (*Filter)(nil)

// AppendPrefix appends the first bytes of the uncompressed gzip stream src to dst, at
// most max; src may be cut short. It inflates no more than 32 KiB beyond them.
func (f *Filter) AppendPrefix(dst, src []byte, max int) ([]byte, error) {
	n, err := header(src)
	if err == io.ErrUnexpectedEOF || max <= 0 {
		return dst, nil
	}
	if err != nil {
		return dst, fmt.Errorf("gzip: unpack %d bytes: %w", len(src), err)
	}
	u := unpackers.Get().(*unpacker)
	out, err := u.prefix(dst, src[n:], max)
	u.data = nil
	unpackers.Put(u)
	if err != nil {
		return dst, fmt.Errorf("gzip: unpack %d bytes: %w", len(src), err)
	}
	return out, nil
}

// prefix uncompresses the beginning of data, a gzip stream without its header.
func (u *unpacker) prefix(dst, data []byte, max int) ([]byte, error) {
	u.data, u.tail, u.pos = data, nil, 0
	if err := u.inflater.(flate.Resetter).Reset(u, nil); err != nil {
		return dst, err
	}
	out := slices.Grow(dst, max)
	n, err := io.ReadFull(u.inflater, out[len(dst):len(dst)+max])
	if n == 0 && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return dst, err
	}
	return out[:len(dst)+n], nil
}
