package codec

// Borrower is a [Codec] that can save the copy of what it decodes.
type Borrower interface {
	Codec
	// Borrows reports whether UnmarshalBorrowed would save anything for v.
	Borrows(v any) bool
	// UnmarshalBorrowed is Unmarshal into a value that may afterwards refer to
	// data: whoever calls it leaves data as it is until nobody needs the value, or
	// anything it holds, any more.
	UnmarshalBorrowed(data []byte, v any) error
}
