package framing

import (
	"bytes"
	"strconv"
)

// IsStatus reports whether v7 would have written b as the status of a message of this
// type.
func IsStatus(mtype byte, b []byte) bool {
	if string(b) == StatusOK {
		return true
	}
	b, ok := bytes.CutPrefix(b, []byte("code="))
	if !ok || !IsReply(mtype) {
		return false
	}
	code, b, more := bytes.Cut(b, []byte("&"))
	if _, err := strconv.ParseInt(string(code), 10, 32); err != nil {
		return false
	}
	for _, key := range []string{"msg=", "cause="} {
		if !more {
			return true
		}
		if v, ok := bytes.CutPrefix(b, []byte(key)); ok {
			v, b, more = bytes.Cut(v, []byte("&"))
			if !IsEscaped(v) {
				return false
			}
		}
	}
	return !more
}

// IsEscaped reports whether b is a part of a query string as metadata and statuses are
// written: every byte that may be escaped is, and no other.
func IsEscaped(b []byte) bool {
	for i := 0; i < len(b); i++ {
		if literal(b[i]) {
			continue
		}
		if b[i] != '%' || i+2 >= len(b) {
			return false
		}
		hi, lo := unhex(b[i+1]), unhex(b[i+2])
		if hi > 15 || lo > 15 || literal(hi<<4|lo) {
			return false
		}
		i += 2
	}
	return true
}

func literal(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '*' || c == '-' || c == '.' || c == '_'
}

// unhex returns the value of an upper-case hexadecimal digit, above 15 for none.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}
