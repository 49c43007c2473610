package codectest

import (
	"encoding/json"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/teleport-go/teleport/core/codec"
)

// good is a codec as it should be.
type good struct{}

func (good) ID() byte                           { return 250 }
func (good) Name() string                       { return "test codec" }
func (good) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (good) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
func (good) Pure() bool                         { return false }

func (good) Append(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, b...), nil
}

type pair struct {
	A string
	B []int
}

func samples() []any {
	return []any{"text", 12345, []byte("bytes"), pair{"a", []int{1, 2}}, &pair{"pointer", []int{3}}}
}

func TestMain(m *testing.M) {
	codec.Register(good{})
	m.Run()
}

func TestGood(t *testing.T) { With(Flat()).Run(t, good{}, samples()...) }

// broken is good with one thing wrong.
type broken struct {
	good
	id        func() byte
	marshal   func(v any) ([]byte, error)
	unmarshal func(data []byte, v any) error
	append    func(dst []byte, v any) ([]byte, error)
}

func (b *broken) ID() byte {
	if b.id != nil {
		return b.id()
	}
	return b.good.ID()
}

func (b *broken) Marshal(v any) ([]byte, error) {
	if b.marshal != nil {
		return b.marshal(v)
	}
	return b.good.Marshal(v)
}

func (b *broken) Unmarshal(data []byte, v any) error {
	if b.unmarshal != nil {
		return b.unmarshal(data, v)
	}
	return b.good.Unmarshal(data, v)
}

func (b *broken) Append(dst []byte, v any) ([]byte, error) {
	if b.append != nil {
		return b.append(dst, v)
	}
	return b.good.Append(dst, v)
}

func TestBroken(t *testing.T) {
	var static [256]byte
	busy := 0
	for _, test := range []struct {
		name  string
		check string // the check that has to find it
		codec broken
	}{
		{"id 0", "registered", broken{id: func() byte { return 0 }}},
		{"id not registered", "registered", broken{id: func() byte { return 251 }}},
		{"somebody else is registered", "registered", broken{}},
		{"loses the value", "round trip", broken{unmarshal: func([]byte, any) error { return nil }}},
		{"refuses the value", "round trip", broken{marshal: func(any) ([]byte, error) { return nil, errors.New("no") }}},
		{"one buffer for all results", "result belongs to the caller", broken{marshal: func(v any) ([]byte, error) {
			b, err := json.Marshal(v)
			return append(static[:0], b...), err
		}}},
		{"changes the input", "input neither changed nor kept", broken{unmarshal: func(data []byte, v any) error {
			defer func() {
				if len(data) > 0 {
					data[0]++
				}
			}()
			return json.Unmarshal(data, v)
		}}},
		{"keeps the input", "input neither changed nor kept", broken{unmarshal: func(data []byte, v any) error {
			if s, ok := v.(*string); ok && len(data) > 2 {
				*s = unsafe.String(&data[1], len(data)-2)
				return nil
			}
			return json.Unmarshal(data, v)
		}}},
		{"panics on nil", "nil", broken{marshal: func(v any) ([]byte, error) {
			if v == nil {
				panic("nil")
			}
			return json.Marshal(v)
		}}},
		{"panics on a nil pointer", "nil", broken{unmarshal: func(data []byte, v any) error {
			if p, ok := v.(*pair); ok {
				*p = pair{}
			}
			return json.Unmarshal(data, v)
		}}},
		{"panics on no input", "nil", broken{unmarshal: func(data []byte, v any) error {
			_ = data[0]
			return json.Unmarshal(data, v)
		}}},
		{"takes garbage", "garbage", broken{unmarshal: func(data []byte, v any) error {
			if json.Unmarshal(data, v) != nil {
				return nil
			}
			return nil
		}}},
		{"trusts the length", "cut short", broken{unmarshal: func(data []byte, v any) error {
			if len(data) > 0 && data[0] == '{' && data[len(data)-1] != '}' {
				panic("index out of range")
			}
			return json.Unmarshal(data, v)
		}}},
		{"appends from the start", "append", broken{append: func(dst []byte, v any) ([]byte, error) {
			return good{}.Append(dst[:0], v)
		}}},
		{"appends half", "append", broken{append: func(dst []byte, v any) ([]byte, error) {
			b, err := good{}.Append(dst, v)
			return b[:max(len(dst), len(b)-1)], err
		}}},
		{"leaves junk on failure", "failed append", broken{append: func(dst []byte, v any) ([]byte, error) {
			b, err := json.Marshal(v)
			return append(append(dst, b...), "junk"[:4*btoi(err != nil)]...), err
		}}},
		{"loses the buffer on failure", "failed append", broken{append: func(dst []byte, v any) ([]byte, error) {
			b, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			return append(dst, b...), nil
		}}},
		{"appends what it cannot marshal", "failed append", broken{append: func(dst []byte, v any) ([]byte, error) {
			b, _ := json.Marshal(v)
			return append(dst, b...), nil
		}}},
		{"is for one goroutine only", "concurrent use", broken{marshal: func(v any) ([]byte, error) {
			n := add(&busy, 1)
			defer add(&busy, -1)
			runtime.Gosched()
			if n > 1 {
				return nil, errors.New("busy")
			}
			return json.Marshal(v)
		}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := slices.IndexFunc(checks, func(c check) bool { return c.name == test.check })
			if i < 0 {
				t.Fatalf("there is no check %q", test.check)
			}
			err := With().check(checks[i], &test.codec, samples())
			if err == nil {
				t.Errorf("the check %q finds nothing wrong", test.check)
			}
			t.Log(err)
		})
	}
}

func TestOptions(t *testing.T) {
	lenient := &broken{unmarshal: func(data []byte, v any) error {
		if string(data) == "!" {
			return errors.New("bad")
		}
		return nil
	}}
	for _, test := range []struct {
		name  string
		suite Suite
		check func(subject) error
		c     codec.Codec
		ok    bool
	}{
		{"takes anything", With(TakesAnything()), garbage, lenient, true},
		{"own garbage", With(Garbage([]byte("!"))), garbage, lenient, true},
		{"usual garbage", With(), garbage, lenient, false},
		{"all are equal", With(Equal(func(got, want any) bool { return true })), roundTrip, lenient, true},
		{"none are equal", With(Equal(func(got, want any) bool { return false })), roundTrip, good{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.suite.check(check{"check", test.check}, test.c, samples())
			if (err == nil) != test.ok {
				t.Errorf("error %v; want none: %t", err, test.ok)
			}
		})
	}
	for _, values := range [][]any{nil, {nil}} {
		if err := With().check(checks[0], good{}, values); err == nil {
			t.Errorf("samples %v: no error", values)
		}
	}
}

// decoding is good and a Decoder.
type decoding struct {
	good
	borrows bool
	decode  func(data []byte, v any, mode codec.Mode) error
}

func (d *decoding) Borrows(any) bool { return d.borrows }
func (d *decoding) Decode(data []byte, v any, mode codec.Mode) error {
	return d.decode(data, v, mode)
}

func TestModes(t *testing.T) {
	clean := func(data []byte, v any, mode codec.Mode) error {
		if mode&codec.Fresh == 0 {
			reflect.ValueOf(v).Elem().SetZero()
		}
		return json.Unmarshal(data, v)
	}
	keeps := func(data []byte, v any, mode codec.Mode) error {
		if s, ok := v.(*string); ok && mode&codec.Borrowed != 0 {
			*s = unsafe.String(&data[1], len(data)-2)
			return nil
		}
		return clean(data, v, mode)
	}
	for _, test := range []struct {
		name  string
		codec decoding
		good  bool
	}{
		{"good", decoding{decode: clean}, true},
		{"borrows", decoding{borrows: true, decode: keeps}, true},
		{"borrows, and does not say so", decoding{decode: keeps}, false},
		{"refuses", decoding{decode: func([]byte, any, codec.Mode) error { return errors.New("no") }}, false},
		{"loses the value of a mode", decoding{decode: func(data []byte, v any, mode codec.Mode) error {
			if mode == codec.Fresh|codec.Borrowed {
				return nil
			}
			return clean(data, v, mode)
		}}, false},
		{"adds to what was there", decoding{decode: func(data []byte, v any, mode codec.Mode) error {
			if p, ok := v.(*pair); ok {
				was := p.B
				defer func() { p.B = append(was, p.B...) }()
			}
			return clean(data, v, codec.Fresh)
		}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := With().check(check{"modes", modes}, &test.codec, samples())
			if (err == nil) != test.good {
				t.Errorf("the check says %v", err)
			}
		})
	}
}
