package jsoncodec

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

var errNotUTF8 = errors.New("text that is not UTF-8")

// notUTF8 returns an error that says where text is not UTF-8, nil if it is.
func notUTF8(text string) error {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
				return fmt.Errorf("%w: byte %d is 0x%02x", errNotUTF8, i, text[i])
			}
		}
	}
	return nil
}

// checkSurrogates returns an error if data has an escape for one half of a surrogate
// pair, as JavaScript may write it: encoding/json reads U+FFFD. It does not report what
// is no JSON at all.
func checkSurrogates(data []byte) error {
	for i := 0; ; {
		at := bytes.IndexByte(data[i:], '\\')
		if at < 0 {
			return nil
		}
		i += at
		r := escape(data[i:])
		switch {
		case r < 0:
			i = min(i+2, len(data)) // another escape
		case !utf16.IsSurrogate(r):
			i += escapeLen
		case utf16.DecodeRune(r, escape(data[i+escapeLen:])) != utf8.RuneError:
			i += 2 * escapeLen
		default:
			return fmt.Errorf("%w: byte %d is the start of %s, one half of a surrogate pair", errNotUTF8, i, data[i:i+escapeLen])
		}
	}
}

// escapeLen is the length of an escape like \ud83d.
const escapeLen = 6

// escape returns the code unit of the escape that data starts with, -1 if it starts
// with none.
func escape(data []byte) rune {
	if len(data) < escapeLen || data[0] != '\\' || data[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(data[2:escapeLen]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

// What encoding/json writes in the place of bytes that are not UTF-8.
var (
	replacement = []byte("\ufffd")
	escaped     = []byte(`\ufffd`)
)

// checkTexts returns an error if encoding/json has altered a text of v in data. The
// value is looked at only if there is a replacement in data.
func checkTexts(data []byte, v any) error {
	if !bytes.Contains(data, escaped) && !bytes.Contains(data, replacement) {
		return nil
	}
	return checkValue(reflect.ValueOf(v))
}

// checkValue returns an error if v has a text that is not UTF-8. It leaves alone
// what MarshalJSON writes.
func checkValue(v reflect.Value) error {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem() // ends, since the value has been encoded
	}
	if !v.IsValid() {
		return nil
	}
	if methods.Has(v.Type()) {
		text, err := methods.Text(v)
		return errors.Join(err, notUTF8(string(text)))
	}
	switch v.Kind() {
	case reflect.String:
		return notUTF8(v.String())
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := range v.Len() {
			if err := checkValue(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for k, e := range v.Seq2() {
			if err := errors.Join(checkValue(k), checkValue(e)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !isVisible(f) {
				continue
			}
			if err := checkValue(v.Field(i)); err != nil {
				return fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
	}
	return nil
}
