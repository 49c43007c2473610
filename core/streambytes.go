package tp

import (
	"io"
	"sync"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

// streamChunk is the most that a StreamWriter sends in a message, in bytes.
const streamChunk = 32 << 10

// StreamReader returns a reader of the bytes that arrive on a stream of bytes: the bodies of
// the messages, one behind the other, whatever their codec. Read returns the errors of Recv,
// io.EOF at the end. io.Copy from it needs no buffer. It must not be used concurrently, nor
// beside Recv. Closing it closes the stream.
func StreamReader[Out any](s *Stream[[]byte, Out]) io.ReadCloser { return &streamReader{st: s.st} }

// StreamWriter returns a writer to a stream of bytes, which sends them in messages of at most
// 32 KiB. Write waits as Send does. It may be used concurrently; then a Write of more than
// that may have parts of others in between. Closing it is CloseSend.
func StreamWriter[In any](s *Stream[In, []byte]) io.WriteCloser { return streamWriter{s.st} }

type streamWriter struct{ st *stream }

func (w streamWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+streamChunk)]
		if err := w.st.send(part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

func (w streamWriter) Close() error { return w.st.closeSend(nil) }

type streamReader struct {
	st   *stream
	rest []byte // of what was received
	own  []byte // the memory of it, if it is the reader's; else the stream's until the next message

	once sync.Once
}

func (r *streamReader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n = copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *streamReader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if err := r.fill(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
		k, err := w.Write(r.rest)
		n += int64(k)
		r.rest = r.rest[k:]
		if err != nil {
			return n, err
		}
	}
}

// fill receives until there are bytes.
func (r *streamReader) fill() error {
	for len(r.rest) == 0 {
		if r.own != nil {
			bufpool.Put(r.own)
		}
		var err error
		if r.rest, r.own, err = r.st.recvBytes(); err != nil {
			return err
		}
	}
	return nil
}

func (r *streamReader) Close() error {
	r.once.Do(r.st.close)
	return nil
}

// recvBytes receives a message as it is. Its body is valid until the next call; own is its
// memory if that is the caller's from now on.
func (st *stream) recvBytes() (body, own []byte, err error) {
	st.receiving.Lock()
	defer st.receiving.Unlock()
	d, err := st.nextDatum()
	if err != nil {
		return nil, nil, err
	}
	defer st.giveBack(d.cost())
	exclusive := d.own
	body = d.body
	if len(st.hooks.postReadData) > 0 {
		m, r := st.receivedMessage(&d)
		if r != nil {
			m.FreeBody()
			return nil, nil, r.Err()
		}
		body, exclusive = m.TakeBody() // not exclusive if a hook has kept it
	}
	if exclusive {
		own = body
	}
	return body, own, nil
}
