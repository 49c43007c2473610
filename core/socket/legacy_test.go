package socket_test

import (
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

func TestToError(t *testing.T) {
	r := socket.NewRerror(1000, "mine", "")
	if err := r.ToError(); socket.Code(err) != 1000 || *socket.ToRerror(err) != *r || (*socket.Rerror)(nil).ToError() != nil {
		t.Errorf("ToError = %v; want Err", err)
	}
}

// Older names mean what the present ones do.
func TestLegacyTuning(t *testing.T) {
	restore(t)
	socket.SetKeepAlive(false)
	socket.SetKeepAlivePeriod(7 * time.Second)
	socket.SetNoDelay(false)
	socket.SetReadBuffer(1 << 12)
	socket.SetWriteBuffer(1 << 13)
	got := socket.DefaultTuning()
	if *got.KeepAlive || got.KeepAlivePeriod != 7*time.Second || *got.NoDelay || got.ReadBuffer != 1<<12 || got.WriteBuffer != 1<<13 {
		t.Errorf("tuning is %+v", got)
	}
	r, rDefault := socket.ReadBuffer()
	w, wDefault := socket.WriteBuffer()
	if r != 1<<12 || rDefault || w != 1<<13 || wDefault {
		t.Errorf("buffers are %d %v, %d %v", r, rDefault, w, wDefault)
	}
}
