package xfer

import (
	"fmt"
	"math"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

// maxLen is how many filters a pipe can have on the wire.
const maxLen = math.MaxUint8

// XferPipe is a sequence of filters, from the outermost to the innermost: packing
// applies the last one first, unpacking the first one first. The zero value is an
// empty pipe, which leaves bytes as they are. The methods that modify a pipe must not
// be called concurrently with others; a pipe must not be copied.
type XferPipe struct {
	filters []XferFilter
	memo    *Memo // nil: it remembers nothing
}

// NewXferPipe returns an empty pipe.
func NewXferPipe() *XferPipe { return new(XferPipe) }

// Append appends the filters with these ids, or none of them: if one is not registered
// the error is that of Get, if the pipe would have more than 255 it is
// ErrXferPipeTooLong.
func (x *XferPipe) Append(filterID ...byte) error {
	if len(x.filters)+len(filterID) > maxLen {
		return ErrXferPipeTooLong
	}
	filters := x.filters
	for _, id := range filterID {
		f, err := Get(id)
		if err != nil {
			return err
		}
		filters = append(filters, f)
	}
	x.filters = filters
	return nil
}

// AppendFrom appends the filters of src, which may be nil. If the pipe then has more
// than 255 filters, packing fails with ErrXferPipeTooLong.
func (x *XferPipe) AppendFrom(src *XferPipe) {
	if src != nil {
		x.filters = append(x.filters, src.filters...)
	}
}

// Remember lets AppendPack look into m first, until Reset; nil ends that.
func (x *XferPipe) Remember(m *Memo) { x.memo = m }

// IDs returns a new slice with the ids of the filters, in order.
func (x *XferPipe) IDs() []byte {
	return x.AppendIDs(make([]byte, 0, len(x.filters)))
}

// AppendIDs appends the ids of the filters to dst.
func (x *XferPipe) AppendIDs(dst []byte) []byte {
	for _, f := range x.filters {
		dst = append(dst, f.ID())
	}
	return dst
}

// Len returns the number of filters.
func (x *XferPipe) Len() int { return len(x.filters) }

// Names returns a new slice with the names of the filters, in order.
func (x *XferPipe) Names() []string {
	names := make([]string, len(x.filters))
	for i, f := range x.filters {
		names[i] = f.Name()
	}
	return names
}

// Range calls callback for each filter in order, until it returns false.
func (x *XferPipe) Range(callback func(idx int, filter XferFilter) bool) {
	for i, f := range x.filters {
		if !callback(i, f) {
			return
		}
	}
}

// Remote reports whether a filter of the pipe is a Remote one.
func (x *XferPipe) Remote() bool {
	for _, f := range x.filters {
		if r, ok := f.(Remote); ok && r.Remote() {
			return true
		}
	}
	return false
}

// Reset empties the pipe.
func (x *XferPipe) Reset() { x.filters, x.memo = x.filters[:0], nil }

// OnPack packs data through the filters from the last one to the first one. An
// empty pipe returns data itself, any other a new slice.
func (x *XferPipe) OnPack(data []byte) ([]byte, error) {
	if len(x.filters) == 0 {
		return data, nil
	}
	return x.AppendPack(nil, data)
}

// OnUnpack reverses OnPack, from the first filter to the last one, with DefaultMax as
// the limit of AppendUnpack. An empty pipe returns data itself, any
// other a new slice.
func (x *XferPipe) OnUnpack(data []byte) ([]byte, error) {
	if len(x.filters) == 0 {
		return data, nil
	}
	return x.AppendUnpack(nil, data, DefaultMax)
}

// AppendPack packs src through the filters, from the last one to the first one,
// and appends the result to dst. If it fails it returns dst, unchanged in length.
// src and dst do not overlap; src is neither modified nor retained.
func (x *XferPipe) AppendPack(dst, src []byte) ([]byte, error) {
	if x.memo == nil || len(x.filters) == 0 {
		return x.pack(dst, src)
	}
	var buf [8]byte
	ids := x.AppendIDs(buf[:0])
	if result := x.memo.find(ids, src); result != nil {
		return append(dst, result...), nil
	}
	out, err := x.pack(dst, src)
	if err == nil {
		x.memo.add(ids, src, out[len(dst):])
	}
	return out, err
}

func (x *XferPipe) pack(dst, src []byte) ([]byte, error) {
	if len(x.filters) > maxLen {
		return dst, ErrXferPipeTooLong
	}
	s := stages{cur: src}
	defer s.free()
	for i := len(x.filters) - 1; i >= 0; i-- {
		f := x.filters[i]
		for i > 0 {
			joined, ok := join(x.filters[i-1], f)
			if !ok {
				break
			}
			f = joined
			i--
		}
		a, ok := f.(Appender)
		if ok && i == 0 {
			out, err := a.AppendPack(dst, s.cur)
			if err != nil {
				return dst, stageError("pack", f, err)
			}
			return out, nil
		}
		var out []byte
		var err error
		if ok {
			out, err = a.AppendPack(s.buffer(), s.cur)
		} else {
			out, err = f.OnPack(s.cur)
		}
		if err != nil {
			return dst, stageError("pack", f, err)
		}
		s.next(out, ok)
	}
	return append(dst, s.cur...), nil
}

// AppendUnpack reverses AppendPack: it unpacks src through the filters from the first
// one to the last one, and appends the result to dst. If the output of one filter is
// larger than max bytes, or that of all filters together larger than 4×max, the error
// wraps ErrTooLarge; a negative max counts as 0, and filters that are joined count as one
// in the sum. If it fails it returns dst, unchanged in length. src and dst do not overlap;
// src is neither modified nor retained.
func (x *XferPipe) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	if len(x.filters) > maxLen {
		return dst, ErrXferPipeTooLong
	}
	if max < 0 {
		max = 0
	}
	left := total(max)
	s := stages{cur: src}
	defer s.free()
	for i := 0; i < len(x.filters); i++ {
		f := x.filters[i]
		for i+1 < len(x.filters) {
			joined, ok := join(f, x.filters[i+1])
			if !ok {
				break
			}
			f = joined
			i++
		}
		limit := int(min(int64(max), left))
		a, ok := f.(Appender)
		if ok && i == len(x.filters)-1 {
			out, err := a.AppendUnpack(dst, s.cur, limit)
			if err == nil {
				err = check(len(out)-len(dst), limit)
			}
			if err != nil {
				return dst, stageError("unpack", f, err)
			}
			return out, nil
		}
		var out []byte
		var err error
		if ok {
			out, err = a.AppendUnpack(s.buffer(), s.cur, limit)
		} else {
			out, err = f.OnUnpack(s.cur)
		}
		if err == nil {
			err = check(len(out), limit)
		}
		if err != nil {
			return dst, stageError("unpack", f, err)
		}
		s.next(out, ok)
		left -= int64(len(out))
	}
	return append(dst, s.cur...), nil
}

// total returns the limit on the output of all filters together.
func total(max int) int64 {
	if int64(max) > math.MaxInt64/4 {
		return math.MaxInt64
	}
	return 4 * int64(max)
}

func check(n, limit int) error {
	if n > limit {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, n, limit)
	}
	return nil
}

func stageError(what string, f XferFilter, err error) error {
	return fmt.Errorf("xfer: %s with filter %s (id %d): %w", what, f.Name(), f.ID(), err)
}

// stages holds the bytes between two filters of a pipe.
type stages struct {
	cur []byte // input of the next filter
	own []byte // pooled buffer that cur may be part of; nil if there is none
}

// wholeUpTo is the largest input for whose output there is room for as much: most filters
// make much less of a large one, and those that compress grow the buffer themselves.
const wholeUpTo = 1 << 20

// buffer returns an empty buffer for the next output.
func (s *stages) buffer() []byte {
	n := len(s.cur)
	if n > wholeUpTo {
		n /= 4
	}
	return bufpool.Get(n + 64)
}

// next makes out the input of the next filter; appended reports that it is the buffer
// of an Appender. Other filters may return a part of their input, so own is released
// only after an Appender, which retains nothing, has read from it.
func (s *stages) next(out []byte, appended bool) {
	s.cur = out
	if appended {
		s.free()
		s.own = out
	}
}

func (s *stages) free() {
	if s.own != nil {
		bufpool.Put(s.own)
		s.own = nil
	}
}
