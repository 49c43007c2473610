package measure

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/codec"
)

func TestBudget(t *testing.T) {
	defer codec.SetLimits(codec.CurrentLimits())
	codec.SetLimits(codec.Limits{Depth: 2, Memory: 100, Factor: 2})
	b := NewBudget(60) // 120 bytes
	if err := errors.Join(b.Enter(), b.Enter()); err != nil {
		t.Error(err)
	}
	if err, want := b.Enter(), (&codec.LimitError{What: "levels of nesting", Limit: 2, Found: 3}); !reflect.DeepEqual(err, want) {
		t.Errorf("third level: %v; want %v", err, want)
	}
	b.Leave()
	b.Leave()
	if err := b.Enter(); err != nil {
		t.Error(err)
	}
	if err := b.Take(10, 12); err != nil {
		t.Error(err)
	}
	if err, want := b.Take(1, 1), (&codec.LimitError{What: "bytes of memory for the value", Limit: 120, Found: 121}); !reflect.DeepEqual(err, want) {
		t.Errorf("byte 121: %v; want %v", err, want)
	}
	b.Give(5, 12)
	if err := b.Take(1, 50); err != nil {
		t.Error(err)
	}
	const most = math.MaxInt
	if err := b.Take(most, most); !errors.Is(err, codec.ErrTooComplex) {
		t.Errorf("error %v; want %v", err, codec.ErrTooComplex)
	}
	codec.SetLimits(codec.Limits{Depth: -1, Memory: -1, Factor: -1})
	b = NewBudget(math.MaxInt)
	if !b.Allows(math.MaxInt, math.MaxInt) || b.AllowsDepth(maxDepth+1) {
		t.Errorf("without limits: %+v; want any size, and %d levels", b, maxDepth)
	}
}

// tree has all that a shape can be made of.
type tree struct {
	Name  string
	Left  *tree
	List  []tree `json:"items"`
	Maps  map[string]tree
	Array [3]*tree
	Any   any
	Time  time.Time
	Bytes []byte
	inline
	*inner
	_ [100]byte
}

type (
	inline struct{ Deep, Name []tree }
	inner  struct{ Twice **tree }
	loop   *loop
)

var format = &Format{
	Name: func(f reflect.StructField) (string, bool) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name, name != "-"
	},
	Methods:  codec.Methods{Marshaler: reflect.TypeFor[json.Marshaler](), Unmarshaler: reflect.TypeFor[json.Unmarshaler]()},
	MinValue: 2,
}

// walk gives a value of JSON to the meter.
func walk(m *Meter, d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		err = m.BeginList()
		for err == nil && d.More() {
			err = walk(m, d)
		}
	case json.Delim('{'):
		err = m.BeginMap()
		for err == nil && d.More() {
			key, kerr := d.Token()
			if kerr != nil {
				return kerr
			}
			m.Name([]byte(key.(string)))
			err = walk(m, d)
		}
	default:
		return m.Value()
	}
	if err != nil {
		return err
	}
	m.End()
	_, err = d.Token()
	return err
}

func TestMeter(t *testing.T) {
	const word = wordSize
	size := int(reflect.TypeFor[tree]().Size()) // over 128 bytes, so that a map has a pointer to it
	pointed := any(new(tree))
	for _, test := range []struct {
		into any
		text string
		want int
	}{
		{new(int), `7`, 0},
		{new([]int64), `[1,2,3]`, 3 * 8},
		{new([]*int64), `[1,null]`, 2 * (word + 8)},
		{new(any), `"text"`, 2 * word},
		{new(any), `[]`, 3 * word},
		{new(any), `[1,[]]`, 3*word + 2*word + 2*word + 2*word + 3*word},
		{new(any), `{}`, 6 * word},
		{new(any), `{"a":1}`, 6*word + word + 8*4*word + 2*word},
		{new(map[string]string), `{"a":"b","c":"d"}`, 6*word + word + 8*4*word},
		{new(map[string]string), `{"1":"","2":"","3":"","4":"","5":"","6":"","7":"","8":"","9":""}`, 6*word + word + 8*4*word + 2*4*word},
		{new(map[string][200]byte), `{"a":[]}`, 6*word + word + 8*3*word + 200},
		{new(tree), `{"name":"x","other":[1],"unknown":{"items":[1]},"Time":{"items":[1]},"Bytes":[1]}`, 0},
		{new(tree), `{"left":{"ITEMS":[{},{}]}}`, 3 * size},
		{new(tree), `{"List":[{}],"items":[]}`, 0},
		{new(tree), `{"Maps":{"a":{"items":[{}]}}}`, 6*word + word + 8*(2*word+word) + size + size},
		{new(tree), `{"array":[{},null,{"items":[0]}]}`, 3*size + size},
		{new(tree), `{"Any":{}}`, 6 * word},
		{new(tree), `{"Deep":[{}]}`, size},
		{new(tree), `{"Name":[{}]}`, 0}, // the outer field
		{new(tree), `{"Twice":{}}`, word + size},
		{new(*tree), `{"items":[{}]}`, size + size},
		{&pointed, `{"items":[{}]}`, size},
		{map[string]int64{}, `{"a":1}`, 6*word + word + 8*(2*word+8)},
		{new(loop), `[[]]`, 2 * 8 * word},
	} {
		t.Run(fmt.Sprintf("%T %s", test.into, test.text), func(t *testing.T) {
			p := format.planFor(test.into)
			m := &Meter{Budget: NewBudget(1 << 20), format: format, root: p.shape}
			if err := walk(m, json.NewDecoder(strings.NewReader(test.text))); err != nil {
				t.Fatal(err)
			}
			if got := int(m.memory); got != test.want {
				t.Errorf("takes %d bytes; want %d", got, test.want)
			}
			if most := p.worst * (len(test.text) + 1) / format.MinValue; m.memory > float64(most) {
				t.Errorf("takes %v bytes; no value is to take more than %d, with %d for one", m.memory, most, p.worst)
			}
		})
	}
}

func TestNothingToMeasure(t *testing.T) {
	var none *tree
	for _, test := range []struct {
		name          string
		size, nesting int
		into          any
		measured      bool
	}{
		{"small", 1000, 1000, new([]tree), false},
		{"large, numbers", 64 << 20, 1, new([]int), false},
		{"large, texts", 64 << 20, 1, new([]string), false},
		{"large, structs", 64 << 20, 1, new([]tree), true},
		{"structs of some KiB", 64 << 10, 1, new([]tree), false},
		{"deep", 2000, 1001, new([]int), true},
		{"as deep as allowed", 2000, 1000, new([]int), false},
		{"no pointer", 64 << 20, 1, tree{}, false},
		{"nil", 64 << 20, 1, nil, false},
		{"nil pointer", 64 << 20, 1, none, false},
	} {
		if m := format.Meter(test.size, test.nesting, test.into); (m != nil) != test.measured {
			t.Errorf("%s: measured: %t; want %t", test.name, m != nil, test.measured)
		}
	}
	defer codec.SetLimits(codec.CurrentLimits())
	codec.SetLimits(codec.Limits{Depth: 10})
	if m := format.Meter(11, 11, new(any)); m == nil {
		t.Error("a body longer than the depth is not measured")
	}
}

func TestListOf(t *testing.T) {
	size := int(reflect.TypeFor[tree]().Size())
	m := &Meter{Budget: NewBudget(1 << 20), format: format, root: format.planFor(new([]*tree)).shape}
	err := errors.Join(m.BeginListOf(1000), m.BeginMap())
	m.Name([]byte("Maps"))
	err = errors.Join(err, m.BeginMapOf(10))
	m.End()
	m.End()
	m.End()
	m.End() // too many do no harm
	if want := 1000*wordSize + size + 6*wordSize + 10*2*3*wordSize + 10*size; err != nil || int(m.memory) != want {
		t.Errorf("takes %v bytes, %v; want %d", m.memory, err, want)
	}
}
