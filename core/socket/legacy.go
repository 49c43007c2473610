package socket

import "time"

// Names of v5, v6 and v7.

// ToError is Err.
//
// Deprecated: Use Err.
func (r *Rerror) ToError() error { return r.Err() }

// SetKeepAlive is SetSocketKeepAlive.
//
// Deprecated: Use SetSocketKeepAlive.
func SetKeepAlive(keepalive bool) { SetSocketKeepAlive(keepalive) }

// SetKeepAlivePeriod is SetSocketKeepAlivePeriod.
//
// Deprecated: Use SetSocketKeepAlivePeriod.
func SetKeepAlivePeriod(d time.Duration) { SetSocketKeepAlivePeriod(d) }

// SetNoDelay is SetSocketNoDelay.
//
// Deprecated: Use SetSocketNoDelay.
func SetNoDelay(noDelay bool) { SetSocketNoDelay(noDelay) }

// SetReadBuffer is SetSocketReadBuffer.
//
// Deprecated: Use SetSocketReadBuffer.
func SetReadBuffer(bytes int) { SetSocketReadBuffer(bytes) }

// SetWriteBuffer is SetSocketWriteBuffer.
//
// Deprecated: Use SetSocketWriteBuffer.
func SetWriteBuffer(bytes int) { SetSocketWriteBuffer(bytes) }

// ReadBuffer is SocketReadBuffer.
//
// Deprecated: Use SocketReadBuffer.
func ReadBuffer() (bytes int, isDefault bool) { return SocketReadBuffer() }

// WriteBuffer is SocketWriteBuffer.
//
// Deprecated: Use SocketWriteBuffer.
func WriteBuffer() (bytes int, isDefault bool) { return SocketWriteBuffer() }
