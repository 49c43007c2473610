package xfertest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"

	"github.com/teleport-go/teleport/core/internal/suite"
	"github.com/teleport-go/teleport/core/xfer"
)

var checks = []check{
	{"registered", registered},
	{"round trip", roundTrip},
	{"input neither changed nor kept", inputLeft},
	{"result belongs to the caller", resultOwned},
	{"append", appends},
	{"failed append", failedAppend},
	{"cut short", cutShort},
	{"limit", limit},
	{"bomb", bomb},
	{"beginning", beginning},
	{"pipe of two", pipeOfTwo},
	{"concurrent use", concurrent},
}

// sample is bytes to pack.
type sample struct {
	name string
	data []byte
}

// small samples are for checks that run many times.
func small() []sample {
	return []sample{
		{"nothing", nil},
		{"one byte", []byte{0}},
		{"text", []byte(strings.Repeat("a call, a reply, a push; ", 9))},
		{"300 random bytes", random(300)},
	}
}

// large samples are for checks that run once.
func large() []sample {
	return []sample{
		{"64 KiB and a byte", random(64<<10 + 1)},
		{"1 MiB of zeros", make([]byte, 1<<20)},
		{"1 MiB of text", bytes.Repeat([]byte("sixteen letters "), 1<<16)},
		{"1 MiB random", random(1 << 20)},
	}
}

func samples() []sample { return append(small(), large()...) }

// random returns the same bytes each time.
func random(n int) []byte {
	var seed [32]byte
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b)
	return b
}

// same returns an error that quotes the start of both if they differ.
func same(what string, got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s: got %d bytes %.40q; want %d bytes %.40q", what, len(got), got, len(want), want)
	}
	return nil
}

// pack returns a copy of the packed data.
func (s subject) pack(data []byte) ([]byte, error) {
	packed, err := s.OnPack(data)
	if err != nil {
		return nil, fmt.Errorf("OnPack of %d bytes: %w", len(data), err)
	}
	return slices.Clone(packed), nil
}

// packSample is pack with the name of the sample in the error.
func (s subject) packSample(sample sample) ([]byte, error) {
	packed, err := s.pack(sample.data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sample.name, err)
	}
	return packed, nil
}

// unpacks returns an error unless packed unpacks to want.
func (s subject) unpacks(packed, want []byte) error {
	got, err := s.OnUnpack(packed)
	if err != nil {
		return fmt.Errorf("OnUnpack of %d bytes: %w", len(packed), err)
	}
	return same("OnUnpack", got, want)
}

// registered: the filter is registered with its id and its name.
func registered(s subject) error {
	return suite.Registered(s.XferFilter, xfer.Get, xfer.GetByName)
}

// roundTrip: packed bytes unpack to what was packed.
func roundTrip(s subject) error {
	for _, sample := range samples() {
		packed, err := s.pack(sample.data)
		if err == nil {
			err = s.unpacks(packed, sample.data)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", sample.name, err)
		}
	}
	return nil
}

// inputLeft: input is not modified, and nothing refers to it afterwards but the
// results of OnPack and OnUnpack, which may share its memory.
func inputLeft(s subject) error {
	for _, sample := range small() {
		data := slices.Clone(sample.data)
		packed, err := s.pack(data)
		if err != nil {
			return fmt.Errorf("%s: %w", sample.name, err)
		}
		if err := same(sample.name+": the input of OnPack", data, sample.data); err != nil {
			return err
		}
		suite.Scribble(data)
		before := slices.Clone(packed)
		if err := s.unpacks(packed, sample.data); err != nil {
			return fmt.Errorf("%s: %w", sample.name, err)
		}
		if err := same(sample.name+": the input of OnUnpack", packed, before); err != nil {
			return err
		}
		if s.appender == nil {
			continue
		}
		data = slices.Clone(sample.data)
		packed, err = s.appender.AppendPack(nil, data)
		if err != nil {
			return fmt.Errorf("%s: AppendPack: %w", sample.name, err)
		}
		if err := same(sample.name+": the input of AppendPack", data, sample.data); err != nil {
			return err
		}
		suite.Scribble(data)
		before = slices.Clone(packed)
		got, err := s.appender.AppendUnpack(nil, packed, len(sample.data))
		if err != nil {
			return fmt.Errorf("%s: AppendUnpack: %w", sample.name, err)
		}
		if err := same(sample.name+": the input of AppendUnpack", packed, before); err != nil {
			return err
		}
		suite.Scribble(packed)
		if err := same(sample.name+": the result after its input was written over", got, sample.data); err != nil {
			return err
		}
	}
	return nil
}

// resultOwned: a result does not change when the filter is used again.
func resultOwned(s subject) error {
	for _, sample := range small() {
		first, err := s.OnPack(sample.data)
		if err != nil {
			return fmt.Errorf("%s: OnPack: %w", sample.name, err)
		}
		got, err := s.OnUnpack(first)
		if err != nil {
			return fmt.Errorf("%s: OnUnpack: %w", sample.name, err)
		}
		other, err := s.pack(random(len(sample.data)))
		if err == nil {
			_, err = s.OnUnpack(other)
		}
		if err != nil {
			return err
		}
		if err := same(sample.name+": an earlier result of OnUnpack", got, sample.data); err != nil {
			return err
		}
		if err := s.unpacks(first, sample.data); err != nil {
			return fmt.Errorf("%s: an earlier result of OnPack: %w", sample.name, err)
		}
	}
	return nil
}

// appends: the Appender leaves the bytes before its own alone, and is compatible with
// OnPack and OnUnpack.
func appends(s subject) error {
	if s.appender == nil {
		return nil
	}
	for _, sample := range small() {
		for _, dst := range suite.Buffers(4 << 10) {
			head := string(dst)
			packed, err := s.appender.AppendPack(dst, sample.data)
			if err != nil {
				return fmt.Errorf("%s: AppendPack: %w", sample.name, err)
			}
			if !bytes.HasPrefix(packed, []byte(head)) {
				return fmt.Errorf("%s: AppendPack to %q made %.40q", sample.name, head, packed)
			}
			packed = slices.Clone(packed[len(head):])
			if err := s.unpacks(packed, sample.data); err != nil {
				return fmt.Errorf("%s: after AppendPack: %w", sample.name, err)
			}
			got, err := s.appender.AppendUnpack(dst, packed, len(sample.data))
			if err != nil {
				return fmt.Errorf("%s: AppendUnpack: %w", sample.name, err)
			}
			if err := same(sample.name+": AppendUnpack", got, append([]byte(head), sample.data...)); err != nil {
				return err
			}
		}
	}
	return nil
}

// failedAppend: data that cannot be unpacked leaves the buffer as it was.
func failedAppend(s subject) error {
	if s.appender == nil {
		return nil
	}
	data := random(3000)
	packed, err := s.pack(data)
	if err != nil {
		return err
	}
	bent := slices.Clone(packed)
	bent[len(bent)/2] ^= 1
	for _, bad := range []sample{
		{"garbage", random(100)},
		{"cut short", packed[:len(packed)-1]},
		{"damaged", bent},
		{"too large", packed},
	} {
		for _, dst := range suite.Buffers(4 << 10) {
			head := string(dst)
			max := len(data)
			if bad.name == "too large" {
				max--
			}
			got, err := s.appender.AppendUnpack(dst, bad.data, max)
			if err != nil && string(got) != head {
				return fmt.Errorf("%s: a failed AppendUnpack to %q made %.40q", bad.name, head, got)
			}
		}
	}
	return nil
}

// cutShort: input that lacks its end is an error. No input at all may unpack to no
// bytes.
func cutShort(s subject) error {
	for _, sample := range small() {
		packed, err := s.packSample(sample)
		if err != nil {
			return err
		}
		for n := range packed {
			what := fmt.Sprintf("%s: OnUnpack of %d bytes of %d", sample.name, n, len(packed))
			err := suite.Safely(what, func() error {
				got, err := s.OnUnpack(slices.Clip(packed[:n]))
				if err == nil && !s.is(CutUnseen) && len(got)+n > 0 {
					return fmt.Errorf("%s: %.40q and no error", what, got)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// limit: max bytes of output are accepted, one more is ErrTooLarge.
func limit(s subject) error {
	pipe, err := s.pipe(1)
	if err != nil {
		return err
	}
	for _, sample := range samples() {
		packed, err := s.packSample(sample)
		if err != nil {
			return err
		}
		unpack := map[string]func(dst, src []byte, max int) ([]byte, error){"pipe": pipe.AppendUnpack}
		if s.appender != nil {
			unpack["filter"] = s.appender.AppendUnpack
		}
		for name, unpack := range unpack {
			n := len(sample.data)
			limits := []int{0, n - 1, n, n + 1, math.MaxInt}
			if n > 64<<10 { // each costs a megabyte
				limits = []int{n - 1, n}
			}
			for _, max := range limits {
				if max < 0 {
					continue
				}
				what := fmt.Sprintf("%s: AppendUnpack of the %s with max %d", sample.name, name, max)
				got, err := unpack([]byte("head"), packed, max)
				if max < n && (!errors.Is(err, xfer.ErrTooLarge) || string(got) != "head") {
					return fmt.Errorf("%s: got %.40q, error %v; want error %w", what, got, err, xfer.ErrTooLarge)
				}
				if max >= n && err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
			}
		}
	}
	return nil
}

// bomb: unpacking a small input with a huge output stops at the limit, and does not
// allocate memory for more.
func bomb(s subject) error {
	if !s.is(Compresses) {
		return nil
	}
	if s.appender == nil {
		return fmt.Errorf("%T compresses, so it has to be an xfer.Appender: only that stops at a limit", s.XferFilter)
	}
	const size, max = 16 << 20, 256 << 10
	packed, err := s.pack(make([]byte, size))
	if err != nil {
		return err
	}
	if len(packed) > size/50 {
		return fmt.Errorf("%d zeros are packed into %d bytes: that is no compression", size, len(packed))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = s.appender.AppendUnpack(nil, packed, max)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, xfer.ErrTooLarge) {
		return fmt.Errorf("AppendUnpack of a bomb of %d bytes with max %d: error %v; want %w", size, max, err, xfer.ErrTooLarge)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > size/2 {
		return fmt.Errorf("AppendUnpack of a bomb of %d bytes with max %d took %d bytes of memory", size, max, took)
	}
	return nil
}

// beginning: of a Prefixer, wherever its input is cut, the output is how the data
// begins; nothing is written beyond max bytes, and a bomb takes no memory.
func beginning(s subject) error {
	f, ok := s.XferFilter.(xfer.Prefixer)
	if !ok {
		return nil
	}
	for _, sample := range samples() {
		packed, err := s.packSample(sample)
		if err != nil {
			return err
		}
		for _, max := range []int{0, 1, 100, 4 << 10} {
			for _, n := range []int{0, 1, 2, 3, 10, 20, len(packed) / 2, len(packed) - 1, len(packed)} {
				if n < 0 || n > len(packed) {
					continue
				}
				what := fmt.Sprintf("%s: AppendPrefix of %d bytes of %d with max %d", sample.name, n, len(packed), max)
				err := suite.Safely(what, func() error {
					got, err := f.AppendPrefix([]byte("head"), packed[:n:n], max)
					if err != nil {
						return fmt.Errorf("%s: %w", what, err)
					}
					got, ok := bytes.CutPrefix(got, []byte("head"))
					if !ok || len(got) > max || !bytes.HasPrefix(sample.data, got) {
						return fmt.Errorf("%s: got %d bytes, %.40q; want %.40q behind the buffer's", what, len(got), got, sample.data)
					}
					if n == len(packed) && len(got) == 0 && min(max, len(sample.data)) > 0 {
						return fmt.Errorf("%s: no bytes", what)
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
		}
	}
	if got, err := f.AppendPrefix([]byte("head"), random(300), 100); err != nil && string(got) != "head" {
		return fmt.Errorf("a failed AppendPrefix to %q made %.40q", "head", got)
	}
	return prefixBomb(s, f)
}

// prefixBomb: the first bytes of many take no more memory than those of few.
func prefixBomb(s subject, f xfer.Prefixer) error {
	packed, err := s.pack(make([]byte, 16<<20))
	if err != nil {
		return err
	}
	took := uint64(math.MaxUint64)
	for range 3 { // the first time fills pools
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := f.AppendPrefix(nil, packed, 100); err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		took = min(took, after.TotalAlloc-before.TotalAlloc)
	}
	if took > 1<<20 {
		return fmt.Errorf("AppendPrefix of 100 bytes of a bomb took %d bytes of memory", took)
	}
	return nil
}

// pipe returns a pipe that has the filter n times.
func (s subject) pipe(n int) (*xfer.XferPipe, error) {
	p := xfer.NewXferPipe()
	return p, p.Append(slices.Repeat([]byte{s.ID()}, n)...)
}

// pipeOfTwo: the filter can pack its own output.
func pipeOfTwo(s subject) error {
	pipe, err := s.pipe(2)
	if err != nil {
		return err
	}
	all := append(small(), large()[0], sample{"300 kB of text", bytes.Repeat([]byte("sixteen letters "), 20_000)})
	for _, sample := range all {
		packed, err := pipe.AppendPack([]byte("head"), sample.data)
		if err != nil {
			return fmt.Errorf("%s: AppendPack: %w", sample.name, err)
		}
		got, err := pipe.AppendUnpack([]byte("head"), packed[len("head"):], len(sample.data)+len(packed))
		if err != nil {
			return fmt.Errorf("%s: AppendUnpack: %w", sample.name, err)
		}
		if err := same(sample.name, got, append([]byte("head"), sample.data...)); err != nil {
			return err
		}
	}
	return nil
}

// concurrent: several goroutines use the filter, as sessions do.
func concurrent(s subject) error {
	return suite.Concurrently(10, func() error { return errors.Join(resultOwned(s), appends(s)) })
}
