package jsonproto

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// document is a payload taken apart; its slices are parts of the payload or of
// text.
type document struct {
	framing.Fields
	unescaped bool   // the body is a part of text
	piped     bool   // there is a key for the ids of the filters
	pipe      []byte // these

	text []byte // where strings are unescaped
}

// parse takes a payload apart: first as v5 and v7 write it, keys in their order
// without a space, then as any JSON.
func (d *document) parse(b []byte) error {
	if body, ok := d.parseFixed(b); ok {
		if d.lastBody(body) {
			return nil
		}
	}
	*d = document{text: d.text[:0]}
	return d.parseAny(b)
}

// parseFixed reads what comes before the value of the last key.
func (d *document) parseFixed(b []byte) (body []byte, ok bool) {
	var seq, mtype, codec int64
	if seq, b, ok = cutNumber(b, `{"seq":`); !ok || seq < math.MinInt32 || seq > math.MaxInt32 {
		return nil, false
	}
	if mtype, b, ok = cutNumber(b, `,"mtype":`); !ok || mtype < 0 || mtype > math.MaxUint8 {
		return nil, false
	}
	if d.ServiceMethod, b, ok = d.cutText(b, `,"serviceMethod":"`); !ok {
		return nil, false
	}
	d.Status, b, d.HasStatus = d.cutText(b, `,"status":"`)
	if d.Meta, b, ok = d.cutText(b, `,"meta":"`); !ok {
		return nil, false
	}
	if codec, b, ok = cutNumber(b, `,"bodyCodec":`); !ok || codec < 0 || codec > math.MaxUint8 {
		return nil, false
	}
	d.Seq, d.Mtype, d.Codec = int32(seq), byte(mtype), byte(codec)
	return cut(b, `,"body":`)
}

func cut(b []byte, prefix string) (rest []byte, ok bool) {
	if len(b) < len(prefix) || string(b[:len(prefix)]) != prefix {
		return b, false
	}
	return b[len(prefix):], true
}

// cutNumber cuts a prefix and the whole number of at most ten digits behind it.
func cutNumber(b []byte, prefix string) (v int64, rest []byte, ok bool) {
	rest, ok = cut(b, prefix)
	if !ok {
		return 0, b, false
	}
	minus := len(rest) > 0 && rest[0] == '-'
	if minus {
		rest = rest[1:]
	}
	n := 0
	for ; n < len(rest) && n <= 10 && rest[n]-'0' <= 9; n++ {
		v = v*10 + int64(rest[n]-'0')
	}
	if minus {
		v = -v
	}
	return v, rest[n:], n > 0 && n <= 10
}

// cutText cuts a prefix and the string behind it, with its closing quote.
func (d *document) cutText(b []byte, prefix string) (text, rest []byte, ok bool) {
	rest, ok = cut(b, prefix)
	if !ok {
		return nil, b, false
	}
	n, escaped := textEnd(rest)
	if n < 0 {
		return nil, b, false
	}
	text, rest = rest[:n], rest[n+1:]
	if escaped {
		if text, ok = d.unescape(text, golang); !ok {
			return nil, b, false
		}
	}
	return text, rest, true
}

// textEnd finds the closing quote of a string, -1 if there is none.
func textEnd(b []byte) (end int, escaped bool) {
	end = -1
	for n := 0; n < len(b); {
		if end < n {
			k := bytes.IndexByte(b[n:], '"')
			if k < 0 {
				return -1, escaped
			}
			end = n + k
		}
		slash := bytes.IndexByte(b[n:end], '\\')
		if slash < 0 {
			return end, escaped
		}
		escaped = true
		n += slash + 2
	}
	return -1, escaped
}

func (d *document) unescape(text []byte, m mode) (_ []byte, ok bool) {
	at := len(d.text)
	d.text, _, ok = unescape(d.text, text, m)
	return d.text[at:], ok
}

// lastBody reads the body, which is what is left of the document. It is not ok if
// the body is no string, or if there is something behind it.
func (d *document) lastBody(b []byte) (ok bool) {
	b, ok = bytes.CutSuffix(b, []byte("}"))
	return ok && d.bodyText(b)
}

// bodyText reads the body, which is a string and nothing behind it.
//
// With a space before it, it was escaped as JSON requires. Without one it may be of v5 or
// v7, which escape only quotes. If that makes a difference, it is read as JSON, unless
// that is impossible: it has a control character or an escape that JSON does not have,
// or it is of the JSON codec and is JSON only if backslashes stand for themselves.
func (d *document) bodyText(b []byte) (ok bool) {
	b, marked := cut(b, " ")
	b, ok = cut(b, `"`)
	s, ends := bytes.CutSuffix(b, []byte(`"`))
	if !ok || !ends {
		return false
	}
	if len(s) == 0 {
		d.Body = s
		return true
	}
	if clean(s) {
		d.Body = b[:len(s)] // its capacity reaches the frame's end: socket.Conn compares that
		return true
	}
	at := len(d.text)
	var plain bool
	d.text, plain, ok = unescape(d.text, s, strict)
	d.Body, d.unescaped = d.text[at:], true
	if marked || ok && (plain || d.Codec != codec.JSON || json.Valid(d.Body)) {
		return ok
	}
	end := len(d.text)
	var quotesOnly bool
	d.text, quotesOnly = unquote(d.text, s)
	if quotesOnly && (!ok || json.Valid(d.text[end:])) {
		d.Body = d.text[end:]
		return true
	}
	d.text = d.text[:end]
	return ok
}

// dialect returns the dialect in which the document was written.
func (d *document) dialect() Dialect {
	if d.HasStatus {
		return V7
	}
	return V5
}

// whole reads a number that has to be a whole one between two others.
func whole(field string, b []byte, least, most int64) (int64, error) {
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(string(b), 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return 0, bad(field, fmt.Sprintf("%.40q is not a whole number", b))
		}
		v = int64(f)
	}
	if v < least || v > most {
		return 0, bad(field, fmt.Sprintf("of %d is not between %d and %d", v, least, most))
	}
	return v, nil
}
