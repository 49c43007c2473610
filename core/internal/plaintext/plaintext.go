// Package plaintext tells characters that are safe to show from those that are not.
package plaintext

import "unicode"

// Steers reports whether r changes how the text around it is shown, so that a line
// can be made to read as something else: a control character, one that turns the
// direction of writing, or a line or paragraph separator.
func Steers(r rune) bool {
	if r < 0x7f {
		return r < ' '
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}
