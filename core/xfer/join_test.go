package xfer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// bunch is several filters that take the bytes in one step: it counts the steps.
type bunch struct {
	ids   string
	steps *int
}

func (b bunch) ID() byte     { return b.ids[0] }
func (b bunch) Name() string { return "bunch " + b.ids }

func (b bunch) Join(inner XferFilter) (XferFilter, bool) {
	other, ok := inner.(bunch)
	if !ok || other.steps != b.steps {
		return nil, false
	}
	return bunch{b.ids + other.ids, b.steps}, true
}

func (b bunch) AppendPack(dst, src []byte) ([]byte, error) {
	*b.steps++
	return fmt.Appendf(dst, "%s(%s)", b.ids, src), nil
}

func (b bunch) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	*b.steps++
	out, ok := strings.CutPrefix(string(src), b.ids+"(")
	if !ok || len(out) < 1 {
		return dst, errBracket
	}
	if len(out)-1 > max {
		return dst, fmt.Errorf("bunch %s: %w", b.ids, ErrTooLarge)
	}
	return append(dst, out[:len(out)-1]...), nil
}

func (b bunch) OnPack(data []byte) ([]byte, error)   { return b.AppendPack(nil, data) }
func (b bunch) OnUnpack(data []byte) ([]byte, error) { return b.AppendUnpack(nil, data, DefaultMax) }

// Neighbours that can be joined are one step; others stay steps of their own, in their
// order.
func TestJoin(t *testing.T) {
	var here, there int
	filters := map[byte]XferFilter{'1': bunch{"1", &here}, '2': bunch{"2", &here}, '3': bunch{"3", &here}, '8': bunch{"8", &there}, '<': bracket{'<'}, 'A': appending{bracket{'A'}}}
	for _, test := range []struct {
		ids, packed string
		steps       int
	}{
		{"1", "1(body)", 1},
		{"12", "12(body)", 1},
		{"123", "123(body)", 1},
		{"1<2", "1(<2(body)<)", 2},
		{"12<3", "12(<3(body)<)", 2},
		{"<123", "<123(body)<", 1},
		{"123A", "123(AbodyA)", 1},
		{"A12A", "A12(AbodyA)A", 1},
		{"182", "1(8(2(body)))", 3},
		{"118", "11(8(body))", 2},
	} {
		t.Run(test.ids, func(t *testing.T) {
			var x XferPipe
			for _, id := range []byte(test.ids) {
				x.filters = append(x.filters, filters[id])
			}
			here, there = 0, 0
			got, err := x.AppendPack([]byte("head "), []byte("body"))
			if want := "head " + test.packed; err != nil || string(got) != want || here+there != test.steps {
				t.Errorf("AppendPack = %q, %v, in %d steps; want %q in %d", got, err, here+there, want, test.steps)
			}
			here, there = 0, 0
			got, err = x.AppendUnpack([]byte("head "), []byte(test.packed), 100)
			if err != nil || string(got) != "head body" || here+there != test.steps {
				t.Errorf("AppendUnpack = %q, %v, in %d steps; want %q in %d", got, err, here+there, "head body", test.steps)
			}
			if _, err = x.AppendUnpack(nil, []byte(test.packed), 3); !errors.Is(err, ErrTooLarge) {
				t.Errorf("AppendUnpack with a limit of 3: %v; want %v", err, ErrTooLarge)
			}
			if string(x.IDs()) == "" || x.Len() != len(test.ids) {
				t.Errorf("the pipe has %d filters; want %d", x.Len(), len(test.ids))
			}
		})
	}
}
