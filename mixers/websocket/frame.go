package websocket

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/gobwas/ws"
)

// This file holds the frame of RFC 6455, section 5.2: its header, and masking.
//
// The header is read and written by code of our own: ws.ReadHeaderBuffer reads from an
// io.Reader, in two steps, and took three times as long for a header that has arrived
// already (95 ns, 30 ns), which is 3% of a call. Tests compare the two.

// Opcodes.
const (
	opContinuation byte = 0x0
	opText         byte = 0x1
	opBinary       byte = 0x2
	opClose        byte = 0x8 // this and those above are control frames
	opPing         byte = 0x9
	opPong         byte = 0xa
)

const (
	bitFinal   = 0x80 // of the first byte
	bitsRsv    = 0x70
	bitsOpcode = 0x0f
	bitMasked  = 0x80 // of the second byte
	bitsLength = 0x7f

	length16 = 126 // the length is in the next two bytes
	length64 = 127 // the length is in the next eight bytes

	maxControl = 125 // bytes of a control frame's payload
	keySize    = 4
	maxHeader  = 2 + 8 + keySize
)

// header is a frame's header.
type header struct {
	final  bool
	rsv    byte
	op     byte
	masked bool
	key    uint32 // little endian, so that its lowest byte belongs to the first of the payload
	size   int    // of the header, in bytes
	length uint64 // of the payload
}

// headerSize returns the size of the header that begins with these two bytes.
func headerSize(b []byte) int {
	n := 2
	switch b[1] & bitsLength {
	case length16:
		n += 2
	case length64:
		n += 8
	}
	if b[1]&bitMasked != 0 {
		n += keySize
	}
	return n
}

// parseHeader reads a header of headerSize bytes, and checks what does not depend on the
// connection.
func parseHeader(b []byte) (h header, err error) {
	h = header{
		final:  b[0]&bitFinal != 0,
		rsv:    b[0] & bitsRsv,
		op:     b[0] & bitsOpcode,
		masked: b[1]&bitMasked != 0,
		size:   len(b),
		length: uint64(b[1] & bitsLength),
	}
	if h.masked {
		h.key = binary.LittleEndian.Uint32(b[len(b)-keySize:])
	}
	control := h.op >= opClose
	switch {
	case h.rsv != 0:
		return h, violation("a frame has reserved bits (%#02x): no extension was negotiated", b[0])
	case h.op > opBinary && !control, h.op > opPong:
		return h, violation("a frame has the reserved opcode %#x", h.op)
	case control && h.length > maxControl:
		return h, violation("a control frame (opcode %#x) is longer than %d bytes", h.op, maxControl)
	case control && !h.final:
		return h, violation("a control frame (opcode %#x) is fragmented", h.op)
	}
	least := uint64(0)
	switch h.length {
	case length16:
		h.length, least = uint64(binary.BigEndian.Uint16(b[2:])), length16
	case length64:
		h.length, least = binary.BigEndian.Uint64(b[2:]), 1<<16
	}
	switch {
	case h.length>>63 != 0:
		return h, violation("the highest bit of a frame's length is set")
	case h.length < least:
		return h, violation("the length of a frame, %d, is not written in the fewest bytes", h.length)
	}
	return h, nil
}

// putHeader writes the header of a final frame into b, and returns its size. A frame with
// a key other than 0 is masked.
func putHeader(b []byte, op byte, length int, key uint32) int {
	b[0] = bitFinal | op
	n := 2
	switch {
	case length < length16:
		b[1] = byte(length)
	case length < 1<<16:
		b[1] = length16
		binary.BigEndian.PutUint16(b[2:], uint16(length))
		n += 2
	default:
		b[1] = length64
		binary.BigEndian.PutUint64(b[2:], uint64(length))
		n += 8
	}
	if key != 0 {
		b[1] |= bitMasked
		binary.LittleEndian.PutUint32(b[n:], key)
		n += keySize
	}
	return n
}

// putSize returns the size of the header that putHeader writes.
func putSize(length int, masked bool) int {
	n := 2
	switch {
	case length >= 1<<16:
		n += 8
	case length >= length16:
		n += 2
	}
	if masked {
		n += keySize
	}
	return n
}

// newKey returns the key of a frame, which is not 0. RFC 6455, section 5.3, wants it
// unpredictable, so that a page cannot choose the bytes that a proxy sees: the global
// generator of math/rand/v2 is ChaCha8, seeded by the system.
func newKey() uint32 {
	for {
		if key := rand.Uint32(); key != 0 {
			return key
		}
	}
}

// vectorFrom is the number of bytes from which ws.Cipher, which has vector instructions,
// is faster than mask's own loop.
const vectorFrom = 512

// mask masks b, or unmasks it.
func mask(b []byte, key uint32) {
	if len(b) >= vectorFrom {
		var k [keySize]byte
		binary.LittleEndian.PutUint32(k[:], key)
		n := len(b) &^ 15 // the rest, byte by byte, would take as long as 500 bytes more
		ws.Cipher(b[:n], k, 0)
		b = b[n:]
	}
	k := uint64(key)<<32 | uint64(key)
	for len(b) >= 32 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(b[8:])^k)
		binary.LittleEndian.PutUint64(b[16:], binary.LittleEndian.Uint64(b[16:])^k)
		binary.LittleEndian.PutUint64(b[24:], binary.LittleEndian.Uint64(b[24:])^k)
		b = b[32:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(k >> (8 * i))
	}
}
