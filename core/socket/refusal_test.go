package socket_test

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// chatty answers every byte with "yes" from within Unpack, before it makes a
// message of it; it ends with the message 'q'.
type chatty struct {
	rw    io.ReadWriter
	ended atomic.Bool
}

func (p *chatty) Version() (byte, string) { return 'c', "chatty" }
func (p *chatty) Ended() bool             { return p.ended.Load() }

func (p *chatty) Pack(m socket.Message) error {
	p.ended.Store(m.Mtype() == 'q')
	_, err := p.rw.Write([]byte{m.Mtype()})
	return err
}

func (p *chatty) Unpack(m socket.Message) error {
	var b [1]byte
	if _, err := io.ReadFull(p.rw, b[:]); err != nil {
		return err
	}
	yes := []byte("yes")
	if err := p.rw.(socket.Emitter).Emit(yes); err != nil {
		return err
	}
	copy(yes, "no!") // it is ours again
	m.SetMtype(b[0])
	return nil
}

func TestEmit(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := socket.NewConn(near, func(rw io.ReadWriter) socket.Proto { return &chatty{rw: rw} }, socket.Options{})
	got := make(chan string, 1)
	go func() {
		far.Write([]byte("x"))
		b := make([]byte, 4)
		io.ReadFull(far, b)
		got <- string(b)
	}()
	var m socket.Envelope
	if err := c.ReadInto(&m); err != nil || m.Mtype() != 'x' {
		t.Fatalf("ReadInto: type %q, %v; want 'x', nil", m.Mtype(), err)
	}
	if c.Ended() {
		t.Error("Ended before the last message")
	}
	m.SetMtype('q')
	if err := c.Enqueue(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	if !c.Ended() {
		t.Error("not Ended after the last message")
	}
	c.Flush(0)
	if got, want := <-got, "yesq"; got != want {
		t.Errorf("the peer got %q, want %q", got, want)
	}
	broken := errors.New("broken")
	c.Stop(broken)
	go far.Write([]byte("x"))
	if err := c.ReadInto(&m); !errors.Is(err, broken) {
		t.Errorf("ReadInto that cannot emit: %v, want %v", err, broken)
	}
}

func TestInTurn(t *testing.T) {
	var m socket.Envelope
	m.SetInTurn()
	if !m.InTurn() {
		t.Error("InTurn = false after SetInTurn")
	}
	if m.Clear(); m.InTurn() {
		t.Error("InTurn = true after Clear")
	}
}
