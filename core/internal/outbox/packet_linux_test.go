package outbox

import (
	"bytes"
	"net"
	"testing"
)

func TestPackets(t *testing.T) {
	for _, test := range []struct {
		name string
		wrap func(net.Conn) net.Conn
		mode Mode
	}{
		{"raw", func(c net.Conn) net.Conn { return c }, 0},
		{"wrapped", func(c net.Conn) net.Conn { return &struct{ net.Conn }{c} }, NoBlock},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := pair(t, "unixpacket")
			w := New(test.wrap(near), Config{Fail: func(err error) { t.Errorf("Fail(%v)", err) }})
			var want []byte
			for i, size := range []int{600, 300_000, 700, maxPacket, maxPacket + 1, 5000, 100_000} {
				frame := appendFrame(nil, 1, i, size)
				want = append(want, frame...)
				w.SendNow(frame)
				if b, err := w.Begin(nil); err != nil {
					t.Fatal(err)
				} else {
					w.Commit(b) // nothing
				}
				if i%3 == 2 {
					w.Flush(test.mode)
				}
			}
			w.Flush(test.mode)
			var got []byte
			buf := make([]byte, 256<<10)
			for len(got) < len(want) {
				n, err := far.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 || n > maxPacket {
					t.Fatalf("packet of %d bytes", n)
				}
				got = append(got, buf[:n]...)
			}
			if !bytes.Equal(got, want) {
				t.Error("other bytes arrived")
			}
			w.Wait(nil)
			idle(t, w)
		})
	}
}
