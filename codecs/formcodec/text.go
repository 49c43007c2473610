package formcodec

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// text converts values of one type to text and back.
type text struct {
	// append appends the text of v, escaped.
	append func(dst []byte, v reflect.Value) ([]byte, error)
	// set sets v, which can be set, from a text. It keeps no part of it.
	set func(v reflect.Value, text []byte) error
	// emptyIsNone reports that an empty text means no value.
	emptyIsNone bool
}

var (
	errNoText = errors.New("no text")

	timeType      = reflect.TypeFor[time.Time]()
	durationType  = reflect.TypeFor[time.Duration]()
	marshalerType = reflect.TypeFor[encoding.TextMarshaler]()
	unmarshalType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// has reports whether values of type t, which is no pointer, or pointers to them
// have the methods of an interface.
func has(t, methods reflect.Type) bool {
	return t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(methods)
}

func isText(t reflect.Type) bool { return has(t, marshalerType) || has(t, unmarshalType) }

// textOf returns the conversion of values of type t, which is no pointer, in a
// field with that tag. The error is errNoText if there is none.
func textOf(t reflect.Type, tag reflect.StructTag) (text, error) {
	if t == timeType {
		return timeText(tag)
	}
	s, ok := kindText(t)
	if !ok && !isText(t) {
		return text{}, errNoText
	}
	if has(t, marshalerType) {
		s.append = appendMarshaler
	}
	if has(t, unmarshalType) {
		s.set, s.emptyIsNone = setUnmarshaler, false
	}
	if s.append == nil {
		s.append = func(dst []byte, _ reflect.Value) ([]byte, error) {
			return dst, fmt.Errorf("%v has no MarshalText", t)
		}
	}
	if s.set == nil {
		s.set = func(reflect.Value, []byte) error { return fmt.Errorf("%v has no UnmarshalText", t) }
	}
	return s, nil
}

// addressOf returns a pointer to v, or to a copy of it.
func addressOf(v reflect.Value) any {
	if v.CanAddr() {
		return v.Addr().Interface()
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p.Interface()
}

func appendMarshaler(dst []byte, v reflect.Value) ([]byte, error) {
	b, err := addressOf(v).(encoding.TextMarshaler).MarshalText()
	return appendEscaped(dst, b), err
}

func setUnmarshaler(v reflect.Value, text []byte) error {
	return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(text)
}

// kindText returns the conversion of values of the kinds that have one.
func kindText(t reflect.Type) (text, bool) {
	bits := 0
	if k := t.Kind(); k >= reflect.Int && k <= reflect.Complex128 {
		bits = t.Bits()
	}
	switch t.Kind() {
	case reflect.String:
		return text{
			append: func(dst []byte, v reflect.Value) ([]byte, error) { return appendEscaped(dst, v.String()), nil },
			set:    func(v reflect.Value, text []byte) error { v.SetString(string(text)); return nil },
		}, true
	case reflect.Slice:
		if e := t.Elem(); e.Kind() != reflect.Uint8 || isText(e) {
			return text{}, false
		}
		return text{
			append: func(dst []byte, v reflect.Value) ([]byte, error) { return appendEscaped(dst, v.Bytes()), nil },
			set: func(v reflect.Value, text []byte) error {
				v.SetBytes(append(make([]byte, 0, len(text)), text...))
				return nil
			},
		}, true
	case reflect.Bool:
		return text{
			append: func(dst []byte, v reflect.Value) ([]byte, error) { return strconv.AppendBool(dst, v.Bool()), nil },
			set:    number(parseBool, reflect.Value.SetBool), emptyIsNone: true,
		}, true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		parse := func(s string) (int64, error) { return strconv.ParseInt(s, 10, bits) }
		s := text{
			append: func(dst []byte, v reflect.Value) ([]byte, error) { return strconv.AppendInt(dst, v.Int(), 10), nil },
			set:    number(parse, reflect.Value.SetInt), emptyIsNone: true,
		}
		if t == durationType {
			s.set = number(parseDuration, reflect.Value.SetInt)
		}
		return s, true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		parse := func(s string) (uint64, error) { return strconv.ParseUint(s, 10, bits) }
		return text{
			append: func(dst []byte, v reflect.Value) ([]byte, error) { return strconv.AppendUint(dst, v.Uint(), 10), nil },
			set:    number(parse, reflect.Value.SetUint), emptyIsNone: true,
		}, true
	case reflect.Float32, reflect.Float64:
		parse := func(s string) (float64, error) { return strconv.ParseFloat(s, bits) }
		return text{
			append: func(dst []byte, v reflect.Value) ([]byte, error) {
				var buf [32]byte
				return appendEscaped(dst, strconv.AppendFloat(buf[:0], v.Float(), 'f', -1, bits)), nil
			},
			set: number(parse, reflect.Value.SetFloat), emptyIsNone: true,
		}, true
	case reflect.Complex64, reflect.Complex128:
		parse := func(s string) (complex128, error) { return strconv.ParseComplex(s, bits) }
		return text{
			append: func(dst []byte, v reflect.Value) ([]byte, error) {
				return appendEscaped(dst, strconv.FormatComplex(v.Complex(), 'f', -1, bits)), nil
			},
			set: number(parse, reflect.Value.SetComplex), emptyIsNone: true,
		}, true
	}
	return text{}, false
}

// maxNumber is more bytes than any number or time needs.
const maxNumber = 1024

// number returns a function that parses a text and sets a value to the result.
func number[T any](parse func(string) (T, error), set func(reflect.Value, T)) func(reflect.Value, []byte) error {
	return func(v reflect.Value, text []byte) error {
		if len(text) > maxNumber {
			return strconv.ErrSyntax
		}
		x, err := parse(string(text))
		if num := (*strconv.NumError)(nil); errors.As(err, &num) {
			return num.Err // without the text, since the caller quotes its start
		}
		if err != nil {
			return err
		}
		set(v, x)
		return nil
	}
}

// parseDuration reads nanoseconds, as they are written here, and what people write.
func parseDuration(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		if d, derr := time.ParseDuration(s); derr == nil {
			return int64(d), nil
		}
	}
	return n, err
}

func parseBool(s string) (bool, error) {
	if s == "on" {
		return true, nil
	}
	return strconv.ParseBool(s)
}

// timeText returns the conversion of times in a field with that tag.
func timeText(tag reflect.StructTag) (text, error) {
	layout := tag.Get("time_format")
	strict := layout == ""
	if strict {
		layout = time.RFC3339Nano
	}
	loc, err := location(tag)
	if err != nil {
		return text{}, err
	}
	zoned := strings.Contains(layout, "MST") || strings.Contains(layout, "Z07") || strings.Contains(layout, "-07")
	if loc == nil && !zoned {
		loc = time.Local
	}
	return text{
		append: func(dst []byte, v reflect.Value) ([]byte, error) {
			t := *addressOf(v).(*time.Time)
			if loc != nil {
				t = t.In(loc)
			}
			if strict {
				// RFC 3339 has no seconds in an offset, as zones of before 1937 have.
				if _, offset := t.Zone(); offset%60 != 0 {
					t = t.In(time.FixedZone("", offset-offset%60))
				}
				if y := t.Year(); y < 0 || y > 9999 {
					return dst, fmt.Errorf("year %d is outside of 0 to 9999", y)
				}
			}
			var buf [64]byte
			return appendEscaped(dst, t.AppendFormat(buf[:0], layout)), nil
		},
		set: func(v reflect.Value, text []byte) error {
			if len(text) > maxNumber {
				return strconv.ErrSyntax
			}
			in := loc
			if in == nil {
				in = time.UTC
			}
			t, err := time.ParseInLocation(layout, string(text), in)
			if err != nil {
				return fmt.Errorf("no time like %q", layout)
			}
			if loc != nil {
				t = t.In(loc)
			}
			*v.Addr().Interface().(*time.Time) = t
			return nil
		},
		emptyIsNone: true,
	}, nil
}

// location returns the location that a tag names, nil if it names none.
func location(tag reflect.StructTag) (*time.Location, error) {
	if name := tag.Get("time_location"); name != "" {
		return time.LoadLocation(name)
	}
	utc := tag.Get("time_utc")
	if utc == "" {
		return nil, nil
	}
	yes, err := strconv.ParseBool(utc)
	if err != nil {
		return nil, fmt.Errorf("tag time_utc:%q is no bool", utc)
	}
	if yes {
		return time.UTC, nil
	}
	return nil, nil
}
