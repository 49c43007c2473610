package resume

import (
	"context"
	"net"
	"time"
)

// carrier is one of the connections that carry a stream, one after the other.
type carrier struct {
	conn net.Conn
	raw  *rawConn // nil: a goroutine reads the connection, and another writes
}

func newCarrier(conn net.Conn) *carrier { return &carrier{conn, newRaw(conn)} }

// kill closes the connection without a wait: Close itself waits for the functions that the
// runtime runs with the descriptor, and one of them may be the caller. TLS sends no
// close_notify: the records say what has ended.
func (k *carrier) kill() {
	conn := k.conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn()
	}
	go conn.Close()
}

// pause waits for d, or until ctx ends: then it returns false.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
