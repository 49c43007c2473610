package jsoncodec

import (
	"bytes"
	"encoding/json"
	"math/big"
	"reflect"
	"strconv"
	"strings"
)

// longInteger is how many digits an integer has at least that does not fit a
// float64: 2^53 has 16.
const longInteger = 16

// hasLongInteger reports whether data has so many digits in a row. It looks at one
// byte in longInteger, and at those around a digit.
func hasLongInteger(data []byte) bool {
	for i := longInteger - 1; i < len(data); i += longInteger {
		n := 0
		for at := i; at >= 0 && isDigit(data[at]) && n < longInteger; at-- {
			n++
		}
		for at := i + 1; n > 0 && at < len(data) && isDigit(data[at]) && n < longInteger; at++ {
			n++
		}
		if n == longInteger {
			return true
		}
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// unmarshalNumbers is json.Unmarshal of data that is valid, with a json.Number for
// each integer in an interface that does not fit a float64.
func unmarshalNumbers(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	return (&numbers{}).settle(reflect.ValueOf(v))
}

// numbers replaces the json.Numbers in interfaces that fit a float64.
type numbers struct {
	seen map[target]bool // a value can point to itself
}

// target is what a pointer or a map refers to.
type target struct {
	reflect.Type
	at uintptr
}

func (n *numbers) settle(v reflect.Value) error {
	if !traitsOf(v.Type()).interfaces {
		return nil
	}
	switch v.Kind() {
	case reflect.Interface:
		return n.settleInterface(v)
	case reflect.Pointer:
		if v.IsNil() || n.known(v) {
			return nil
		}
		return n.settle(v.Elem())
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := n.settle(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		return n.settleMap(v)
	case reflect.Struct:
		for i := range v.NumField() {
			if !isVisible(v.Type().Field(i)) {
				continue
			}
			if err := n.settle(v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// known reports whether it has been called with this pointer or map before.
func (n *numbers) known(v reflect.Value) bool {
	at := target{v.Type(), v.Pointer()}
	if n.seen[at] {
		return true
	}
	if n.seen == nil {
		n.seen = make(map[target]bool)
	}
	n.seen[at] = true
	return false
}

func (n *numbers) settleInterface(v reflect.Value) error {
	if v.IsNil() || !v.CanSet() {
		return nil
	}
	num, ok := v.Elem().Interface().(json.Number)
	if !ok {
		return n.settle(v.Elem())
	}
	f, err := strconv.ParseFloat(string(num), 64)
	if err != nil {
		return &json.UnmarshalTypeError{Value: "number " + string(num), Type: reflect.TypeFor[float64]()}
	}
	if strings.ContainsAny(string(num), ".eE") || big.NewFloat(f).Text('f', 0) == string(num) {
		v.Set(reflect.ValueOf(f))
	}
	return nil
}

func (n *numbers) settleMap(m reflect.Value) error {
	if m.IsNil() || n.known(m) {
		return nil
	}
	for k, e := range m.Seq2() {
		c := reflect.New(e.Type()).Elem() // the element itself cannot be set
		c.Set(e)
		if err := n.settle(c); err != nil {
			return err
		}
		m.SetMapIndex(k, c)
	}
	return nil
}
