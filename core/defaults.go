package tp

import (
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// Process-wide defaults. A peer takes a snapshot when it is made: a setter never
// changes a living peer. All setters are safe for concurrent use.

// SetDefaultProtoFunc sets the protocol of peers that name none; nil means raw.
func SetDefaultProtoFunc(fn ProtoFunc) { socket.SetDefaultProtoFunc(fn) }

// DefaultProtoFunc returns it. It panics if that is raw and raw is not imported,
// naming the import.
func DefaultProtoFunc() ProtoFunc {
	fn, err := socket.DefaultProtoFunc()
	if err != nil {
		panic(err)
	}
	return fn
}

// defaults are the process-wide settings of this package. New peers read them, at most
// once each.
var defaults struct {
	mu     sync.Mutex
	codec  byte                // an id; 0 is json
	mapper ServiceMethodMapper // nil is HTTPServiceMethodMapper
}

// SetDefaultBodyCodec sets the codec of bodies that name none.
func SetDefaultBodyCodec(id byte) error {
	if _, err := codec.Get(id); err != nil {
		return err
	}
	defaults.mu.Lock()
	defer defaults.mu.Unlock()
	defaults.codec = id
	return nil
}

// DefaultBodyCodec returns the codec of bodies that name none: json unless it
// was set. It panics if that is not imported, naming the import.
func DefaultBodyCodec() Codec {
	c, err := codec.Get(defaultBodyCodecID())
	if err != nil {
		panic(err)
	}
	return c
}

func defaultBodyCodecID() byte {
	defaults.mu.Lock()
	defer defaults.mu.Unlock()
	if defaults.codec == 0 {
		return codec.JSON
	}
	return defaults.codec
}

// SetMessageSizeLimit sets the limit for the frame of a message, read or
// written; 0 means the largest uint32. The default is 64 MiB. A frame over it
// closes the session on reading, and fails with 104 on writing.
func SetMessageSizeLimit(maxMessageSize uint32) { socket.SetMessageSizeLimit(maxMessageSize) }

// MessageSizeLimit returns the limit.
func MessageSizeLimit() uint32 { return socket.MessageSizeLimit() }

// SetSocketKeepAlive sets whether the system sends TCP keep-alive probes.
func SetSocketKeepAlive(keepalive bool) { socket.SetSocketKeepAlive(keepalive) }

// SetSocketKeepAlivePeriod sets the time between keep-alive probes.
func SetSocketKeepAlivePeriod(d time.Duration) { socket.SetSocketKeepAlivePeriod(d) }

// SetSocketNoDelay sets whether small writes leave at once; true by default.
func SetSocketNoDelay(_noDelay bool) { socket.SetSocketNoDelay(_noDelay) }

// SetSocketReadBuffer sets the size of the system's TCP receive buffer in bytes.
func SetSocketReadBuffer(bytes int) { socket.SetSocketReadBuffer(bytes) }

// SetSocketWriteBuffer sets the size of the system's TCP send buffer in bytes.
func SetSocketWriteBuffer(bytes int) { socket.SetSocketWriteBuffer(bytes) }

// SocketReadBuffer returns the receive buffer's size; isDefault: the system's.
func SocketReadBuffer() (bytes int, isDefault bool) { return socket.SocketReadBuffer() }

// SocketWriteBuffer returns the send buffer's size; isDefault: the system's.
func SocketWriteBuffer() (bytes int, isDefault bool) { return socket.SocketWriteBuffer() }

// SetServiceMethodMapper sets the mapper of all peers made from now on; living
// peers keep theirs. nil sets HTTPServiceMethodMapper, the default. It may be
// called concurrently.
func SetServiceMethodMapper(mapper ServiceMethodMapper) {
	defaults.mu.Lock()
	defer defaults.mu.Unlock()
	defaults.mapper = mapper
}

// defaultMapper is the snapshot a new peer takes.
func defaultMapper() ServiceMethodMapper {
	defaults.mu.Lock()
	defer defaults.mu.Unlock()
	if defaults.mapper == nil {
		return HTTPServiceMethodMapper
	}
	return defaults.mapper
}
