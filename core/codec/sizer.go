package codec

// Sizer is an [Appender] that knows, without encoding, about how many bytes Append
// will append for v. An engine uses it to decide where to encode; being off by
// a little does no harm.
type Sizer interface {
	Appender
	Size(v any) int
}
