package xfertest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/teleport-go/teleport/core/xfer"
)

// good is a filter as it should be: runs of bytes become a count and a byte,
// followed by four bytes of checksum.
type good struct{}

var errBad = errors.New("bad bytes")

func (good) ID() byte                          { return 250 }
func (good) Name() string                      { return "test filter" }
func (g good) OnPack(b []byte) ([]byte, error) { return g.AppendPack(nil, b) }
func (g good) OnUnpack(b []byte) ([]byte, error) {
	return g.AppendUnpack(nil, b, xfer.DefaultMax)
}

func (good) AppendPack(dst, src []byte) ([]byte, error) {
	rest := src
	for len(rest) > 0 {
		n := 1
		for n < len(rest) && n < 1<<30 && rest[n] == rest[0] {
			n++
		}
		dst = append(binary.AppendUvarint(dst, uint64(n)), rest[0])
		rest = rest[n:]
	}
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(src)), nil
}

func (good) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	end := len(src) - 4
	if end < 0 {
		return dst, errBad
	}
	out := dst
	for rest := src[:end]; len(rest) > 0; {
		n, k := binary.Uvarint(rest)
		if k <= 0 || k == len(rest) {
			return dst, errBad
		}
		if n > uint64(max-(len(out)-len(dst))) {
			return dst, fmt.Errorf("%w: over %d", xfer.ErrTooLarge, max)
		}
		if n == 1 { // of random bytes nearly all
			out = append(out, rest[k])
		} else {
			out = append(out, bytes.Repeat(rest[k:k+1], int(n))...)
		}
		rest = rest[k+1:]
	}
	if crc32.ChecksumIEEE(out[len(dst):]) != binary.BigEndian.Uint32(src[end:]) {
		return dst, errBad
	}
	return out, nil
}

// plain is good, but no Appender.
type plain struct{ good good }

func (plain) ID() byte                            { return 251 }
func (plain) Name() string                        { return "test plain filter" }
func (p plain) OnPack(b []byte) ([]byte, error)   { return p.good.OnPack(b) }
func (p plain) OnUnpack(b []byte) ([]byte, error) { return p.good.OnUnpack(b) }

// none changes nothing and so cannot detect a cut.
type none struct{}

func (none) ID() byte                          { return 252 }
func (none) Name() string                      { return "test no filter" }
func (none) OnPack(b []byte) ([]byte, error)   { return b, nil }
func (none) OnUnpack(b []byte) ([]byte, error) { return b, nil }

func TestMain(m *testing.M) {
	xfer.Register(good{})
	xfer.Register(plain{})
	xfer.Register(none{})
	m.Run()
}

func TestGood(t *testing.T)      { Run(t, good{}, Compresses) }
func TestPlain(t *testing.T)     { Run(t, plain{}) }
func TestCutUnseen(t *testing.T) { Run(t, none{}, CutUnseen) }

// broken is good with one thing wrong.
type broken struct {
	good
	id           func() byte
	onPack       func(b []byte) ([]byte, error)
	onUnpack     func(b []byte) ([]byte, error)
	appendPack   func(dst, src []byte) ([]byte, error)
	appendUnpack func(dst, src []byte, max int) ([]byte, error)
}

func (b *broken) ID() byte {
	if b.id != nil {
		return b.id()
	}
	return b.good.ID()
}

func (b *broken) OnPack(data []byte) ([]byte, error) {
	if b.onPack != nil {
		return b.onPack(data)
	}
	return b.good.OnPack(data)
}

func (b *broken) OnUnpack(data []byte) ([]byte, error) {
	if b.onUnpack != nil {
		return b.onUnpack(data)
	}
	return b.good.OnUnpack(data)
}

func (b *broken) AppendPack(dst, src []byte) ([]byte, error) {
	if b.appendPack != nil {
		return b.appendPack(dst, src)
	}
	return b.good.AppendPack(dst, src)
}

func (b *broken) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	if b.appendUnpack != nil {
		return b.appendUnpack(dst, src, max)
	}
	return b.good.AppendUnpack(dst, src, max)
}

func TestBroken(t *testing.T) {
	var g good
	var static [8 << 10]byte
	var kept []byte
	var busy atomic.Int32
	for _, test := range []struct {
		name   string
		check  string // the check that has to find it
		filter xfer.XferFilter
	}{
		{"id 0", "registered", &broken{id: func() byte { return 0 }}},
		{"id not registered", "registered", &broken{id: func() byte { return 249 }}},
		{"somebody else is registered", "registered", &broken{}},
		{"loses bytes", "round trip", &broken{onUnpack: func(b []byte) ([]byte, error) { return nil, nil }}},
		{"refuses nothing", "round trip", &broken{onPack: func(b []byte) ([]byte, error) {
			if len(b) == 0 {
				return nil, errBad
			}
			return g.OnPack(b)
		}}},
		{"refuses much", "round trip", &broken{onPack: func(b []byte) ([]byte, error) {
			if len(b) > 1<<16 {
				return nil, errBad
			}
			return g.OnPack(b)
		}}},
		{"changes the input", "input neither changed nor kept", &broken{onPack: func(b []byte) ([]byte, error) {
			out, err := g.OnPack(b)
			clear(b)
			return out, err
		}}},
		{"changes the packed input", "input neither changed nor kept", &broken{appendUnpack: func(dst, src []byte, max int) ([]byte, error) {
			out, err := g.AppendUnpack(dst, src, max)
			slices.Reverse(src)
			return out, err
		}}},
		{"keeps the input", "input neither changed nor kept", &broken{
			appendPack:   func(dst, src []byte) ([]byte, error) { return append(dst, src...), nil },
			appendUnpack: func(dst, src []byte, max int) ([]byte, error) { return src, nil },
		}},
		{"one buffer for all results", "result belongs to the caller", &broken{onUnpack: func(b []byte) ([]byte, error) {
			return g.AppendUnpack(static[:0], b, len(static))
		}}},
		{"the result of the call before", "result belongs to the caller", &broken{onPack: func(b []byte) ([]byte, error) {
			out, err := g.AppendPack(kept[:0], b)
			kept = out
			return out, err
		}}},
		{"appends from the start", "append", &broken{appendPack: func(dst, src []byte) ([]byte, error) {
			return g.AppendPack(dst[:0], src)
		}}},
		{"unpacks from the start", "append", &broken{appendUnpack: func(dst, src []byte, max int) ([]byte, error) {
			return g.AppendUnpack(dst[:0], src, max)
		}}},
		{"leaves junk on failure", "failed append", &broken{appendUnpack: func(dst, src []byte, max int) ([]byte, error) {
			if out, err := g.AppendUnpack(dst, src, max); err == nil {
				return out, nil
			}
			return append(dst, "junk"...), errBad
		}}},
		{"does not see a cut", "cut short", &broken{onUnpack: func(b []byte) ([]byte, error) {
			out, err := g.OnUnpack(b)
			if err != nil {
				return []byte("guessed"), nil
			}
			return out, nil
		}}},
		{"panics on a cut", "cut short", &broken{onUnpack: func(b []byte) ([]byte, error) {
			_ = b[len(b)-4:]
			return g.OnUnpack(b)
		}}},
		{"is off by one", "limit", &broken{appendUnpack: func(dst, src []byte, max int) ([]byte, error) {
			if max > 0 {
				max--
			}
			return g.AppendUnpack(dst, src, max)
		}}},
		{"another error at the limit", "limit", &broken{appendUnpack: func(dst, src []byte, max int) ([]byte, error) {
			out, err := g.AppendUnpack(dst, src, max)
			if err != nil {
				err = errBad
			}
			return out, err
		}}},
		{"ignores the limit", "bomb", &broken{appendUnpack: func(dst, src []byte, max int) ([]byte, error) {
			return g.AppendUnpack(dst, src, xfer.DefaultMax)
		}}},
		{"unpacks, then looks at the limit", "bomb", &broken{appendUnpack: func(dst, src []byte, max int) ([]byte, error) {
			out, err := g.AppendUnpack(dst, src, xfer.DefaultMax)
			if err == nil && len(out)-len(dst) > max {
				return dst, xfer.ErrTooLarge
			}
			return out, err
		}}},
		{"compresses and is no Appender", "bomb", plain{}},
		{"does not compress", "bomb", &broken{onPack: func(b []byte) ([]byte, error) { return b, nil }}},
		{"id leads nowhere", "pipe of two", &broken{id: func() byte { return 249 }}},
		{"is for one goroutine only", "concurrent use", &broken{onPack: func(b []byte) ([]byte, error) {
			n := busy.Add(1)
			defer busy.Add(-1)
			runtime.Gosched()
			if n > 1 {
				return nil, errBad
			}
			return g.OnPack(b)
		}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := slices.IndexFunc(checks, func(c check) bool { return c.name == test.check })
			if i < 0 {
				t.Fatalf("there is no check %q", test.check)
			}
			err := checks[i].make(test.filter, Compresses)
			if err == nil {
				t.Errorf("the check %q finds nothing wrong", test.check)
			}
			t.Log(err)
		})
	}
	t.Run("pipe of two", func(t *testing.T) {
		// good, that packs its own output wrongly
		f := &broken{id: func() byte { return 248 }, appendPack: func(dst, src []byte) ([]byte, error) {
			if bytes.HasPrefix(src, []byte("\x01")) {
				src = append([]byte("\x02"), src[1:]...)
			}
			return g.AppendPack(dst, src)
		}}
		xfer.Replace(f)
		t.Cleanup(func() { xfer.Replace(good{}) })
		if err := pipeOfTwo(subject{XferFilter: f, appender: f}); err == nil {
			t.Error("the check finds nothing wrong")
		}
	})
}
