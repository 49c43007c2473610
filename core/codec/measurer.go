package codec

// Measurer is a [Codec] that knows, before it decodes, how much memory that takes; see
// [Limits]. The engine has it decode what has come from a peer.
type Measurer interface {
	Codec
	// DecodeMeasured is Unmarshal under the guarantees of mode. Before it takes memory for
	// the value it reserves the bytes that decoding takes at most, the copies of what grows
	// included, unless they are few. If the account refuses it decodes nothing, and returns
	// an error that wraps the account's.
	DecodeMeasured(data []byte, v any, mode Mode, account Account) error
}

// Account counts memory of messages, as PeerConfig.ReadMemory bounds it.
type Account interface {
	// Reserve counts so many bytes, beside those of calls before. It may wait until others
	// have given theirs back.
	Reserve(bytes int) error
}
