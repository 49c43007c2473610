// Package zstd compresses messages on the wire with Zstandard (RFC 8878): smaller
// and several times faster than gzip.
//
// It is registered with the id 'z', the name "zstd" and the default level.
package zstd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/teleport-go/teleport/core/xfer"
)

func init() { xfer.Register(Filter{}) }

// window is the window size of the frames written here: the memory a reader needs.
const window = 512 << 10

// maxWindow bounds the memory that a foreign frame can claim for its window.
const maxWindow = 8 << 20

// Filter is the Zstandard transfer filter. Its methods may be called concurrently.
type Filter struct{}

var _ xfer.Appender = Filter{}

// ID returns xfer.Zstd.
func (Filter) ID() byte { return xfer.Zstd }

// Name returns xfer.NameZstd.
func (Filter) Name() string { return xfer.NameZstd }

// OnPack returns data as a zstd frame with a checksum.
func (f Filter) OnPack(data []byte) ([]byte, error) { return f.AppendPack(nil, data) }

// OnUnpack returns the uncompressed zstd frame. The limit is xfer.DefaultMax.
func (f Filter) OnUnpack(data []byte) ([]byte, error) {
	return f.AppendUnpack(nil, data, xfer.DefaultMax)
}

// encoder compresses on the goroutine of the caller; EncodeAll may be called
// concurrently.
var encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithZeroFrames(true), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window))
})

// AppendPack appends src to dst, as a zstd frame.
func (Filter) AppendPack(dst, src []byte) ([]byte, error) {
	e, err := encoder()
	if err != nil {
		return dst, fmt.Errorf("zstd: %w", err)
	}
	return e.EncodeAll(src, dst), nil
}

// decoders pools decoders: each has tables and a window.
var decoders sync.Pool

func getDecoder() (*zstd.Decoder, error) {
	if d, ok := decoders.Get().(*zstd.Decoder); ok {
		return d, nil
	}
	// With a concurrency of 1 it starts no goroutine.
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
}

// AppendUnpack appends the uncompressed zstd frame src to dst, at most max bytes. A
// frame that was cut short, a wrong checksum and bytes after the frame are errors.
func (Filter) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	d, err := getDecoder()
	if err != nil {
		return dst, fmt.Errorf("zstd: %w", err)
	}
	out, err := decode(d, dst, src, max)
	d.Reset(nil) // it must not retain src
	decoders.Put(d)
	if err != nil {
		return dst, fmt.Errorf("zstd: unpack %d bytes: %w", len(src), err)
	}
	return out, nil
}

var errEmpty = errors.New("no frame")

func decode(d *zstd.Decoder, dst, src []byte, max int) ([]byte, error) {
	if len(src) == 0 {
		return dst, errEmpty
	}
	max = maxOf(max)
	var head zstd.Header
	if err := head.Decode(src); err != nil {
		return dst, err
	}
	if head.HasFCS && head.FrameContentSize > uint64(max) {
		return dst, fmt.Errorf("%d bytes are more than the limit of %d: %w", head.FrameContentSize, max, xfer.ErrTooLarge)
	}
	if err := d.Reset(bytes.NewReader(src)); err != nil {
		return dst, err
	}
	w := bytes.NewBuffer(dst)
	n, err := io.Copy(w, io.LimitReader(d, int64(max)+1)) // allocates for the output, not for what the header claims
	if err == nil && n > int64(max) {
		err = fmt.Errorf("more than the limit of %d bytes: %w", max, xfer.ErrTooLarge)
	}
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = fmt.Errorf("%w: %w", err, xfer.ErrTooLarge)
	}
	return w.Bytes(), err
}

func maxOf(n int) int { return max(n, 0) }
