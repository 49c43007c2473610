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

// DefaultProtoFunc returns the protocol that SetDefaultProtoFunc has set, else raw.
// If raw is needed and not imported, it panics with the name of the import.
func DefaultProtoFunc() ProtoFunc {
	fn, err := socket.DefaultProtoFunc()
	if err != nil {
		panic(err)
	}
	return fn
}

// defaults are the process-wide settings of this package. Each peer reads each of them
// at most once.
var defaults struct {
	mu     sync.Mutex
	codec  byte                // its id; 0 is json
	mapper ServiceMethodMapper // nil is HTTPServiceMethodMapper
}

// SetDefaultBodyCodec sets the codec of bodies that name none, for peers that do not
// configure one. It returns an error if no codec with this id is registered.
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
// was set. If json is needed and not imported, it panics with the name of the import.
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

// SetMessageSizeLimit sets the size limit in bytes for the frame of a message, read or
// written; 0 means the largest uint32. The default is 64 MiB. Reading a larger frame
// closes the session; writing one fails with 104 (CodeWriteFailed).
func SetMessageSizeLimit(maxMessageSize uint32) { socket.SetMessageSizeLimit(maxMessageSize) }

// MessageSizeLimit returns the limit that SetMessageSizeLimit sets, in bytes.
func MessageSizeLimit() uint32 { return socket.MessageSizeLimit() }

// SetSocketKeepAlive sets whether the system sends TCP keep-alive probes.
func SetSocketKeepAlive(keepalive bool) { socket.SetSocketKeepAlive(keepalive) }

// SetSocketKeepAlivePeriod sets the time between keep-alive probes.
func SetSocketKeepAlivePeriod(d time.Duration) { socket.SetSocketKeepAlivePeriod(d) }

// SetSocketNoDelay sets whether the system sends small writes at once (TCP_NODELAY);
// the default is true.
func SetSocketNoDelay(_noDelay bool) { socket.SetSocketNoDelay(_noDelay) }

// SetSocketReadBuffer sets the size of the system's TCP receive buffer in bytes.
func SetSocketReadBuffer(bytes int) { socket.SetSocketReadBuffer(bytes) }

// SetSocketWriteBuffer sets the size of the system's TCP send buffer in bytes.
func SetSocketWriteBuffer(bytes int) { socket.SetSocketWriteBuffer(bytes) }

// SocketReadBuffer returns the size of the receive buffer in bytes. isDefault says
// that none was set, and the system chooses.
func SocketReadBuffer() (bytes int, isDefault bool) { return socket.SocketReadBuffer() }

// SocketWriteBuffer returns the size of the send buffer in bytes. isDefault says that
// none was set, and the system chooses.
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
