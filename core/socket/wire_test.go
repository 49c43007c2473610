package socket_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// simple is a protocol of a user: it uses nothing but Read and
// Write, and writes in parts.
type simple struct{ rw io.ReadWriter }

func (simple) Version() (byte, string) { return 's', "simple" }

func (p simple) Pack(m socket.Message) error {
	b, err := m.MarshalBody()
	if err != nil {
		return err
	}
	m.SetSize(uint32(len(b) + 4))
	if _, err := p.rw.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b)))); err != nil {
		return err
	}
	_, err = p.rw.Write(b)
	return err
}

func (p simple) Unpack(m socket.Message) error {
	var head [4]byte
	if _, err := io.ReadFull(p.rw, head[:]); err != nil {
		return err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(p.rw, b); err != nil {
		return err
	}
	return m.UnmarshalBody(b)
}

func TestConnSimpleProto(t *testing.T) {
	for _, network := range []string{"tcp", "pipe"} {
		t.Run(network, func(t *testing.T) {
			a, b := conns(t, network, func(rw io.ReadWriter) socket.Proto { return simple{rw} }, socket.Options{})
			sizes := []int{0, 1, 5000, 100_000}
			var wg sync.WaitGroup
			defer wg.Wait()
			for _, n := range sizes {
				wg.Go(func() {
					if err := send(a, push(1, socket.WithBody(make([]byte, n)))); err != nil {
						t.Errorf("%d bytes: %v", n, err)
					}
				})
			}
			got := map[int]bool{}
			for range sizes {
				m := new(socket.Envelope)
				if err := b.ReadInto(m); err != nil {
					t.Fatal(err)
				}
				got[len(m.RawBody())] = true
			}
			for _, n := range sizes {
				if !got[n] {
					t.Errorf("the body of %d bytes has not arrived whole", n)
				}
			}
		})
	}
}

// A message may be sent again: packing leaves nothing in it.
func TestConnSendAgain(t *testing.T) {
	for name, pf := range protos {
		t.Run(name, func(t *testing.T) {
			a, b := conns(t, "tcp", pf, socket.Options{})
			value := []int{1}
			m := push(1, socket.WithBodyCodec(testwire.JSON), socket.WithBody(value))
			for i := range 3 {
				value[0] = i
				if err := send(a, m); err != nil {
					t.Fatal(err)
				}
				if m.RawBody() != nil {
					t.Errorf("packing leaves %q in the message", m.RawBody())
				}
				got := new(socket.Envelope)
				if err := b.ReadInto(got); err != nil || string(got.RawBody()) != fmt.Sprint(value) {
					t.Errorf("ReadInto: %v, %q, want %v", err, got.RawBody(), value)
				}
			}
		})
	}
}

// What a protocol is given.
func TestConnWire(t *testing.T) {
	var rw io.ReadWriter
	pf := func(given io.ReadWriter) socket.Proto {
		rw = given
		return &packing{simple{given}}
	}
	a, b := conns(t, "tcp", pf, socket.Options{Dialed: true})
	_ = a
	if s, ok := rw.(socket.Sider); !ok || !s.Dialed() {
		t.Error("no Sider, or not dialled")
	}
	if _, ok := rw.(socket.PeekReader); !ok {
		t.Error("no PeekReader")
	}
	w, ok := rw.(socket.BufferWriter)
	if !ok {
		t.Fatal("no BufferWriter")
	}
	if n, err := w.Write([]byte("x")); err == nil {
		t.Errorf("Write outside of Pack = %d, nil", n)
	}
	if err := send(b, push(1)); err != nil {
		t.Fatal(err)
	}
	m := new(socket.Envelope)
	if err := a.ReadInto(m); err != nil || !bytes.Equal(m.RawBody(), packed()) {
		t.Errorf("ReadInto: %v, %d bytes, want %d", err, len(m.RawBody()), len(packed()))
	}
}

// packing packs what packed returns, using AvailableBuffer and not.
type packing struct{ simple }

func packed() []byte {
	var b []byte
	for i := range 10 {
		b = append(b, bytes.Repeat([]byte{byte(i)}, 1000*i)...)
	}
	return b
}

func (p *packing) Pack(socket.Message) error {
	w := p.rw.(socket.BufferWriter)
	b := packed()
	w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
	for i := range 10 {
		part := bytes.Repeat([]byte{byte(i)}, 1000*i)
		if i%3 == 0 {
			w.Write(part)
			continue
		}
		free := w.AvailableBuffer()
		if len(free) != 0 || cap(free) < 4<<10 {
			return fmt.Errorf("AvailableBuffer of length %d, capacity %d", len(free), cap(free))
		}
		if n, err := w.Write(append(free, part...)); n != len(part) || err != nil {
			return fmt.Errorf("Write = %d, %w", n, err)
		}
	}
	return nil
}
