package gzip

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/teleport-go/teleport/core/xfer"
)

// The streams are not read by compress/gzip, since its errors do not distinguish a
// stream that v5 left unfinished from one that was cut short. Header and trailer of a
// gzip stream (RFC 1952) are read here, and the data by compress/flate.

var (
	errHeader   = errors.New("invalid header")
	errChecksum = errors.New("invalid checksum")
	errTrailing = errors.New("bytes after the end of the stream")
)

// Bits of the header's flags.
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
	flagReserved  = 7 << 5
)

const (
	headerSize  = 10
	trailerSize = 8
)

var (
	// syncMarker is the end of a deflate stream that was flushed: the lengths of an
	// empty stored block.
	syncMarker = []byte{0x00, 0x00, 0xff, 0xff}
	// finalBlock is an empty block that is marked as the last one.
	finalBlock = []byte{0x03, 0x00}
)

// AppendUnpack appends the uncompressed gzip stream src to dst. No bytes are
// uncompressed to no bytes. A stream of v5 has no end and no checksum: it ends with the
// marker of a flush, and is accepted.
func (f *Filter) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	if len(src) == 0 {
		return dst, nil
	}
	n, err := header(src)
	if err != nil {
		return dst, fmt.Errorf("gzip: unpack %d bytes: %w", len(src), err)
	}
	u := unpackers.Get().(*unpacker)
	out, err := u.unpack(withRoom(dst, src, max), src[n:], max)
	u.data, u.tail = nil, nil
	unpackers.Put(u)
	if err != nil {
		return dst, fmt.Errorf("gzip: unpack %d bytes: %w", len(src), err)
	}
	return out, nil
}

// roomFrom is the least length for which withRoom makes room, in bytes.
const roomFrom = 1 << 20

// maxRatio is how many times the size of its stream uncompressed data can have.
const maxRatio = 1032

// withRoom returns dst with room for what a large stream says that it uncompresses to, if
// that is possible and at most max bytes: to grow the buffer step by step would leave as
// much again behind.
func withRoom(dst, src []byte, max int) []byte {
	if len(src) < headerSize+trailerSize {
		return dst
	}
	n := int64(binary.LittleEndian.Uint32(src[len(src)-4:]))
	if n < roomFrom || n > int64(max) || n/maxRatio > int64(len(src)) {
		return dst
	}
	return slices.Grow(dst, int(n))
}

// header returns the length of the header of a gzip stream.
func header(src []byte) (int, error) {
	if len(src) < headerSize {
		return 0, io.ErrUnexpectedEOF
	}
	flags := src[3]
	if src[0] != 0x1f || src[1] != 0x8b || src[2] != 8 || flags&flagReserved != 0 {
		return 0, errHeader
	}
	n := headerSize
	if flags&flagExtra != 0 {
		if len(src)-n < 2 {
			return 0, io.ErrUnexpectedEOF
		}
		n += 2 + int(binary.LittleEndian.Uint16(src[n:]))
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag == 0 {
			continue
		}
		end := bytes.IndexByte(src[min(n, len(src)):], 0)
		if end < 0 {
			return 0, io.ErrUnexpectedEOF
		}
		n += end + 1
	}
	if flags&flagHeaderCRC != 0 {
		if len(src)-n < 2 {
			return 0, io.ErrUnexpectedEOF
		}
		if binary.LittleEndian.Uint16(src[n:]) != uint16(crc32.ChecksumIEEE(src[:n])) {
			return 0, errHeader
		}
		n += 2
	}
	if n > len(src) {
		return 0, io.ErrUnexpectedEOF
	}
	return n, nil
}

var unpackers = sync.Pool{New: func() any {
	u := new(unpacker)
	u.inflater = flate.NewReader(u)
	return u
}}

// unpacker is an inflater and its input: data, then tail. Its methods must not be
// called concurrently.
type unpacker struct {
	inflater io.ReadCloser
	data     []byte
	tail     []byte
	pos      int     // number of bytes of both that have been read
	probe    [1]byte // for a byte beyond the limit
}

// unpack uncompresses data, which is a gzip stream without its header.
func (u *unpacker) unpack(dst, data []byte, max int) ([]byte, error) {
	u.data, u.tail, u.pos = data, nil, 0
	if bytes.HasSuffix(data, syncMarker) {
		u.tail = finalBlock // read only if data is not finished
	}
	if err := u.inflater.(flate.Resetter).Reset(u, nil); err != nil {
		return dst, err
	}
	out, err := u.inflate(dst, max)
	if err != nil {
		return dst, err
	}
	if u.pos == len(u.data)+len(finalBlock) {
		return out, nil // the tail was read as a block, so data ends at the end of a block
	}
	if u.pos > len(u.data) {
		return dst, io.ErrUnexpectedEOF // the start of the tail completed a block that was cut
	}
	trailer := u.data[u.pos:]
	if len(trailer) < trailerSize {
		return dst, io.ErrUnexpectedEOF
	}
	if len(trailer) > trailerSize {
		return dst, fmt.Errorf("%d %w", len(trailer)-trailerSize, errTrailing)
	}
	inflated := out[len(dst):]
	if binary.LittleEndian.Uint32(trailer) != crc32.ChecksumIEEE(inflated) ||
		binary.LittleEndian.Uint32(trailer[4:]) != uint32(len(inflated)) {
		return dst, errChecksum
	}
	return out, nil
}

// inflate appends at most max bytes to dst. The buffer grows with the uncompressed
// bytes.
func (u *unpacker) inflate(dst []byte, max int) ([]byte, error) {
	out := dst
	for {
		n := len(out) - len(dst)
		left := max - n
		if left <= 0 {
			k, err := u.inflater.Read(u.probe[:])
			switch {
			case k > 0:
				return dst, fmt.Errorf("%w: more than %d bytes", xfer.ErrTooLarge, max)
			case err == io.EOF:
				return out, nil
			case err != nil:
				return dst, err
			}
			continue
		}
		if len(out) == cap(out) {
			out = append(make([]byte, 0, len(out)+min(left, 512+2*len(u.data)+n)), out...) // slices.Grow would take a quarter more
		}
		free := out[len(out):cap(out)]
		k, err := u.inflater.Read(free[:min(len(free), left)])
		out = out[:len(out)+k]
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

// Read reads from data only. The inflater reads the contents of stored blocks by it,
// and tail must not complete one that was cut.
func (u *unpacker) Read(p []byte) (int, error) {
	if u.pos >= len(u.data) {
		return 0, io.EOF
	}
	n := copy(p, u.data[u.pos:])
	u.pos += n
	return n, nil
}

// ReadByte reads from data, then from tail. Since the unpacker has it, the inflater
// does not read beyond the end of the stream.
func (u *unpacker) ReadByte() (byte, error) {
	rest := u.data
	i := u.pos
	if i >= len(u.data) {
		rest = u.tail
		i -= len(u.data)
	}
	if i >= len(rest) {
		return 0, io.EOF
	}
	u.pos++
	return rest[i], nil
}
