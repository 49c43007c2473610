package resume

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A connection begins with a preamble of each side, the dialling one's first:
//
//	{4 bytes magic} {16 bytes token} {6 bytes sent} {6 bytes received}
//
// Positions count the bytes of records since the first connection of the stream; the
// preamble has their low 48 bits, big-endian. The token of a new stream is zero in the
// question. The answer has the stream's token, or zero and a verdict in place of sent.
const preambleSize = 32

var magic = [4]byte{'t', 'p', 'r', 1}

// token names a stream, and allows to resume it: the accepting side makes it at random.
type token [16]byte

type preamble struct {
	token    token
	sent     uint64 // bytes of records that this side has sent, or has ready
	received uint64 // bytes of records that this side has received
}

const positionMask = 1<<48 - 1

// verdict is why the accepting side does not have the stream; see its texts.
type verdict uint64

const (
	verdictUnknown  verdict = 1 + iota // also of a stream that has ended
	verdictPosition                    // the positions are not those of the stream
	verdictIdentity                    // the client is not that of the first connection
)

func (v verdict) String() string {
	switch v {
	case verdictUnknown:
		return "the other side does not have the stream any more"
	case verdictPosition:
		return "the other side has no such position in the stream"
	case verdictIdentity:
		return "the stream belongs to another client, by its certificate or its handshake"
	}
	return fmt.Sprintf("the other side refuses for the reason %d", uint64(v))
}

func appendPosition(b []byte, p uint64) []byte {
	return append(b, byte(p>>40), byte(p>>32), byte(p>>24), byte(p>>16), byte(p>>8), byte(p))
}

func position(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

func (p preamble) append(b []byte) []byte {
	b = append(b, magic[:]...)
	b = append(b, p.token[:]...)
	b = appendPosition(b, p.sent)
	return appendPosition(b, p.received)
}

var errNoPreamble = errors.New("the other side does not speak resume")

func parsePreamble(b []byte) (p preamble, err error) {
	if len(b) != preambleSize || [4]byte(b[:4]) != magic {
		return p, fmt.Errorf("%w: its first bytes are %.32q", errNoPreamble, b)
	}
	p.token = token(b[4:20])
	p.sent, p.received = position(b[20:]), position(b[26:])
	return p, nil
}
