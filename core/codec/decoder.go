package codec

// Decoder is a [Codec] that can save work where an engine knows more of the value
// or of the bytes than Unmarshal may take for granted.
type Decoder interface {
	Codec
	// Borrows reports whether [Lent] would save anything for v.
	Borrows(v any) bool
	// Decode is Unmarshal, with what mode says taken for granted.
	Decode(data []byte, v any, mode Mode) error
}

// Mode is what a [Decoder] may take for granted; its values can be combined. Zero
// is nothing: Decode is Unmarshal then.
type Mode uint8

const (
	// Fresh says that the value is new, or was emptied since it served.
	Fresh Mode = 1 << iota
	// Lent says that the value may afterwards refer to the data: whoever decodes
	// leaves that as it is until nobody needs the value, or anything it holds, any
	// more.
	Lent
)
