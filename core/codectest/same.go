package codectest

import (
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"time"
)

// same reports whether two values are equal as the user of a codec sees it: times
// are the same instant at the same offset, NaN is NaN, and what is in an any is
// equal by its value, since no format tells an int from an int64. Unlike those, nil
// and empty lists, and nil and zero pointers differ.
func same(a, b any) bool {
	return equalValues(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem())
}

func equalValues(a, b reflect.Value) bool {
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		if x, y := number(a.Elem()), number(b.Elem()); x != nil && y != nil {
			return x.Cmp(y) == 0
		}
		return equalValues(a.Elem(), b.Elem())
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		return equalValues(a.Elem(), b.Elem())
	case reflect.Float32, reflect.Float64:
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	case reflect.Struct:
		if !a.CanInterface() {
			return equalFields(a, b)
		}
		switch x := a.Interface().(type) {
		case time.Time:
			y := b.Interface().(time.Time)
			_, xo := x.Zone()
			_, yo := y.Zone()
			return x.Equal(y) && xo == yo
		case big.Int:
			y := b.Interface().(big.Int)
			return x.Cmp(&y) == 0
		}
		return equalFields(a, b)
	case reflect.Slice, reflect.Array:
		if a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !equalValues(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for k, x := range a.Seq2() {
			if y := b.MapIndex(k); !y.IsValid() || !equalValues(x, y) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}

func equalFields(a, b reflect.Value) bool {
	for i := range a.NumField() {
		if !equalValues(a.Field(i), b.Field(i)) {
			return false
		}
	}
	return true
}

// number returns the value of a number, nil if v is none or not finite.
func number(v reflect.Value) *big.Float {
	const prec = 512 // more than any number of the table takes
	f := new(big.Float).SetPrec(prec)
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return f.SetInt64(v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return f.SetUint64(v.Uint())
	case reflect.Float32, reflect.Float64:
		if x := v.Float(); !math.IsNaN(x) && !math.IsInf(x, 0) {
			return f.SetFloat64(x)
		}
		return nil
	}
	switch x := v.Interface().(type) {
	case json.Number:
		if f, _, err := f.Parse(string(x), 10); err == nil {
			return f
		}
	case big.Int:
		return f.SetInt(&x)
	case *big.Int:
		return f.SetInt(x)
	}
	return nil
}
