package kcp

import (
	"encoding/binary"
	"fmt"
)

// The heads of records. Other values below 0x8000 are numbers of bytes that follow.
const (
	recordEnd     = 0x0000
	recordAlive   = 0x8000
	recordReadAll = 0x8001

	headSize   = 2
	recordSize = 16 << 10 // most bytes of a record that is sent
)

// recordReader reads records from pieces of a stream.
type recordReader struct {
	head [headSize]byte
	have int // bytes of head
	left int // bytes of the present record that have not come yet
}

// next returns the first record in b: the bytes of a part of it, or the head of one
// without bytes. rest is what follows. ok is false if b is used up.
func (r *recordReader) next(b []byte) (head uint16, data, rest []byte, ok bool, err error) {
	if r.left == 0 {
		n := copy(r.head[r.have:], b)
		r.have += n
		if b = b[n:]; r.have < headSize {
			return 0, nil, nil, false, nil
		}
		r.have = 0
		switch h := binary.BigEndian.Uint16(r.head[:]); {
		case h == recordEnd, h == recordAlive, h == recordReadAll:
			return h, nil, b, true, nil
		case h > recordAlive:
			return 0, nil, nil, false, fmt.Errorf("kcp: a record begins with %#04x, which means nothing", h)
		default:
			r.left = int(h)
		}
	}
	n := min(r.left, len(b))
	if n == 0 {
		return 0, nil, nil, false, nil
	}
	r.left -= n
	return uint16(n), b[:n], b[n:], true, nil
}

// appendRecord appends a record with these bytes.
func appendRecord(dst, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(data))), data...)
}
