package xfer

import "github.com/teleport-go/teleport/core/internal/bufpool"

// Prefixer is an XferFilter that can unpack the beginning of its input alone: of bytes
// that are still arriving, or of which the first few are enough, such as those by which
// a protocol is recognised. What that takes does not grow with the size of the whole.
type Prefixer interface {
	XferFilter
	// AppendPrefix appends to dst the first bytes that src unpacks to, at most max of
	// them, and returns the extended buffer. src may be cut short anywhere, which makes
	// the result shorter, down to no bytes; of a whole src it is at least one byte if
	// there is one. No checksum is compared. If src was not packed by such a filter it
	// may fail; then it returns dst, unchanged in length. src and dst do not overlap;
	// neither is retained.
	AppendPrefix(dst, src []byte, max int) ([]byte, error)
}

// stagePrefix is the largest output, in bytes, of a filter that is not the last one of
// AppendPrefix: some filters unpack blocks of up to 128 KiB.
const stagePrefix = 144 << 10

// AppendPrefix unpacks the beginning of src through the filters from the first one to
// the last one, and appends at most max bytes of it to dst; see Prefixer. If a filter is no
// Prefixer the error wraps ErrUnsupported. If it fails it returns dst, unchanged in
// length. src and dst do not overlap; src is neither modified nor retained.
func (x *XferPipe) AppendPrefix(dst, src []byte, max int) ([]byte, error) {
	if max < 0 {
		max = 0
	}
	s := stages{cur: src}
	defer s.free()
	for i, f := range x.filters {
		p, ok := f.(Prefixer)
		if !ok {
			return dst, stageError("unpack the beginning", f, ErrUnsupported)
		}
		if i == len(x.filters)-1 {
			out, err := p.AppendPrefix(dst, s.cur, max)
			if err != nil {
				return dst, stageError("unpack the beginning", f, err)
			}
			return out, nil
		}
		out, err := p.AppendPrefix(bufpool.Get(stagePrefix), s.cur, stagePrefix)
		if err != nil {
			return dst, stageError("unpack the beginning", f, err)
		}
		s.next(out, true)
	}
	return append(dst, s.cur[:min(max, len(s.cur))]...), nil
}

// Prefixes reports whether all filters are Prefixers.
func (x *XferPipe) Prefixes() bool {
	for _, f := range x.filters {
		if _, ok := f.(Prefixer); !ok {
			return false
		}
	}
	return true
}
