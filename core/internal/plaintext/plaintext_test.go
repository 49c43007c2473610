package plaintext

import "testing"

func TestSteers(t *testing.T) {
	for r, want := range map[rune]bool{
		'a': false, ' ': false, 'é': false, '“': false, '世': false, '👍': false, '\u00a0': false, '\u200d': false, '\ufeff': false,
		'\x00': true, '\x1b': true, '\n': true, '\t': true, '\x7f': true, '\u0085': true, '\u009b': true,
		'\u061c': true, '\u200e': true, '\u200f': true, '\u202a': true, '\u202e': true, '\u2066': true, '\u2069': true,
		'\u2028': true, '\u2029': true,
	} {
		if got := Steers(r); got != want {
			t.Errorf("Steers(%U) = %v, want %v", r, got, want)
		}
	}
}
