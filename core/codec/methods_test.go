package codec

import (
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"testing"
	"time"
)

// texts has its methods by pointer and an exported field.
type texts struct{ Text string }

func (t *texts) MarshalText() ([]byte, error) { return []byte(t.Text), errText }

var errText = errors.New("no text")

func TestMethods(t *testing.T) {
	m := Methods{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler]()}
	for _, test := range []struct {
		v           any
		has, opaque bool
		text        string
		err         error
	}{
		{big.Int{}, true, true, "", nil}, // its MarshalJSON comes first
		{big.Rat{}, true, true, "0", nil},
		{time.Time{}, true, false, "", nil},
		{texts{"t"}, true, false, "t", errText},
		{json.RawMessage("1"), true, false, "", nil},
		{&big.Int{}, false, false, "", nil},
		{struct{ a int }{}, false, false, "", nil},
		{struct{}{}, false, false, "", nil},
		{7, false, false, "", nil},
	} {
		typ := reflect.TypeOf(test.v)
		if has, opaque := m.Has(typ), m.Opaque(typ); has != test.has || opaque != test.opaque {
			t.Errorf("%v: Has %t, Opaque %t; want %t, %t", typ, has, opaque, test.has, test.opaque)
		}
		if text, err := m.Text(reflect.ValueOf(test.v)); string(text) != test.text || err != test.err {
			t.Errorf("%v: Text = %q, %v; want %q, %v", typ, text, err, test.text, test.err)
		}
	}
	if m.Has(reflect.TypeFor[json.Marshaler]()) {
		t.Error("an interface has methods")
	}
	if b, err := m.Text(reflect.ValueOf(struct{ t texts }{}).Field(0)); b != nil || err != nil {
		t.Errorf("Text of a field that is not exported = %q, %v", b, err)
	}
}
