package binder

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
)

// fromTexts reports whether setTexts can set fields of type t.
func fromTexts(t reflect.Type) bool {
	if isText(t) {
		return true
	}
	if t.Kind() == reflect.Slice {
		return isText(t.Elem()) || isScalar(t.Elem())
	}
	return isScalar(t)
}

func isText(t reflect.Type) bool {
	return t.Kind() == reflect.String || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

func isScalar(t reflect.Type) bool { return t.Kind() == reflect.Bool || isNumber(t) }

// setTexts sets a field to the first of the values, or a slice to all of them. No
// values leave it as it is. It keeps no byte of them.
func setTexts(field reflect.Value, values [][]byte) error {
	if len(values) == 0 {
		return nil
	}
	t := field.Type()
	if t.Kind() != reflect.Slice || isText(t) {
		return converted(setText(field, string(values[0])), values[0], t)
	}
	list := reflect.MakeSlice(t, len(values), len(values))
	for i, value := range values {
		if err := setText(list.Index(i), string(value)); err != nil {
			return converted(err, value, t)
		}
	}
	field.Set(list)
	return nil
}

// setText sets what isText or isScalar.
func setText(v reflect.Value, text string) error {
	switch {
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Slice:
		v.SetBytes([]byte(text))
	case v.Kind() == reflect.Bool:
		v.SetBool(text == "true" || text == "on" || text == "1")
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return err
		}
		v.SetInt(n)
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return err
		}
		v.SetUint(n)
	default:
		f, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil {
			return err
		}
		v.SetFloat(f)
	}
	return nil
}

func converted(err error, text []byte, t reflect.Type) error {
	if err == nil {
		return nil
	}
	var number *strconv.NumError
	if errors.As(err, &number) {
		err = number.Err // without the text, which may be long
	}
	return fmt.Errorf("converting type []string (%q) to a %s: %w", shorten(string(text)), t.Kind(), err)
}

// setValue sets a field to a value of this process.
func setValue(field reflect.Value, value any) error {
	v, t := reflect.ValueOf(value), field.Type()
	switch {
	case !v.IsValid(): // nil
	case v.Type().AssignableTo(t):
		field.Set(v)
		return nil
	case t.Kind() == reflect.String && v.Kind() != reflect.String && !isText(v.Type()):
		// Go would make a letter of a number.
	case v.CanConvert(t) && fits(v, t):
		field.Set(v.Convert(t))
		return nil
	}
	return fmt.Errorf("%s can not be setted", t)
}

// fits reports whether a number is in the range of a type of numbers.
func fits(v reflect.Value, t reflect.Type) bool {
	zero := reflect.Zero(t)
	switch {
	case v.CanInt() && zero.CanInt():
		return !t.OverflowInt(v.Int())
	case v.CanInt() && zero.CanUint():
		return v.Int() >= 0 && !t.OverflowUint(uint64(v.Int()))
	case v.CanUint() && zero.CanUint():
		return !t.OverflowUint(v.Uint())
	case v.CanUint() && zero.CanInt():
		return v.Uint() <= 1<<63-1 && !t.OverflowInt(int64(v.Uint()))
	case v.CanFloat() && zero.CanInt():
		f := v.Float()
		return f >= -1<<63 && f < 1<<63 && !t.OverflowInt(int64(f))
	case v.CanFloat() && zero.CanUint():
		f := v.Float()
		return f > -1 && f < 1<<64 && !t.OverflowUint(uint64(f))
	case v.CanFloat() && zero.CanFloat():
		return !t.OverflowFloat(v.Float())
	}
	return true
}
