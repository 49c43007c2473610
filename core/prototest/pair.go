package prototest

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// End is one end of a connection in memory, with the protocol that runs over it.
type End struct {
	socket.Proto
	rw *endReadWriter
}

// Pair makes the two ends of a connection; the client is the one that has dialled.
// Nothing blocks: a read at the end of what has arrived returns io.EOF.
func Pair(client, server socket.ProtoFunc) (c, s *End) {
	a, b := new(bytes.Buffer), new(bytes.Buffer)
	left, right := &endReadWriter{a, b, true}, &endReadWriter{b, a, false}
	return &End{client(left), left}, &End{server(right), right}
}

// Arrive appends bytes to what has arrived at the end.
func (e *End) Arrive(b []byte) { e.rw.Buffer.Write(b) }

// Arrived returns what has arrived and was not read.
func (e *End) Arrived() []byte { return e.rw.Buffer.Bytes() }

// Take returns what has arrived and was not read, and removes it.
func (e *End) Take() []byte {
	b := bytes.Clone(e.Arrived())
	e.rw.Buffer.Reset()
	return b
}

type endReadWriter struct {
	*bytes.Buffer // what arrives
	to            *bytes.Buffer
	dialed        bool
}

func (e *endReadWriter) Write(p []byte) (int, error) { return e.to.Write(p) }
func (e *endReadWriter) Dialed() bool                { return e.dialed }

// Pass sends m from one end to the other and compares what arrives.
func Pass(t testing.TB, from, to *End, m socket.Message) {
	t.Helper()
	if err := from.Pack(m); err != nil {
		t.Fatalf("Pack: %v", err)
	}
	got := socket.NewMessage()
	if err := to.Unpack(got); err != nil {
		t.Fatalf("Unpack: %v", err)
	}
	if got, want := Picture(got), Picture(m); got != want {
		t.Fatalf("arrives:\n got %s\nwant %s", got, want)
	}
}

// Message returns a message with these fields and settings; an empty body is none.
func Message(seq int32, mtype byte, method string, codec byte, body string, more ...socket.MessageSetting) socket.Message {
	m := socket.NewMessage(socket.WithSeq(seq), socket.WithMtype(mtype),
		socket.WithServiceMethod(method), socket.WithBodyCodec(codec))
	if body != "" {
		m.SetBody([]byte(body))
	}
	for _, set := range more {
		if set != nil {
			set(m)
		}
	}
	return m
}

// Picture returns all that there is to see of a message but its size. Two messages
// are equal if their pictures are.
func Picture(m socket.Message) string {
	own := socket.NewMessage()
	own.SetSeq(m.Seq())
	own.SetMtype(m.Mtype())
	own.SetServiceMethod(m.ServiceMethod())
	own.SetBodyCodec(m.BodyCodec())
	own.SetRerror(m.Rerror())
	m.Meta().CopyTo(own.Meta())
	own.XferPipe().AppendFrom(m.XferPipe())
	body := m.RawBody()
	if b, ok := m.Body().([]byte); ok {
		body = b
	}
	return own.String() + hex.EncodeToString(body)
}
