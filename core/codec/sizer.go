package codec

// Sizer is an [Appender] that can estimate, without encoding, how many bytes Append
// appends. The engine encodes small bodies while it holds a lock; the estimate need
// not be exact.
type Sizer interface {
	Appender
	// Size returns about how many bytes Append appends for v; below 0 if v cannot be
	// encoded, or if that is not known without encoding it. 0 is an empty body.
	Size(v any) int
}

// SizedAppender is a [Sizer] that can make use of what Size has returned.
type SizedAppender interface {
	Sizer
	// AppendSized is Append for a value for which Size has returned size, and which
	// has not changed since.
	AppendSized(dst []byte, v any, size int) ([]byte, error)
}
