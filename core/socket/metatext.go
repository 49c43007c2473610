package socket

import "slices"

// The text of a Meta: a query string.

// metaParse writes no faster than it reads, so src may be a part of the block.
func metaParse[S metaText](m *Meta, src S) {
	m.Reset()
	m.buf = slices.Grow(m.buf, len(src)) // decoded is never longer
	if len(src) > metaCount {
		m.pairs = slices.Grow(m.pairs, metaMost(src))
	}
	for i := 0; i < len(src); i++ {
		first, literal, mid := i, i, -1
	pair:
		for ; i < len(src); i++ {
			switch src[i] {
			case '&':
				break pair
			case '=':
				if mid < 0 {
					m.buf = append(m.buf, src[literal:i]...)
					mid, literal = len(m.buf), i+1
				}
			case '+':
				m.buf = append(m.buf, src[literal:i]...)
				m.buf = append(m.buf, ' ')
				literal = i + 1
			case '%':
				if i+2 >= len(src) || metaHex[src[i+1]] == 0 || metaHex[src[i+2]] == 0 {
					continue
				}
				c := (metaHex[src[i+1]]-1)<<4 | (metaHex[src[i+2]] - 1)
				m.buf = append(m.buf, src[literal:i]...)
				m.buf = append(m.buf, c)
				i += 2
				literal = i + 1
			}
		}
		if i == first {
			continue
		}
		m.buf = append(m.buf, src[literal:i]...)
		if mid < 0 {
			mid = len(m.buf)
		}
		m.pairs = append(m.pairs, metaPair{uint32(mid), uint32(len(m.buf))})
	}
}

// metaCount is the length in bytes from which the pairs are counted before memory for
// them is allocated: to grow it step by step would take more.
const metaCount = 4 << 10

// metaMost returns the largest number of pairs that a query string can have.
func metaMost[S metaText](src S) (n int) {
	n = 1
	for i := range len(src) {
		if src[i] == '&' {
			n++
		}
	}
	return min(n, len(src)/2+1)
}

// metaEscape appends src in its wire form.
func metaEscape(dst, src []byte) []byte {
	const hex = "0123456789ABCDEF"
	literal := 0
	for i, c := range src {
		if metaCost[c] == 1 {
			continue
		}
		dst = append(dst, src[literal:i]...)
		dst = append(dst, '%', hex[c>>4], hex[c&15])
		literal = i + 1
	}
	return append(dst, src[literal:]...)
}

// metaCost is the length of each byte's wire form: 1 or 3.
var metaCost = func() (cost [256]byte) {
	for c := range cost {
		cost[c] = 3
	}
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-._") {
		cost[c] = 1
	}
	return cost
}()

// metaHex is one more than the value of each hexadecimal digit, 0 for all else.
var metaHex = func() (digits [256]byte) {
	for i, c := range []byte("0123456789abcdef") {
		digits[c] = byte(i) + 1
	}
	for i, c := range []byte("ABCDEF") {
		digits[c] = byte(i) + 11
	}
	return digits
}()
