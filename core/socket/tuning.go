package socket

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// DefaultMessageSizeLimit is the size limit of a message unless it is set: 64 MiB.
const DefaultMessageSizeLimit uint32 = 64 << 20

var sizeLimit atomic.Uint32

func init() { sizeLimit.Store(DefaultMessageSizeLimit) }

// SetMessageSizeLimit sets the process-wide limit for the frame of a message,
// read or written. 0 means the largest uint32. Peers made before keep theirs.
func SetMessageSizeLimit(maxMessageSize uint32) {
	if maxMessageSize == 0 {
		maxMessageSize = ^uint32(0)
	}
	sizeLimit.Store(maxMessageSize)
}

// MessageSizeLimit returns the process-wide limit.
func MessageSizeLimit() uint32 { return sizeLimit.Load() }

// Tuning is the options of a TCP connection. The zero value leaves Go's defaults (no
// Nagle delay, keep-alive on).
type Tuning struct {
	KeepAlive       *bool         // nil: the system's default
	KeepAlivePeriod time.Duration // 0: the system's default
	NoDelay         *bool         // nil: true
	ReadBuffer      int           // bytes; 0: the system's default
	WriteBuffer     int           // bytes; 0: the system's default
}

var tuning atomic.Pointer[Tuning]

// DefaultTuning returns the process-wide tuning.
func DefaultTuning() Tuning {
	if t := tuning.Load(); t != nil {
		return *t
	}
	return Tuning{}
}

func tune(change func(*Tuning)) {
	for {
		old := tuning.Load()
		var t Tuning
		if old != nil {
			t = *old
		}
		change(&t)
		if tuning.CompareAndSwap(old, &t) {
			return
		}
	}
}

// SetSocketKeepAlive sets whether the system sends TCP keep-alive probes.
func SetSocketKeepAlive(keepalive bool) {
	tune(func(t *Tuning) { t.KeepAlive = &keepalive })
}

// SetSocketKeepAlivePeriod sets the time between keep-alive probes; not above 0
// is ignored.
func SetSocketKeepAlivePeriod(d time.Duration) {
	if d > 0 {
		tune(func(t *Tuning) { t.KeepAlivePeriod = d })
	}
}

// SetSocketNoDelay sets whether small writes leave at once; the default is true.
func SetSocketNoDelay(noDelay bool) {
	tune(func(t *Tuning) { t.NoDelay = &noDelay })
}

// SetSocketReadBuffer sets the size of the system's receive buffer in bytes; 0
// means the system's default, less is ignored.
func SetSocketReadBuffer(bytes int) {
	if bytes >= 0 {
		tune(func(t *Tuning) { t.ReadBuffer = bytes })
	}
}

// SetSocketWriteBuffer sets the size of the system's send buffer in bytes; 0
// means the system's default, less is ignored.
func SetSocketWriteBuffer(bytes int) {
	if bytes >= 0 {
		tune(func(t *Tuning) { t.WriteBuffer = bytes })
	}
}

// SocketReadBuffer returns the receive buffer's size in bytes and whether it is the
// system's default.
func SocketReadBuffer() (bytes int, isDefault bool) {
	n := DefaultTuning().ReadBuffer
	return n, n == 0
}

// SocketWriteBuffer returns the send buffer's size in bytes and whether it is the
// system's default.
func SocketWriteBuffer() (bytes int, isDefault bool) {
	n := DefaultTuning().WriteBuffer
	return n, n == 0
}

// Apply sets the options that conn has; for a TLS connection, those of the connection
// below. It ignores errors: an option that the system refuses keeps its value.
func (t Tuning) Apply(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
		if below, ok := conn.(interface{ NetConn() net.Conn }); ok { // of package tlspoll
			conn = below.NetConn()
		}
	}
	if c, ok := conn.(interface{ SetReadBuffer(int) error }); ok && t.ReadBuffer > 0 {
		c.SetReadBuffer(t.ReadBuffer)
	}
	if c, ok := conn.(interface{ SetWriteBuffer(int) error }); ok && t.WriteBuffer > 0 {
		c.SetWriteBuffer(t.WriteBuffer)
	}
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if t.NoDelay != nil {
		c.SetNoDelay(*t.NoDelay)
	}
	if t.KeepAlive != nil {
		c.SetKeepAlive(*t.KeepAlive)
	}
	if t.KeepAlivePeriod > 0 && (t.KeepAlive == nil || *t.KeepAlive) {
		c.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: t.KeepAlivePeriod, Interval: t.KeepAlivePeriod, Count: -1,
		})
	}
}
