package socket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Reserved metadata keys.
const (
	// MetaRealIP is the address of the first sender, set by a proxy. Any peer can set
	// it: trust it only from your own proxy.
	MetaRealIP = "X-Real-IP"
	// MetaAcceptBodyCodec asks for a reply in this body codec: a decimal codec id.
	MetaAcceptBodyCodec = "X-Accept-Body-Codec"
	// MetaReplyError is the error of a reply: the JSON of a [Rerror].
	MetaReplyError = "X-Reply-Error"
	// MetaTimeout is the time left for a call when it is sent: whole milliseconds,
	// rounded up. Only a call whose context has a deadline carries it.
	MetaTimeout = "X-Timeout"
	// MetaHops is how many proxies have forwarded a CALL or PUSH: a decimal number.
	MetaHops = "X-Hops"
	// MetaNotRun is in the reply to a CALL that the peer's engine has refused because it
	// drains (102) or is busy (503): the handler has not run. Its value does not matter.
	MetaNotRun = "X-Not-Run"
	// MetaBye makes a REPLY of the number 0, which answers no CALL, the goodbye of its
	// sender, where CONTROL is not carried: its value is the goodbye's parameter n.
	MetaBye = "X-Bye"
	// MetaStream makes a CALL the beginning of a stream: its value is how many bytes the
	// sender is ready to receive, a decimal number. In the REPLY, which ends the stream, it
	// is how many messages were sent.
	MetaStream = "X-Stream"
)

// ErrNoMeta is wrapped by the getters of numbers when the key is absent.
var ErrNoMeta = errors.New("no such key")

// A Meta is the metadata of a message: key=value pairs in the order in which
// they were added; a key may occur many times. Keys are case-sensitive; keys and
// values are any bytes, and may be empty.
//
// On the wire it is a query string: A-Z a-z 0-9 * - . _ as they are, any other
// byte as %XX, and no "=" where the value is empty (but "=" alone for an empty
// key with an empty value).
//
// The zero value is empty and ready. A Meta copies its arguments. A []byte that it
// returns is a part of it: it is valid until the next change, must not be written,
// and may be an argument of its methods. A Meta must not be copied (see
// [Meta.CopyTo]), hold 4 GiB, nor be used concurrently; while it does not change, all
// methods that only read may run concurrently, except QueryString and WriteTo.
type Meta struct {
	pairs []metaPair
	// All bytes in order, key0 value0 key1 value1 …, without a gap: one block to
	// reuse, and a pair costs no memory of its own.
	buf []byte
	out []byte // scratch of QueryString and WriteTo
}

// metaPair is where a key and its value end in the block. The key begins where
// the pair before ends. A peer may send pairs of two bytes each, so they are small.
type metaPair struct{ mid, end uint32 }

// metaKeep is how much memory Reset keeps, in bytes, for each of a Meta's blocks:
// one large message must not cost its size for as long as the Meta lives.
const metaKeep = 64 << 10

// metaText is the type of a key, a value or a query string.
type metaText interface{ string | []byte }

var metaPool = sync.Pool{New: func() any { return new(Meta) }}

// AcquireMeta returns an empty Meta from a pool. It may be called concurrently.
func AcquireMeta() *Meta { return metaPool.Get().(*Meta) }

// ReleaseMeta puts m back into the pool: neither m nor anything it has returned may be
// used afterwards. Nil is ignored. It may be called concurrently.
func ReleaseMeta(m *Meta) {
	if m == nil {
		return
	}
	m.Reset()
	metaPool.Put(m)
}

// Add appends a pair, also when the key is present already.
func (m *Meta) Add(k, v string) { metaAdd(m, k, v) }

// AddBytesK is [Meta.Add].
func (m *Meta) AddBytesK(k []byte, v string) { metaAdd(m, k, v) }

// AddBytesV is [Meta.Add].
func (m *Meta) AddBytesV(k string, v []byte) { metaAdd(m, k, v) }

// AddBytesKV is [Meta.Add].
func (m *Meta) AddBytesKV(k, v []byte) { metaAdd(m, k, v) }

// Set gives the first pair of this key a new value, where it stands; further
// pairs of the key stay as they are. An absent key is added at the end.
func (m *Meta) Set(k, v string) { metaSet(m, k, v) }

// SetBytesK is [Meta.Set].
func (m *Meta) SetBytesK(k []byte, v string) { metaSet(m, k, v) }

// SetBytesV is [Meta.Set].
func (m *Meta) SetBytesV(k string, v []byte) { metaSet(m, k, v) }

// SetBytesKV is [Meta.Set].
func (m *Meta) SetBytesKV(k, v []byte) { metaSet(m, k, v) }

// SetUint is [Meta.Set] with v as decimal text. A negative v is written with its
// sign, and GetUint refuses it.
func (m *Meta) SetUint(k string, v int) {
	var text [20]byte
	metaSet(m, k, strconv.AppendInt(text[:0], int64(v), 10))
}

// Del removes all pairs of this key.
func (m *Meta) Del(k string) { metaDel(m, k) }

// DelBytes is [Meta.Del].
func (m *Meta) DelBytes(k []byte) { metaDel(m, k) }

// Peek returns the first value of this key: nil if the key is absent, not nil but
// empty if the value is.
func (m *Meta) Peek(k string) []byte { return metaPeek(m, k) }

// PeekBytes is [Meta.Peek].
func (m *Meta) PeekBytes(k []byte) []byte { return metaPeek(m, k) }

// PeekMulti returns all values of this key in order, nil if it is absent.
func (m *Meta) PeekMulti(k string) [][]byte { return metaPeekMulti(m, k) }

// PeekMultiBytes is [Meta.PeekMulti].
func (m *Meta) PeekMultiBytes(k []byte) [][]byte { return metaPeekMulti(m, k) }

// Has reports whether the key is present.
func (m *Meta) Has(k string) bool { return metaFind(m, k) >= 0 }

// HasBytes is [Meta.Has].
func (m *Meta) HasBytes(k []byte) bool { return metaFind(m, k) >= 0 }

// GetUint returns the first value of this key as a number: decimal digits alone,
// within int. The error wraps [ErrNoMeta], strconv.ErrSyntax or strconv.ErrRange.
func (m *Meta) GetUint(k string) (int, error) {
	v := m.Peek(k)
	if v == nil {
		return 0, fmt.Errorf("socket: meta %q: %w", k, ErrNoMeta)
	}
	n, err := strconv.ParseUint(string(v), 10, strconv.IntSize-1)
	if err != nil {
		return 0, metaNumError(k, err)
	}
	return int(n), nil
}

// GetUintOrZero is [Meta.GetUint], with 0 for an error.
func (m *Meta) GetUintOrZero(k string) int {
	n, err := m.GetUint(k)
	if err != nil {
		return 0
	}
	return n
}

// GetUfloat returns the first value of this key as a finite number in decimal
// notation, without a sign. The errors are those of GetUint.
func (m *Meta) GetUfloat(k string) (float64, error) {
	v := m.Peek(k)
	if v == nil {
		return 0, fmt.Errorf("socket: meta %q: %w", k, ErrNoMeta)
	}
	// A sign, a word such as "inf", a hexadecimal number: no decimal one.
	if len(v) == 0 || v[0] != '.' && (v[0] < '0' || v[0] > '9') || bytes.ContainsAny(v, "xX_") {
		return 0, metaNumError(k, strconv.ErrSyntax)
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return 0, metaNumError(k, err)
	}
	return f, nil
}

// GetUfloatOrZero is [Meta.GetUfloat], with 0 for an error.
func (m *Meta) GetUfloatOrZero(k string) float64 {
	f, err := m.GetUfloat(k)
	if err != nil {
		return 0
	}
	return f
}

// metaNumError omits the text that is no number: it came from outside and may be
// long.
func metaNumError(k string, err error) error {
	if ne, ok := err.(*strconv.NumError); ok {
		err = ne.Err
	}
	return fmt.Errorf("socket: meta %q: %w", k, err)
}

// GetBool reports whether the first value of this key is 1, t, true, y, yes or on,
// in any letter case. All else, and an absent key, is false.
func (m *Meta) GetBool(k string) bool {
	v := m.Peek(k)
	if len(v) > len("true") {
		return false
	}
	switch strings.ToLower(string(v)) {
	case "1", "t", "true", "y", "yes", "on":
		return true
	}
	return false
}

// VisitAll calls f for each pair in order. f must not change m.
func (m *Meta) VisitAll(f func(k, v []byte)) {
	for i := range m.pairs {
		f(m.key(i), m.value(i))
	}
}

// All returns the pairs in order. The loop must not change m.
func (m *Meta) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for i := range m.pairs {
			if !yield(m.key(i), m.value(i)) {
				return
			}
		}
	}
}

// Len returns the number of pairs.
func (m *Meta) Len() int { return len(m.pairs) }

// Reset removes all pairs. It keeps the memory for the next ones, up to 64 KiB
// each for bytes and pairs.
func (m *Meta) Reset() {
	const pairSize = 8
	m.buf, m.pairs, m.out = m.buf[:0], m.pairs[:0], m.out[:0]
	if cap(m.buf) > metaKeep {
		m.buf = nil
	}
	if cap(m.pairs) > metaKeep/pairSize {
		m.pairs = nil
	}
	if cap(m.out) > metaKeep {
		m.out = nil
	}
}

// CopyTo makes dst equal to m; the previous pairs of dst are removed.
func (m *Meta) CopyTo(dst *Meta) {
	dst.buf = append(dst.buf[:0], m.buf...)
	dst.pairs = append(dst.pairs[:0], m.pairs...)
}

// Parse replaces all pairs by those of a query string. Any string is one: "+" is
// a space, a "%" that no two hexadecimal digits follow is itself, the first "="
// ends the key, nothing between two "&" is no pair.
func (m *Meta) Parse(s string) { metaParse(m, s) }

// ParseBytes is [Meta.Parse]. It copies: m keeps nothing of b.
func (m *Meta) ParseBytes(b []byte) { metaParse(m, b) }

// QueryString returns the wire form, in memory of m: it is valid until the next
// change, QueryString or WriteTo. See AppendBytes for memory of your own.
func (m *Meta) QueryString() []byte {
	m.out = m.AppendBytes(m.out[:0])
	return m.out
}

// String returns the wire form.
func (m *Meta) String() string {
	var short [256]byte
	return string(m.AppendBytes(short[:0]))
}

// WriteTo writes the wire form to w in one Write. The error is the writer's.
func (m *Meta) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(m.QueryString())
	return int64(n), err
}

// EncodedLen returns the length of the wire form, in bytes.
func (m *Meta) EncodedLen() int {
	n := max(len(m.pairs)-1, 0)
	for i, p := range m.pairs {
		if p.mid < p.end || int(p.end) == m.start(i) {
			n++ // "="
		}
	}
	for _, c := range m.buf {
		n += int(metaCost[c])
	}
	return n
}

// AppendBytes appends the wire form to dst, which must not be memory of m.
func (m *Meta) AppendBytes(dst []byte) []byte {
	dst = slices.Grow(dst, m.EncodedLen())
	for i, p := range m.pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		start := m.start(i)
		dst = metaEscape(dst, m.buf[start:p.mid])
		// An empty pair is "=", or it would be lost.
		if p.mid < p.end || int(p.end) == start {
			dst = append(dst, '=')
			dst = metaEscape(dst, m.buf[p.mid:p.end])
		}
	}
	return dst
}

// start is where pair i begins in the block.
func (m *Meta) start(i int) int {
	if i == 0 {
		return 0
	}
	return int(m.pairs[i-1].end)
}

func (m *Meta) key(i int) []byte   { return m.part(m.start(i), int(m.pairs[i].mid)) }
func (m *Meta) value(i int) []byte { return m.part(int(m.pairs[i].mid), int(m.pairs[i].end)) }

// part returns a part of the block, without room to append in place.
func (m *Meta) part(from, to int) []byte {
	if from == to {
		return []byte{} // not nil, also while there is no block
	}
	return m.buf[from:to:to]
}

// metaFind returns the index of the first pair of this key, or -1.
func metaFind[K metaText](m *Meta, k K) int {
	start := uint32(0)
	for i, p := range m.pairs {
		if string(m.buf[start:p.mid]) == string(k) {
			return i
		}
		start = p.end
	}
	return -1
}

func metaPeek[K metaText](m *Meta, k K) []byte {
	i := metaFind(m, k)
	if i < 0 {
		return nil
	}
	return m.value(i)
}

func metaPeekMulti[K metaText](m *Meta, k K) (values [][]byte) {
	for i := range m.pairs {
		if string(m.key(i)) == string(k) {
			values = append(values, m.value(i))
		}
	}
	return values
}

func metaAdd[K, V metaText](m *Meta, k K, v V) {
	m.buf = append(m.buf, k...)
	mid := len(m.buf)
	m.buf = append(m.buf, v...)
	m.pairs = append(m.pairs, metaPair{uint32(mid), uint32(len(m.buf))})
}

func metaSet[K, V metaText](m *Meta, k K, v V) {
	i := metaFind(m, k)
	if i < 0 {
		metaAdd(m, k, v)
		return
	}
	mid, end, size := int(m.pairs[i].mid), int(m.pairs[i].end), len(m.buf)
	longer := len(v) - (end - mid)

	// v may be a part of the block, which is about to move: first save it behind
	// the place that the block will need.
	saved := size + max(longer, 0)
	m.buf = slices.Grow(m.buf, saved+len(v)-size)[:saved+len(v)]
	copy(m.buf[saved:], v)
	copy(m.buf[end+longer:], m.buf[end:size])
	copy(m.buf[mid:], m.buf[saved:])
	m.buf = m.buf[:size+longer]
	for j := i; j < len(m.pairs); j++ {
		m.pairs[j].end += uint32(longer) // which may be below 0: it wraps
		if j > i {
			m.pairs[j].mid += uint32(longer)
		}
	}
}

func metaDel[K metaText](m *Meta, k K) {
	// k may be a part of the block, so all comparing comes before all moving.
	const doomed = math.MaxUint32
	start, found := uint32(0), false
	for i, p := range m.pairs {
		if string(m.buf[start:p.mid]) == string(k) {
			m.pairs[i].mid, found = doomed, true
		}
		start = p.end
	}
	if !found {
		return
	}
	pairs, size := m.pairs[:0], uint32(0)
	start = 0
	for _, p := range m.pairs {
		if p.mid != doomed {
			n := uint32(copy(m.buf[size:], m.buf[start:p.end]))
			pairs = append(pairs, metaPair{size + p.mid - start, size + n})
			size += n
		}
		start = p.end
	}
	m.pairs, m.buf = pairs, m.buf[:size]
}
