package harness

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	// ChunkSize is the size of the messages of a bulk stream.
	ChunkSize = 64 << 10
	// bulkSize is the size of a transfer, at the end of which the receiver answers.
	bulkSize = 64 << 20
)

// The first byte of a message of bytes.
const (
	bytesPlain  = 'x'
	bytesMarked = 'm' // it wants an answer: a message of the same size with the count of messages in the four bytes behind
)

// BytesStream returns a Stream of messages of size bytes that uses a library's functions.
// They may use the bytes until their next call.
func BytesStream(size int, send func([]byte) error, receive func() ([]byte, error)) Stream {
	plain, marked := bytes.Repeat([]byte{bytesPlain}, size), bytes.Repeat([]byte{bytesPlain}, size)
	marked[0] = bytesMarked
	return Stream{
		Send: func() error { return send(plain) },
		Ask: func() (int, error) {
			if err := send(marked); err != nil {
				return 0, err
			}
			answer, err := receive()
			if err != nil {
				return 0, err
			}
			if len(answer) != size || answer[size-1] != bytesPlain {
				return 0, fmt.Errorf("harness: answer of %d bytes, or damaged; want %d", len(answer), size)
			}
			return int(binary.BigEndian.Uint32(answer[1:])), nil
		},
	}
}

// ServeBytes is the server's side of a BytesStream. It returns nil at io.EOF.
func ServeBytes(receive func() ([]byte, error), send func([]byte) error) error {
	for n := uint32(0); ; {
		b, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(b) < 6 || b[len(b)-1] != bytesPlain {
			continue // it is damaged, and is missing in the count
		}
		if n++; b[0] != bytesMarked {
			continue
		}
		b[0] = bytesPlain
		binary.BigEndian.PutUint32(b[1:], n)
		n = 0
		if err := send(b); err != nil {
			return err
		}
	}
}

// bulk sends over a stream from the connecting to the end of the process.
type bulk struct {
	stream Stream
	sent   atomic.Int64 // chunks
	failed atomic.Pointer[error]
}

// moved returns the bytes sent so far; 0 if there is no stream.
func (b *bulk) moved() int64 {
	if b == nil {
		return 0
	}
	return b.sent.Load() * ChunkSize
}

// transfer sends bulkSize bytes, and waits until they have arrived.
func (b *bulk) transfer() error {
	u := streamUser{Stream: b.stream}
	for range bulkSize/ChunkSize - 1 {
		if err := u.send(); err != nil {
			return err
		}
		b.sent.Add(1)
	}
	b.sent.Add(1)
	return u.ask()
}

// besideBulk returns callers beside a bulk stream that has begun.
func (c Candidate) besideBulk(cfg Config, addr string) (crew, error) {
	call, stream, err := c.Beside(addr)
	if err != nil {
		return crew{}, err
	}
	b := &bulk{stream: stream}
	if err := errors.Join(call(), (&streamUser{Stream: stream}).ask()); err != nil {
		return crew{}, err
	}
	go func() { // ends with the process
		for {
			if err := b.transfer(); err != nil {
				b.failed.Store(&err)
				return
			}
		}
	}()
	beside := func() error {
		if err := b.failed.Load(); err != nil {
			return fmt.Errorf("the bulk stream: %w", *err)
		}
		return call()
	}
	return crew{share([]func() error{beside}, cfg.Callers), b}, nil
}
