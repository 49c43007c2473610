// Package rawlane reads and writes the frames of a lane by hand, as a guest without
// Teleport's packages does: see CONTRACT.md. It is for tests, which break the rules.
package rawlane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Types of messages.
const (
	Call    byte = 1
	Reply   byte = 2
	Push    byte = 3
	Control byte = 6
)

// Frame is a message of a lane.
type Frame struct {
	Seq   string // base 36
	Type  byte
	Route string
	Meta  string // a query string
	Body  []byte
}

// MaxFrame is the size of the largest frame that Read reads, in bytes.
const MaxFrame = 65 << 20

var errShort = errors.New("rawlane: the frame ends before its fields do")

// Read reads a frame.
func Read(r io.Reader) (Frame, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return Frame{}, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > MaxFrame {
		return Frame{}, fmt.Errorf("rawlane: frame of %d bytes", n)
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(n)-4)) // grows with what arrives
	if err != nil {
		return Frame{}, err
	}
	if len(b) < int(n)-4 {
		return Frame{}, io.ErrUnexpectedEOF
	}
	return parse(b)
}

// parse reads a frame without its size.
func parse(b []byte) (f Frame, err error) {
	take := func(n int) []byte {
		if n > len(b) {
			err = errShort
			b = nil
			return make([]byte, n)
		}
		part := b[:n]
		b = b[n:]
		return part
	}
	if head := take(2); err == nil && (head[0] != 'r' || head[1] != 0) {
		return f, fmt.Errorf("rawlane: version %q and %d filters; want 'r' and 0", head[0], head[1])
	}
	f.Seq = string(take(int(take(1)[0])))
	f.Type = take(1)[0]
	f.Route = string(take(int(take(1)[0])))
	f.Meta = string(take(int(binary.BigEndian.Uint16(take(2)))))
	take(1) // codec
	f.Body = b
	return f, err
}

// Append appends the frame to b.
func (f Frame) Append(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 'r', 0, byte(len(f.Seq)))
	b = append(append(b, f.Seq...), f.Type, byte(len(f.Route)))
	b = binary.BigEndian.AppendUint16(append(b, f.Route...), uint16(len(f.Meta)))
	b = append(append(append(b, f.Meta...), 0), f.Body...)
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}
