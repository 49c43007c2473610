package outbox

import (
	"context"
	"errors"
	"net"
	"testing"
)

// A Writer is sealed only when nothing of it is under way, refuses then, and goes on
// afterwards as if nothing had been.
func TestSeal(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	w := New(near, Config{})
	sealed := errors.New("sealed")
	write := func() error {
		b, err := w.Begin(context.Background())
		if err == nil {
			w.Commit(append(b, "frame"...))
		}
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if w.Seal(sealed) {
		t.Fatal("sealed, although a frame waits to be written")
	}
	w.Flush(NoBlock)
	if w.Seal(sealed) {
		t.Fatal("sealed, although a frame is being written")
	}
	if n, err := far.Read(make([]byte, 10)); n != 5 || err != nil {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	if err := w.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	for !w.Seal(sealed) { // the flusher has not ended
	}
	if err := write(); err != sealed {
		t.Errorf("a frame is refused with %v; want %v", err, sealed)
	}
	w.Unseal(errors.New("another"))
	if err := write(); err != sealed {
		t.Errorf("after an Unseal with another error: %v; want %v", err, sealed)
	}
	w.Unseal(sealed)
	if err := write(); err != nil {
		t.Errorf("after Unseal: %v", err)
	}
	w.Flush(NoBlock)
	far.Read(make([]byte, 10))
	w.Wait(context.Background())
	for !w.Seal(sealed) {
	}
	refused := w.Refused()
	end := errors.New("end")
	w.Close(end)
	<-refused
	if err := write(); err != end {
		t.Errorf("after Close of what was sealed: %v; want %v", err, end)
	}
	w.Unseal(sealed)
	if err := write(); err != end {
		t.Errorf("Unseal after Close: %v; want %v", err, end)
	}
}
