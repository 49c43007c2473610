package resume

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Behind the preamble a connection carries records, each with a head of 2 bytes,
// big-endian:
//
//	0x0001 … 0x7fff  so many bytes of the stream follow
//	0x8000           6 bytes follow: the low 48 bits of the position that the sender has received
//	0x8001           the sender's direction has ended
//	0x8002           the sender has closed the stream; it comes behind 0x8001
//
// A position is one in these bytes, heads and all: so a connection that takes the place of
// another one goes on in the middle of a record.
const (
	recordSize = 0x7fff
	recordAck  = 0x8000
	recordEnd  = 0x8001
	recordBye  = 0x8002

	headSize = 2
	ackSize  = headSize + 6
)

func appendHead(b []byte, head uint16) []byte { return binary.BigEndian.AppendUint16(b, head) }

func appendAck(b []byte, p uint64) []byte { return appendPosition(appendHead(b, recordAck), p) }

// records is the state of reading records.
type records struct {
	left  int // bytes of the present record that are still to come
	head  [ackSize]byte
	have  int // bytes of head
	ended bool
	bye   bool
}

// news is what records said besides bytes.
type news struct {
	acked    bool
	position uint64 // the last one
	end, bye bool
}

var (
	errAfterEnd = errors.New("the other side sends bytes after its end")
	errTwice    = errors.New("the other side ends the stream twice")
	errEarlyBye = errors.New("the other side closes the stream before it ends it")
)

// feed takes what has arrived, moves the bytes of the stream to the front of b, and returns
// how many there are.
func (r *records) feed(b []byte) (n int, w news, err error) {
	for i := 0; i < len(b); {
		if r.left > 0 {
			m := copy(b[n:], b[i:min(i+r.left, len(b))])
			n, i, r.left = n+m, i+m, r.left-m
			continue
		}
		r.head[r.have] = b[i]
		r.have++
		i++
		if r.have < headSize {
			continue
		}
		switch head := binary.BigEndian.Uint16(r.head[:]); {
		case head == recordAck:
			if r.have < ackSize {
				continue
			}
			w.acked, w.position = true, position(r.head[headSize:])
		case head == recordEnd && r.ended, head == recordBye && r.bye:
			return n, w, errTwice
		case head == recordEnd:
			r.ended, w.end = true, true
		case head == recordBye && !r.ended:
			return n, w, errEarlyBye
		case head == recordBye:
			r.bye, w.bye = true, true
		case head == 0 || head > recordSize:
			return n, w, fmt.Errorf("a record begins with %#04x, which means nothing", head)
		case r.ended:
			return n, w, errAfterEnd
		default:
			r.left = int(head)
		}
		r.have = 0
	}
	return n, w, nil
}
