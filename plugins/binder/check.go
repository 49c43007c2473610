package binder

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

var errTuple = errors.New("invalid validation tuple")

// parseTuple reads a:b, a:, :b, or a, which is a:a.
func parseTuple(text string) (low, high string, err error) {
	low, high, found := strings.Cut(text, ":")
	low, high = strings.TrimSpace(low), strings.TrimSpace(high)
	if !found {
		high = low
	}
	if low == "" && high == "" {
		return "", "", errTuple
	}
	return low, high, nil
}

func lengthCheck(text string) (check, error) {
	low, high, err := parseTuple(text)
	if err != nil {
		return nil, err
	}
	least, most := 0, math.MaxInt
	if low != "" {
		if least, err = strconv.Atoi(low); err != nil {
			return nil, err
		}
	}
	if high != "" {
		if most, err = strconv.Atoi(high); err != nil {
			return nil, err
		}
	}
	if most < max(least, 0) {
		return nil, errTuple // nothing has such a length
	}
	return func(v reflect.Value) error {
		switch n := v.Len(); {
		case n < least:
			return fmt.Errorf("shorter than %s: %s", low, brief(v))
		case n > most:
			return fmt.Errorf("longer than %s: %s", high, brief(v))
		}
		return nil
	}, nil
}

// bound is one end of a range. Integers are compared as such: as floating-point
// numbers large ones would be equal to their neighbours.
type bound struct {
	text   string // empty: there is none
	number float64
	int    int64
	uint   uint64
	isInt  bool
	isUint bool
}

func parseBound(text string) (b bound, err error) {
	if text == "" {
		return b, nil
	}
	b.text = text
	if b.number, err = strconv.ParseFloat(text, 64); err != nil {
		return b, err
	}
	if math.IsNaN(b.number) {
		return b, errTuple
	}
	b.int, err = strconv.ParseInt(text, 10, 64)
	b.isInt = err == nil
	b.uint, err = strconv.ParseUint(text, 10, 64)
	b.isUint = err == nil
	return b, nil
}

// accuracy is how far apart floating-point numbers may be and still be equal.
const accuracy = 1e-7

// compare returns what cmp.Compare(v, b) would; v is no NaN.
func (b *bound) compare(v reflect.Value) int {
	var f float64
	switch {
	case v.CanInt() && b.isInt:
		return cmp.Compare(v.Int(), b.int)
	case v.CanInt() && b.isUint:
		return -1 // the bound is above all of them
	case v.CanInt():
		f = float64(v.Int())
	case v.CanUint() && b.isUint:
		return cmp.Compare(v.Uint(), b.uint)
	case v.CanUint():
		f = float64(v.Uint())
	default:
		f = v.Float()
	}
	if math.Abs(f-b.number) <= accuracy {
		return 0
	}
	return cmp.Compare(f, b.number)
}

func rangeCheck(text string) (check, error) {
	lowText, highText, err := parseTuple(text)
	if err != nil {
		return nil, err
	}
	low, err := parseBound(lowText)
	if err != nil {
		return nil, err
	}
	high, err := parseBound(highText)
	if err != nil {
		return nil, err
	}
	if low.text != "" && high.text != "" && low.number > high.number {
		return nil, errTuple
	}
	return func(v reflect.Value) error {
		none := v.CanFloat() && math.IsNaN(v.Float()) // is in no range
		switch {
		case low.text != "" && (none || low.compare(v) < 0):
			return fmt.Errorf("smaller than %s: %s", low.text, brief(v))
		case high.text != "" && (none || high.compare(v) > 0):
			return fmt.Errorf("bigger than %s: %s", high.text, brief(v))
		}
		return nil
	}, nil
}

func isNumber(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return true
	}
	return false
}

var errZero = errors.New("zero value")

// nonzeroCheck takes nil and empty slices and maps for the same: which of them a
// message becomes depends on its codec.
func nonzeroCheck(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			return errZero
		}
		return nil
	}
	if z, ok := v.Interface().(interface{ IsZero() bool }); ok && v.Kind() == reflect.Struct {
		if z.IsZero() {
			return errZero
		}
		return nil
	}
	if v.IsZero() {
		return errZero
	}
	return nil
}

func regexpCheck(expr string) (check, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	return func(v reflect.Value) error {
		if !re.MatchString(v.String()) {
			return fmt.Errorf("not match %s: %s", expr, brief(v))
		}
		return nil
	}, nil
}

// eachOf makes a check of single values one of all elements of a slice or array.
func eachOf(t reflect.Type, of func(string) (check, error)) func(string) (check, error) {
	if memberOf(t) == t {
		return of
	}
	return func(text string) (check, error) {
		one, err := of(text)
		if err != nil {
			return nil, err
		}
		return func(v reflect.Value) error {
			for i := range v.Len() {
				if err := one(v.Index(i)); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}
}

// maxValueText is how much of a refused value a reason shows, in bytes.
const maxValueText = 256

// brief is the text of a value, cut if it is long: it came from outside and goes
// back there, and into logs.
func brief(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return shorten(v.String())
	case reflect.Slice:
		if v.Len() > maxValueText {
			v = v.Slice(0, maxValueText)
		}
	}
	return shorten(fmt.Sprint(v.Interface()))
}

func shorten(s string) string {
	if len(s) <= maxValueText {
		return s
	}
	n := maxValueText
	for n > maxValueText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
