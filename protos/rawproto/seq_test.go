package rawproto

import (
	"math"
	"strconv"
	"testing"
)

// The text of a sequence number is what strconv makes of it, in both directions.
func TestSeqText(t *testing.T) {
	numbers := []int32{0, 1, 9, 10, 35, 36, -1, -36, math.MaxInt32, math.MaxInt32 - 1, math.MinInt32}
	for n := int64(1); n < math.MaxInt32; n *= 36 {
		numbers = append(numbers, int32(n-1), int32(n), int32(n+1))
	}
	for _, n := range numbers {
		want := strconv.FormatInt(int64(n), 36)
		if got := string(appendSeq(nil, n)); got != want {
			t.Errorf("appendSeq(%d) = %q, want %q", n, got, want)
		}
		if got, ok := parseSeq([]byte(want)); got != n || !ok {
			t.Errorf("parseSeq(%q) = %d, %v; want %d", want, got, ok, n)
		}
	}
}

func FuzzParseSeq(f *testing.F) {
	for _, text := range []string{"", "0", "00000", "zzzzz", "zik0zj", "zik0zk", "-zik0zk", "ZZ", "+1", "1_0", "a b", "\xff"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := strconv.ParseInt(string(text), 36, 32)
		if got, ok := parseSeq(text); ok != (err == nil) || ok && got != int32(n) {
			t.Errorf("parseSeq(%q) = %d, %v; want %d, %v", text, got, ok, n, err)
		}
	})
}
