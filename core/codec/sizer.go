package codec

// Sizer is an [Appender] that knows, without encoding, about how many bytes Append
// will append for v. An engine uses it to decide where to encode; being off by
// a little does no harm.
type Sizer interface {
	Appender
	Size(v any) int
}

// SizedAppender is a [Sizer] that need not find out again what Size has said.
type SizedAppender interface {
	Sizer
	// AppendSized is Append for a value of which Size has said size, and which
	// has not changed since.
	AppendSized(dst []byte, v any, size int) ([]byte, error)
}
