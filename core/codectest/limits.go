package codectest

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/teleport-go/teleport/core/codec"
)

// Deep gives the suite bodies with so many levels of lists, maps or structs in each
// other, the outermost included, to be decoded into what into returns, a pointer. The
// codec has to accept as many levels as codec.Limits allows, or fewer by a limit of its
// own, and to refuse one more.
func Deep(into func() any, body func(levels int) []byte) Option {
	return func(s *Suite) { s.hostile = append(s.hostile, hostile{into, body, true}) }
}

// Wide gives the suite bodies of so many elements, which are small and describe a large
// value, to be decoded into what into returns, a pointer. The codec has to refuse them
// from some number on, and a value that it accepts must not take more memory than
// codec.Limits allows.
func Wide(into func() any, body func(elements int) []byte) Option {
	return func(s *Suite) { s.hostile = append(s.hostile, hostile{into, body, false}) }
}

// Flat says that no value of the codec takes more memory than its body, so that there
// is nothing to give to Deep and Wide.
func Flat() Option { return func(s *Suite) { s.flat = true } }

// limited: a body that would become too large is refused before it does.
func limited(s subject) error {
	if len(s.hostile) == 0 && !s.flat {
		return errors.New("say with Deep and Wide what makes a value large or deep, or with Flat that nothing does")
	}
	defer codec.SetLimits(codec.CurrentLimits())
	for _, h := range s.hostile {
		err := s.refusesWide(h)
		if h.deep {
			err = s.refusesDeep(h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// The limits while the suite runs.
const (
	testDepth  = 100
	testMemory = 1 << 20
	testFactor = 1
)

func (s subject) refusesDeep(h hostile) error {
	codec.SetLimits(codec.Limits{Depth: testDepth})
	for levels := 1; levels <= testDepth+1; levels++ {
		err := s.Unmarshal(h.body(levels), h.into())
		if err == nil {
			continue
		}
		e, err := s.limitError(err)
		if err != nil {
			return fmt.Errorf("%d levels: %w", levels, err)
		}
		if e.Limit != levels-1 || e.Found != levels {
			return fmt.Errorf("%d levels are refused with %+v; want the limit below, and those found", levels, *e)
		}
		const most = 256 << 10
		if got := s.allocates(h.body(100*levels), h.into, taken.all, most); got > most {
			return fmt.Errorf("%d levels are refused after %d bytes were allocated", 100*levels, got)
		}
		return nil
	}
	return fmt.Errorf("%d levels are accepted, the limit is %d", testDepth+1, testDepth)
}

func (s subject) refusesWide(h hostile) error {
	codec.SetLimits(codec.Limits{Memory: testMemory, Factor: testFactor})
	n, body, err := 1, []byte(nil), error(nil)
	for ; ; n *= 2 {
		body = h.body(n)
		if err = s.Unmarshal(body, h.into()); err != nil {
			break
		}
		if len(body) > 32<<20 {
			return fmt.Errorf("%d elements, %d bytes, are accepted", n, len(body))
		}
	}
	e, err := s.limitError(err)
	if err != nil {
		return fmt.Errorf("%d elements: %w", n, err)
	}
	if e.Found <= e.Limit {
		return fmt.Errorf("%d elements are refused with %+v; want more found than the limit", n, *e)
	}
	// A codec may measure as it decodes; then it has allocated what the limit allows.
	const slack = 64 << 10
	most := max(testMemory, testFactor*len(body))*5/4 + slack
	if got := s.allocates(body, h.into, taken.all, most); got > most {
		return fmt.Errorf("%d elements, %d bytes, are refused after %d bytes were allocated", n, len(body), got)
	}
	body = h.body(n / 2)
	most = max(testMemory, testFactor*len(body))*3/2 + len(body) + slack
	if got := s.allocates(body, h.into, taken.afterwards, most); got > most {
		return fmt.Errorf("%d elements, %d bytes, take %d bytes once decoded", n/2, len(body), got)
	}
	return s.reserves(h, body)
}

// reserves: a codec.Measurer reserves what a large value takes, before it takes that.
func (s subject) reserves(h hostile, body []byte) error {
	m, ok := s.Codec.(codec.Measurer)
	if !ok {
		return nil
	}
	var a account
	if err := m.DecodeMeasured(body, h.into(), 0, &a); err != nil {
		return fmt.Errorf("DecodeMeasured: %w", err)
	}
	const slack = 64 << 10
	most := a.reserved*3/2 + len(body) + slack
	if got := s.allocates(body, h.into, taken.afterwards, most); got > most {
		return fmt.Errorf("%d bytes are reserved for a body of %d that takes %d once decoded", a.reserved, len(body), got)
	}
	a.err = errors.New("no room")
	refused := measured{m, &a}
	if err := refused.Unmarshal(body, h.into()); !errors.Is(err, a.err) {
		return fmt.Errorf("DecodeMeasured returns %v for an account that refuses; want its error", err)
	}
	s.Codec = refused
	if got := s.allocates(body, h.into, taken.all, slack); got > slack {
		return fmt.Errorf("%d bytes are allocated for a body that an account refuses", got)
	}
	return nil
}

// account counts what is reserved, or refuses it.
type account struct {
	reserved int
	err      error
}

func (a *account) Reserve(n int) error {
	a.reserved += n
	return a.err
}

// measured is a codec that decodes with an account.
type measured struct {
	codec.Measurer
	account codec.Account
}

func (m measured) Unmarshal(data []byte, v any) error {
	return m.DecodeMeasured(data, v, 0, m.account)
}

// limitError returns the limit that err is about.
func (s subject) limitError(err error) (*codec.LimitError, error) {
	var e *codec.LimitError
	if !errors.As(err, &e) || !errors.Is(err, codec.ErrTooComplex) {
		return nil, fmt.Errorf("error %w; want a codec.LimitError", err)
	}
	for _, word := range []string{s.Name(), fmt.Sprint(e.Limit), fmt.Sprint(e.Found), e.What} {
		if !strings.Contains(err.Error(), word) {
			return nil, fmt.Errorf("error %w; want %q in it", err, word)
		}
	}
	return e, nil
}

// taken is what decoding has allocated, in bytes.
type taken struct{ total, kept int }

func (t taken) all() int        { return t.total }
func (t taken) afterwards() int { return t.kept }

// allocates returns what decoding body allocates. Other goroutines allocate as well, so
// it tries again if that is more than enough.
func (s subject) allocates(body []byte, into func() any, which func(taken) int, enough int) (got int) {
	for range 5 {
		v := into()
		before := memory()
		s.Unmarshal(body, v)
		var end runtime.MemStats
		runtime.ReadMemStats(&end)
		got = which(taken{int(end.TotalAlloc - before.TotalAlloc), int(memory().HeapAlloc) - int(before.HeapAlloc)})
		runtime.KeepAlive(v)
		runtime.KeepAlive(body)
		if got <= enough {
			break
		}
	}
	return got
}

func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}
