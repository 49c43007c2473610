package codec

// Decoder is a [Codec] that can save work if the caller guarantees more about the
// value or the data than Unmarshal requires.
type Decoder interface {
	Codec
	// Borrows reports whether decoding into v with [Borrowed] saves anything.
	Borrows(v any) bool
	// Decode is Unmarshal under the guarantees of mode.
	Decode(data []byte, v any, mode Mode) error
}

// Mode is the guarantees that the caller of a [Decoder] gives, combined by or. With
// none, Decode is the same as Unmarshal.
type Mode uint8

const (
	// Fresh guarantees that the value is a zero value, or a pooled value that has been
	// reset.
	Fresh Mode = 1 << iota
	// Borrowed allows the value to refer to the data afterwards: the caller does not
	// modify the data as long as the value, or anything it holds, is in use.
	Borrowed
)

// Lent is the former name of [Borrowed].
//
// Deprecated: Use Borrowed.
const Lent = Borrowed
