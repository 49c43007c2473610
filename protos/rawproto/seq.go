package rawproto

import "strconv"

// A sequence number is text in base 36 on the wire. Both directions have a path of their
// own for what nearly every frame has: for others strconv is right, but it took 6% of the
// CPU time of a small call.

const (
	digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	// shortText is how many digits always make a number of 32 bits, with its sign.
	shortText = 5
	// longText is how many digits the largest number has.
	longText = 6
)

// appendSeq appends the text of a sequence number.
func appendSeq(dst []byte, seq int32) []byte {
	if seq < 0 {
		return strconv.AppendInt(dst, int64(seq), 36)
	}
	var text [longText]byte
	at := len(text)
	n := uint32(seq)
	for {
		at--
		text[at] = digits[n%36]
		if n /= 36; n == 0 {
			return append(dst, text[at:]...)
		}
	}
}

// parseSeq returns the number of a text that strconv.ParseInt accepts, and whether it is
// one of 32 bits.
func parseSeq(text []byte) (seq int32, ok bool) {
	if len(text) == 0 || len(text) > shortText {
		return parseAny(text)
	}
	n := uint32(0)
	for _, c := range text {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'z':
			c -= 'a' - 10
		default:
			return parseAny(text)
		}
		n = 36*n + uint32(c)
	}
	return int32(n), true
}

func parseAny(text []byte) (seq int32, ok bool) {
	n, err := strconv.ParseInt(string(text), 36, 32)
	return int32(n), err == nil
}
