package xfer

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/internal/suite"
)

// bracket puts its letter around the bytes. It is no Appender and its OnUnpack
// returns a part of its input.
type bracket struct{ id byte }

var errBracket = errors.New("no bracket")

func (b bracket) ID() byte     { return b.id }
func (b bracket) Name() string { return "test " + string(rune(b.id)) }

func (b bracket) OnPack(data []byte) ([]byte, error) {
	if bytes.Contains(data, []byte("refuse"+string(rune(b.id)))) {
		return nil, errBracket
	}
	return slices.Concat([]byte{b.id}, data, []byte{b.id}), nil
}

func (b bracket) OnUnpack(data []byte) ([]byte, error) {
	n := len(data) - 1
	if n < 1 || data[0] != b.id || data[n] != b.id {
		return nil, errBracket
	}
	return data[1:n], nil
}

// appending is bracket as an Appender. It writes before it reads, as one may
// whose dst and src do not overlap.
type appending struct{ bracket }

func (a appending) AppendPack(dst, src []byte) ([]byte, error) {
	scribble(dst, len(src))
	if bytes.Contains(src, []byte("refuse"+string(rune(a.id)))) {
		return append(dst, "junk"...), errBracket
	}
	return append(append(append(dst, a.id), src...), a.id), nil
}

func (a appending) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	scribble(dst, len(src))
	out, err := a.OnUnpack(src)
	if err == nil && len(out) > max {
		return append(dst, "junk"...), fmt.Errorf("bracket: over %d bytes: %w", max, ErrTooLarge)
	}
	return append(dst, out...), err
}

func scribble(dst []byte, n int) {
	free := dst[len(dst):cap(dst)]
	for i := range min(n, len(free)) {
		free[i] = '#'
	}
}

// bomb unpacks to as many bytes as the text of its input says, whatever the
// limit.
type bomb struct{ bracket }

func (b bomb) OnUnpack(data []byte) ([]byte, error) {
	var n int
	_, err := fmt.Sscan(string(data), &n)
	return append(fmt.Appendf(nil, "%d ", n), make([]byte, n)...), err
}

type appendingBomb struct{ bomb }

func (b appendingBomb) AppendPack(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }
func (b appendingBomb) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	out, err := b.OnUnpack(src)
	return append(dst, out...), err
}

func TestMain(m *testing.M) {
	Register(bracket{'<'})
	Register(bracket{'['})
	Register(appending{bracket{'A'}})
	Register(appending{bracket{'B'}})
	Register(bomb{bracket{'!'}})
	Register(appendingBomb{bomb{bracket{'?'}}})
	m.Run()
}

func pipe(t *testing.T, ids string) *XferPipe {
	t.Helper()
	x := NewXferPipe()
	if err := x.Append([]byte(ids)...); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestPackUnpack(t *testing.T) {
	for _, test := range []struct{ ids, packed string }{
		{"", "body"},
		{"<", "<body<"},
		{"A", "AbodyA"},
		{"<[", "<[body[<"},
		{"AB", "ABbodyBA"},
		{"A<", "A<body<A"},
		{"<A", "<AbodyA<"},
		{"<[AB", "<[ABbodyBA[<"},
		{"A<[B", "A<[BbodyB[<A"},
		{"AB<[", "AB<[body[<BA"},
		{"A<B[A", "A<B[AbodyA[B<A"},
	} {
		t.Run(test.ids, func(t *testing.T) {
			x := pipe(t, test.ids)
			src := []byte("body")
			got, err := x.OnPack(src)
			if err != nil || string(got) != test.packed || string(src) != "body" {
				t.Errorf("OnPack = %q, %v; want %q", got, err, test.packed)
			}
			dst := append(make([]byte, 0, 100), "head "...)
			got, err = x.AppendPack(dst, src)
			if want := "head " + test.packed; err != nil || string(got) != want || string(src) != "body" {
				t.Errorf("AppendPack = %q, %v; want %q", got, err, want)
			}
			packed := []byte(test.packed)
			got, err = x.OnUnpack(packed)
			if err != nil || string(got) != "body" || string(packed) != test.packed {
				t.Errorf("OnUnpack = %q, %v; want %q", got, err, "body")
			}
			got, err = x.AppendUnpack(dst, packed, 100)
			clear(packed)
			if want := "head body"; err != nil || string(got) != want {
				t.Errorf("AppendUnpack = %q, %v; want %q", got, err, want)
			}
		})
	}
}

// The buffers between the filters are pooled.
func TestAllocs(t *testing.T) {
	x := pipe(t, "ABABA")
	src, dst := make([]byte, 4096), make([]byte, 0, 16384)
	got := suite.Allocs(0, func() {
		packed, err := x.AppendPack(dst, src)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = x.AppendUnpack(packed[len(packed):], packed, 8000); err != nil {
			t.Fatal(err)
		}
	})
	if got > 0 {
		t.Errorf("packing and unpacking make %v allocations; want 0", got)
	}
}

func TestFailure(t *testing.T) {
	for _, test := range []struct{ name, ids, src, filter string }{
		{"plain alone", "<", "refuse<", "test < (id 60)"},
		{"appender alone", "A", "refuseA", "test A (id 65)"},
		{"outer", "<[AB", "refuse<", "test < (id 60)"},
		{"inner", "<[AB", "refuseB", "test B (id 66)"},
		{"middle", "<A[B", "refuse[", "test [ (id 91)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := pipe(t, test.ids)
			dst := append(make([]byte, 0, 100), "head"...)
			got, err := x.AppendPack(dst, []byte(test.src))
			if !errors.Is(err, errBracket) || !strings.Contains(err.Error(), "pack with filter "+test.filter) || string(got) != "head" {
				t.Errorf("AppendPack = %q, %v; want %q and an error of %s", got, err, "head", test.filter)
			}
			for _, cut := range []string{"", "x", test.ids, test.ids[:len(test.ids)-1] + "x"} {
				got, err = x.AppendUnpack(dst, []byte(cut), 100)
				if !errors.Is(err, errBracket) || string(got) != "head" {
					t.Errorf("AppendUnpack(%q) = %q, %v; want %q, %v", cut, got, err, "head", errBracket)
				}
			}
		})
	}
}

func TestLimit(t *testing.T) {
	for _, test := range []struct {
		name, ids, src string
		max            int
		want           string // "" for success
	}{
		{"at the limit", "A", "A1234A", 4, ""},
		{"appender over it", "A", "A12345A", 4, "over 4 bytes"},
		{"plain at the limit", "<", "<1234<", 4, ""},
		{"plain over it", "<", "<12345<", 4, "test < (id 60): too large: 5 bytes, the limit is 4"},
		{"appender that ignores the limit, last", "?", "1000", 999, "test ? (id 63): too large: 1005 bytes, the limit is 999"},
		{"appender that ignores the limit, first", "?!", "1000", 999, "test ? (id 63): too large: 1005 bytes, the limit is 999"},
		{"first stage over it, last within", "<A", "<A123A<", 4, "test < (id 60): too large: 5 bytes, the limit is 4"},
		{"nothing", "A", "AA", 0, ""},
		{"something over nothing", "A", "A1A", 0, "over 0 bytes"},
		{"below nothing", "A", "A1A", -1, "over 0 bytes"},
		{"four stages within 4 times the limit", "!!!!", "995", 999, ""},
		{"five stages over 4 times the limit", "!!!!!", "800", 999, "test ! (id 33): too large: 804 bytes, the limit is 780"},
		{"five appenders over 4 times the limit", "?????", "800", 999, "test ? (id 63): too large: 804 bytes, the limit is 780"},
		{"no limit", "?!", "1000", math.MaxInt, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := pipe(t, test.ids).AppendUnpack([]byte("head"), []byte(test.src), test.max)
			if test.want == "" {
				if err != nil || !bytes.HasPrefix(got, []byte("head")) {
					t.Errorf("AppendUnpack = %.20q, %v; want no error", got, err)
				}
				return
			}
			if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), test.want) || string(got) != "head" {
				t.Errorf("AppendUnpack = %.20q, %v; want %q and an error with %q", got, err, "head", test.want)
			}
		})
	}
	t.Run("OnUnpack", func(t *testing.T) {
		_, err := pipe(t, "!").OnUnpack(fmt.Append(nil, DefaultMax))
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("error %v; want %v", err, ErrTooLarge)
		}
	})
}

func TestAppend(t *testing.T) {
	x := pipe(t, "<A")
	err := x.Append('[', 103, 'B')
	if want := `unsupported transfer filter id: 103 (forgotten import?) import _ "github.com/teleport-go/teleport/xfers/gzip"; registered: `; !errors.Is(err, ErrUnsupported) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Append of an unknown id:\n got %v\nwant %s…", err, want)
	}
	if got, want := string(x.IDs()), "<A"; got != want {
		t.Errorf("IDs() = %q after a failed Append; want %q", got, want)
	}
	if got, want := x.Names(), []string{"test <", "test A"}; !slices.Equal(got, want) {
		t.Errorf("Names() = %q; want %q", got, want)
	}
	if got, want := string(x.AppendIDs([]byte("n"))), "n<A"; got != want {
		t.Errorf("AppendIDs = %q; want %q", got, want)
	}
	var seen []string
	x.Range(func(i int, f XferFilter) bool { seen = append(seen, fmt.Sprint(i, f.Name())); return true })
	x.Range(func(i int, f XferFilter) bool { seen = append(seen, fmt.Sprint(i, f.Name())); return false })
	if want := []string{"0test <", "1test A", "0test <"}; !slices.Equal(seen, want) {
		t.Errorf("Range saw %q; want %q", seen, want)
	}

	var y XferPipe // the zero value
	y.AppendFrom(x)
	y.AppendFrom(nil)
	y.AppendFrom(&y)
	x.Reset()
	if x.Len() != 0 || len(x.IDs()) != 0 {
		t.Errorf("%d filters after Reset; want 0", x.Len())
	}
	if err := x.Append('['); err != nil {
		t.Error(err)
	}
	if got, want := string(y.IDs()), "<A<A"; got != want {
		t.Errorf("AppendFrom made %q; want %q, whatever happens to its source", got, want)
	}
}

func TestTooLong(t *testing.T) {
	ids := bytes.Repeat([]byte("A"), 255)
	var x XferPipe
	if err := x.Append(ids...); err != nil || x.Len() != 255 {
		t.Fatalf("Append of 255 filters: %v, len %d", err, x.Len())
	}
	if b, err := x.OnPack([]byte("body")); err != nil || len(b) != 2*255+4 {
		t.Errorf("OnPack with 255 filters: %d bytes, %v", len(b), err)
	}
	if err := x.Append('A'); err != ErrXferPipeTooLong || x.Len() != 255 {
		t.Errorf("Append of one more: %v, len %d; want %v, 255", err, x.Len(), ErrXferPipeTooLong)
	}
	x.AppendFrom(pipe(t, "A"))
	if _, err := x.OnPack([]byte("body")); err != ErrXferPipeTooLong {
		t.Errorf("OnPack with 256 filters: %v; want %v", err, ErrXferPipeTooLong)
	}
	if _, err := x.OnUnpack([]byte("body")); err != ErrXferPipeTooLong {
		t.Errorf("OnUnpack with 256 filters: %v; want %v", err, ErrXferPipeTooLong)
	}
}

func TestByName(t *testing.T) {
	f, err := GetByName("test A")
	if err != nil || f.ID() != 'A' {
		t.Errorf("GetByName = %v, %v", f, err)
	}
	_, err = GetByName("zstd")
	if want := `unsupported transfer filter name: zstd (forgotten import?) import _ "github.com/teleport-go/teleport/xfers/zstd"; `; !errors.Is(err, ErrUnsupported) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("GetByName of an unknown name:\n got %v\nwant %s…", err, want)
	}
	if got, want := len(All()), 6; got != want {
		t.Errorf("All() has %d filters; want %d", got, want)
	}
	Replace(appending{bracket{'A'}})
	if got, want := len(All()), 6; got != want {
		t.Errorf("All() has %d filters after Replace; want %d", got, want)
	}
}
