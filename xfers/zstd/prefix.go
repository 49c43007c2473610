package zstd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/teleport-go/teleport/core/xfer"
)

var _ xfer.Prefixer = Filter{}

// Types of a block (RFC 8878, section 3.1.1.2).
const (
	blockRaw = iota
	blockRLE
	blockCompressed
)

const blockHeader = 3

var errBlock = errors.New("invalid block")

// AppendPrefix appends the first bytes of the uncompressed zstd frame src to dst, at
// most max and those of its first block, which has up to 128 KiB. src may be cut short;
// without all of that block the result has no bytes.
func (Filter) AppendPrefix(dst, src []byte, max int) ([]byte, error) {
	out, err := prefix(dst, src, maxOf(max))
	if err != nil {
		return dst, fmt.Errorf("zstd: unpack %d bytes: %w", len(src), err)
	}
	return out, nil
}

func prefix(dst, src []byte, max int) ([]byte, error) {
	var head zstd.Header
	if err := head.Decode(src); err == io.ErrUnexpectedEOF || len(src)-head.HeaderSize < blockHeader || max == 0 {
		return dst, nil
	} else if err != nil {
		return dst, err
	}
	if head.Skippable {
		return dst, errBlock
	}
	block := src[head.HeaderSize:]
	info := uint32(block[0]) | uint32(block[1])<<8 | uint32(block[2])<<16
	kind, size, content := info>>1&3, int(info>>3), block[blockHeader:]
	switch {
	case kind == blockRLE && len(content) > 0:
		return append(dst, bytes.Repeat(content[:1], min(size, max))...), nil
	case kind == blockRaw:
		return append(dst, content[:min(size, max, len(content))]...), nil
	case kind > blockCompressed || size > 128<<10:
		return dst, errBlock
	case kind == blockRLE || size > len(content):
		return dst, nil
	}
	return decodeBlock(dst, content[:size], max)
}

// decodeBlock uncompresses the first block of a frame as if it were the only one: so
// the window takes no more memory than the block, whatever the frame's header claims.
func decodeBlock(dst, content []byte, max int) ([]byte, error) {
	const (
		descriptor = 0      // no size, no checksum, no dictionary
		window128K = 7 << 3 // 1 << (10+7) bytes
		last       = 1
	)
	frame := append(make([]byte, 0, 4+2+blockHeader+len(content)), 0x28, 0xb5, 0x2f, 0xfd, descriptor, window128K)
	var info [4]byte
	binary.LittleEndian.PutUint32(info[:], uint32(len(content))<<3|blockCompressed<<1|last)
	frame = append(append(frame, info[:blockHeader]...), content...)
	d, err := getDecoder()
	if err != nil {
		return dst, err
	}
	out := slices.Grow(dst, max)
	var n int
	if err = d.Reset(bytes.NewReader(frame)); err == nil {
		n, err = io.ReadFull(d, out[len(dst):len(dst)+max])
	}
	d.Reset(nil) // it must not retain frame
	decoders.Put(d)
	if n == 0 && err != nil && err != io.EOF {
		return dst, err
	}
	return out[:len(dst)+n], nil
}
