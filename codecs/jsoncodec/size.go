package jsoncodec

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codec/measure"
)

// format is how encoding/json sees Go types.
var format = &measure.Format{
	Name: func(f reflect.StructField) (string, bool) {
		if !isVisible(f) {
			return "", false
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name, true
	},
	Methods:  methods,
	MinValue: 2, // a digit and a comma
}

// checkSize returns an error if the value of data would exceed the limits, and reserves what
// it takes. What is no JSON is not its matter: encoding/json finds that before it decodes.
func checkSize(data []byte, v any, account codec.Account) error {
	if measure.Small(len(data)) {
		return nil
	}
	begins := bytes.Count(data, []byte{'['}) + bytes.Count(data, []byte{'{'})
	m := format.MeterFor(account, len(data), begins, v)
	if m == nil {
		return nil
	}
	if err := measureValues(data, m); err != nil {
		return err
	}
	return m.Reserve(account)
}

func measureValues(data []byte, m *measure.Meter) error {
	for i := 0; i < len(data); {
		var err error
		switch c := data[i]; c {
		case '{':
			i, err = i+1, m.BeginMap()
		case '[':
			i, err = i+1, m.BeginList()
		case '}', ']':
			m.End()
			i++
		case '"':
			end := i + 1 + textLen(data[i+1:])
			next := end + 1
			for next < len(data) && isSpace(data[next]) {
				next++
			}
			if next < len(data) && data[next] == ':' {
				m.Name(unescape(data[i+1 : end]))
			} else {
				err = m.Value()
			}
			i = next
		default:
			i++
			if isDelimiter[c] {
				break
			}
			err = m.Value()
			for i < len(data) && !isDelimiter[data[i]] {
				i++
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isDelimiter is true for what no number and no word has in it.
var isDelimiter = [256]bool{' ': true, '\t': true, '\r': true, '\n': true, ',': true, ':': true, '"': true, '{': true, '}': true, '[': true, ']': true}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// textLen returns how many bytes are before the quote that ends a text, all if none does.
func textLen(data []byte) int {
	for i := 0; ; {
		at := bytes.IndexByte(data[i:], '"')
		if at < 0 {
			return len(data)
		}
		i += at
		escapes := 0
		for escapes < i && data[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
		i++
	}
}

// unescape returns the text of a name.
func unescape(name []byte) []byte {
	if bytes.IndexByte(name, '\\') < 0 {
		return name
	}
	var text string
	if json.Unmarshal(append(append([]byte{'"'}, name...), '"'), &text) != nil {
		return name
	}
	return []byte(text)
}
