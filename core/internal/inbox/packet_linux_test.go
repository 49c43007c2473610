package inbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// Packets of a unixpacket connection form one stream of bytes, whether a
// packet is a part of a frame or many of them.
func TestPackets(t *testing.T) {
	sizes := []int{600, 100_000, 600, 5, 70_000, 64 << 10, 600}
	total := 0
	for _, n := range sizes {
		total += n
	}
	stream := pattern(total, 30)
	for _, packet := range []int{100, 32 << 10, 200_000} {
		t.Run(fmt.Sprint(packet), func(t *testing.T) {
			near, far := unixPair(t, "unixpacket")
			far.(*net.UnixConn).SetWriteBuffer(1 << 20)
			var wg sync.WaitGroup
			defer wg.Wait()
			defer near.Close()
			wg.Go(func() {
				defer far.Close()
				for _, p := range split(stream, packet) {
					if _, err := far.Write(p); err != nil {
						t.Errorf("Write: %v", err)
						return
					}
				}
			})
			r := New(near, Config{Buffer: 512})
			defer r.Close()
			readFrames(t, r, stream, sizes...)
		})
	}
}

// After a packet that may have been cut off every call returns an error.
func TestPacketTooLarge(t *testing.T) {
	for _, test := range []struct {
		name   string
		packet int
		read   func(r *Reader) error
		want   error
	}{
		{"fits", packetRoom - 1, func(r *Reader) error { return r.Wait() }, nil},
		{"fills the room", packetRoom, func(r *Reader) error { return r.Wait() }, ErrPacketTooLarge},
		{"is larger", packetRoom + 1, func(r *Reader) error { return r.Wait() }, ErrPacketTooLarge},
		{"Peek", packetRoom, func(r *Reader) error { _, err := r.Peek(10); return err }, ErrPacketTooLarge},
		{"Peek of a large frame", packetRoom, func(r *Reader) error { _, err := r.Peek(200_000); return err }, ErrPacketTooLarge},
		{"Read", packetRoom, func(r *Reader) error { _, err := r.Read(make([]byte, 1<<20)); return err }, ErrPacketTooLarge},
		{"Discard", packetRoom, func(r *Reader) error { _, err := r.Discard(10); return err }, ErrPacketTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &script{pieces: [][]byte{make([]byte, test.packet), make([]byte, 100)}, packets: true}
			r := New(s, Config{})
			defer r.Close()
			for range 2 {
				if err := test.read(r); !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
			}
			if test.want != nil && r.Buffered() != 0 {
				t.Errorf("%d bytes of a part of a message are buffered", r.Buffered())
			}
		})
	}
}

// A part of a frame in the buffer does not reduce the room for a packet.
func TestPacketBehindHalfFrame(t *testing.T) {
	stream := pattern(60_000+packetRoom-1, 31)
	s := &script{pieces: [][]byte{stream[:60_000], stream[60_000:]}, packets: true}
	r := New(s, Config{Buffer: 512})
	defer r.Close()
	if _, err := r.Peek(60_000); err != nil {
		t.Fatal(err)
	}
	if b, err := r.Peek(60_001); err != nil || !bytes.Equal(b, stream[:60_001]) {
		t.Fatalf("Peek over two packets = %d bytes, %v", len(b), err)
	}
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(rest, stream) {
		t.Errorf("ReadAll = %d bytes, %v; want %d", len(rest), err, len(stream))
	}
}
