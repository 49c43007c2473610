package socket

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/teleport-go/teleport/core/xfer"
)

const (
	// recogniseMax is the largest number of bytes by which a protocol is recognised.
	recogniseMax = 1 << 20
	// firstBytes is how many bytes of a first payload FirstPayload returns at most.
	firstBytes = 4 << 10
	// firstPacked is how many bytes of a packed payload are required for them, if its
	// filters can unpack a beginning: a block of zstd and the headers around it.
	firstPacked = 144 << 10
	// firstChecked is the largest payload, in bytes, that such filters unpack and check as
	// a whole.
	firstChecked = 64 << 10
)

// FirstPayload is for the Recognise of protocols whose frames name the filters of
// their payload. The first frame has size bytes, of which prefix has arrived; the
// filters' ids are prefix[from:to], and the payload is what follows. The result is
// the beginning of the payload as it was before the filters, at most 4 KiB. It is
// valid, and must not be changed, while Recognise runs.
//
// A payload of up to 64 KiB is unpacked, and checked, as a whole, and of a larger one the
// beginning. Filters that are no [xfer.Prefixer] must unpack all of it: at most 1 MiB, and
// the limit of the connection, which is 64 KiB until its PostAccept hooks have run. If prefix
// is what AnyProto has passed to Recognise, all Recognise functions of the connection
// share one unpacking.
//
// need is the number of bytes required; 0: all have arrived. An error that wraps
// ErrUnsupported of package xfer, or ErrSizeLimit for a frame above 1 MiB, means
// that the payload cannot be known; any other, that this is no such frame. AnyProto
// refuses a connection whose first payload is over the limit, if no protocol takes it.
func FirstPayload(prefix []byte, from, to, size int) (payload []byte, need int, err error) {
	switch {
	case from > to || to > size:
		return nil, 0, fmt.Errorf("socket: filters in bytes %d to %d of a frame of %d: %w", from, to, size, io.ErrUnexpectedEOF)
	case len(prefix) < to:
		return nil, to, nil
	}
	var pipe xfer.XferPipe
	if err := pipe.Append(prefix[from:to]...); err != nil {
		return nil, 0, err
	}
	need = size
	if pipe.Prefixes() {
		need = min(size, to+firstPacked)
	}
	switch {
	case size > recogniseMax:
		return nil, 0, fmt.Errorf("socket: first frame of %d bytes: %w", size, ErrSizeLimit)
	case len(prefix) < need:
		return nil, need, nil
	}
	key := firstKey{from, to, size}
	f := firstFrameOf(prefix)
	if p, ok := f.payloads[key]; ok {
		return p.beginning, 0, p.err
	}
	if pipe.Prefixes() {
		payload, err = f.unpackBeginning(&pipe, prefix[to:need], need == size)
	} else {
		payload, err = f.unpack(&pipe, prefix[to:size])
	}
	f.payloads[key] = firstPayload{payload, err}
	return payload, 0, err
}

// firstFrame is what AnyProto knows of the first frame of a connection: the Recognise
// functions of all its protocols look at the same bytes.
type firstFrame struct {
	limit    int    // bytes of a payload that is unpacked as a whole
	keeper   Keeper // of the connection; may be nil
	payloads map[firstKey]firstPayload
	over     error // why the connection is refused if no protocol takes the frame; nil: nothing is over a limit
}

// firstKey is where filters and payload of the frame are, as a protocol reads it.
type firstKey struct{ from, to, size int }

type firstPayload struct {
	beginning []byte
	err       error
}

// firstFrames are the frames being recognised, by the memory that holds them: a
// Recognise has nothing else by which FirstPayload knows the connection.
var firstFrames sync.Map // *byte: *firstFrame

func newFirstFrame(limit uint32, keeper Keeper) *firstFrame {
	return &firstFrame{
		limit: int(min(limit, recogniseMax)), keeper: keeper, payloads: make(map[firstKey]firstPayload),
	}
}

// firstFrameOf returns the frame whose first bytes prefix is, or a new one if no
// AnyProto recognises it.
func firstFrameOf(prefix []byte) *firstFrame {
	if len(prefix) > 0 {
		if f, ok := firstFrames.Load(&prefix[0]); ok {
			return f.(*firstFrame)
		}
	}
	return newFirstFrame(recogniseMax, nil)
}

// recognise calls the Recognise of a protocol with the bytes that have arrived, which
// are not empty.
func (f *firstFrame) recognise(p *Protocol, prefix []byte) (match bool, need int) {
	firstFrames.Store(&prefix[0], f)
	defer firstFrames.Delete(&prefix[0])
	return p.Recognise(prefix)
}

// unpackBeginning returns the first bytes of a payload whose filters are Prefixers.
func (f *firstFrame) unpackBeginning(pipe *xfer.XferPipe, packed []byte, whole bool) ([]byte, error) {
	if whole {
		payload, err := pipe.AppendUnpack(nil, packed, min(f.limit, firstChecked))
		if !errors.Is(err, xfer.ErrTooLarge) {
			return beginning(payload), err
		}
	}
	return pipe.AppendPrefix(nil, packed, firstBytes)
}

// unpack returns the first bytes of a payload that is unpacked as a whole.
func (f *firstFrame) unpack(pipe *xfer.XferPipe, packed []byte) ([]byte, error) {
	if f.keeper != nil {
		if err := f.keeper.Keep(f.limit); err != nil {
			f.over = err
			return nil, err
		}
		defer f.keeper.Keep(0)
	}
	payload, err := pipe.AppendUnpack(nil, packed, f.limit)
	if errors.Is(err, xfer.ErrTooLarge) {
		f.over = fmt.Errorf("socket: the payload of the first frame, %d bytes behind filters, is too large to recognise a protocol by it: %w: %w", len(packed), err, ErrSizeLimit)
	}
	return beginning(payload), err
}

// beginning returns the first bytes of b in memory that has no more than them.
func beginning(b []byte) []byte {
	if len(b) > firstBytes {
		return append([]byte(nil), b[:firstBytes]...)
	}
	return b
}
