package xmlcodec

import (
	"bytes"
	"encoding/xml"
	"reflect"
	"strings"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codec/measure"
)

// format is how encoding/xml sees Go types.
var format = &measure.Format{
	Name:     elementName,
	Methods:  methods,
	MinValue: len("<a/>"),
	Path:     ">",
	Others:   anyElement,
	Repeats:  true,
}

// anyElement is no name of an element.
const anyElement = ",any"

// elementName returns the local name of the elements for a field.
func elementName(f reflect.StructField) (string, bool) {
	if !isVisible(f) {
		return "", false
	}
	name, options, _ := strings.Cut(f.Tag.Get("xml"), ",")
	name = name[strings.LastIndexByte(name, ' ')+1:] // without the name space
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "attr", "chardata", "cdata", "innerxml", "comment":
			return "", false
		case "any":
			return anyElement, true
		}
	}
	if name == "" && !f.Anonymous {
		name = rootName(f.Type)
	}
	return name, true
}

// rootName returns the name that a struct gives itself by its XMLName.
func rootName(t reflect.Type) string {
	for range maxPointers {
		if t.Kind() != reflect.Pointer && t.Kind() != reflect.Slice {
			break
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return ""
	}
	f, ok := t.FieldByName("XMLName")
	if !ok || f.Type != reflect.TypeFor[xml.Name]() {
		return ""
	}
	name, _, _ := strings.Cut(f.Tag.Get("xml"), ",")
	return name[strings.LastIndexByte(name, ' ')+1:]
}

const (
	maxPointers = 8  // bounds rootName for a type that is a pointer to itself
	attrSize    = 64 // of an xml.Attr with its texts, all of which an element has at once
)

// checkSize returns an error if the value of data would exceed the limits, and reserves what
// it takes. It finds the elements as encoding/xml does, up to the first error.
func checkSize(data []byte, v any, account codec.Account) error {
	if measure.Small(len(data)) {
		return nil
	}
	m := format.MeterFor(account, len(data), bytes.Count(data, []byte{'<'}), v)
	if m == nil {
		return nil
	}
	if err := measureElements(data, m); err != nil {
		return err
	}
	return m.Reserve(account)
}

func measureElements(data []byte, m *measure.Meter) error {
	for {
		at := bytes.IndexByte(data, '<')
		if at < 0 {
			return nil
		}
		data = data[at+1:]
		n := markupLen(data)
		switch {
		case n < 0:
			return nil
		case n > 0:
			data = data[n:]
			continue
		case data[0] == '/':
			m.End()
			continue
		}
		e := readTag(data)
		if e.len < 0 {
			return nil
		}
		data = data[e.len:]
		if err := m.Take(e.attrs, attrSize); err != nil {
			return err
		}
		m.Give(e.attrs, attrSize)
		m.Name(e.name)
		if err := m.BeginMap(); err != nil {
			return err
		}
		if e.empty {
			m.End()
		}
	}
}

// markupLen returns the length of a comment, CDATA, instruction or directive, without the
// "<" before it: 0 if the tag of an element is there, below 0 if nothing ends it.
func markupLen(data []byte) int {
	switch {
	case len(data) == 0:
		return -1
	case data[0] == '?':
		return lenUntil(data, 1, "?>")
	case data[0] != '!':
		return 0
	case bytes.HasPrefix(data, []byte("!--")):
		return lenUntil(data, len("!--"), "-->")
	case bytes.HasPrefix(data, []byte("![")):
		return lenUntil(data, len("!["), "]]>")
	}
	return directiveLen(data)
}

// lenUntil returns the length of data up to and with end, -1 without one.
func lenUntil(data []byte, from int, end string) int {
	if at := bytes.Index(data[from:], []byte(end)); at >= 0 {
		return from + at + len(end)
	}
	return -1
}

// directiveLen returns the length of a directive, such as !DOCTYPE, which can have quoted
// texts, other directives and comments in it.
func directiveLen(data []byte) int {
	quote, depth := byte(0), 0
	for i := 2; i < len(data); i++ {
		switch c := data[i]; {
		case c == quote:
			quote = 0
		case quote != 0:
		case c == '\'' || c == '"':
			quote = c
		case c == '>' && depth == 0:
			return i + 1
		case c == '>':
			depth--
		case c == '<' && bytes.HasPrefix(data[i+1:], []byte("!--")):
			n := lenUntil(data[i:], len("<!--"), "-->")
			if n < 0 {
				return -1
			}
			i += n - 1
		case c == '<':
			depth++
		}
	}
	return -1
}

// tag is the tag that begins an element.
type tag struct {
	name  []byte // local
	attrs int
	empty bool // it ends the element, too
	len   int  // with the ">"; below 0 if there is none
}

func readTag(data []byte) (t tag) {
	end := bytes.IndexAny(data, " \t\r\n/>")
	if end < 0 {
		return tag{len: -1}
	}
	t.name = data[bytes.LastIndexByte(data[:end], ':')+1 : end]
	for i := end; i < len(data); i++ {
		switch c := data[i]; c {
		case '"', '\'':
			n := bytes.IndexByte(data[i+1:], c)
			if n < 0 {
				return tag{len: -1}
			}
			t.attrs++
			i += n + 1
		case '>':
			t.empty = i > 0 && data[i-1] == '/'
			t.len = i + 1
			return t
		}
	}
	return tag{len: -1}
}
