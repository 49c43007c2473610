package xfer

// Joiner is a filter that can do the work of its neighbour in a pipe together with its own,
// such as one of two filters of the same other process, to which the bytes then go once.
type Joiner interface {
	XferFilter
	// Join returns a filter that packs as inner and then this filter do, and unpacks as
	// this filter and then inner do; false if it cannot. The result is an Appender that
	// observes the limit of AppendUnpack for the output of each of the two, and may itself
	// be a Joiner. Join is called for each message.
	Join(inner XferFilter) (joined XferFilter, ok bool)
}

// join joins two neighbours of a pipe if the outer one can.
func join(outer, inner XferFilter) (XferFilter, bool) {
	if j, ok := outer.(Joiner); ok {
		return j.Join(inner)
	}
	return nil, false
}
