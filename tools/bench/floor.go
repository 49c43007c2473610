package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

// The floor is a framed echo without any framework: four bytes of length, four of
// a caller's number, and the body. The server has a goroutine a connection. The
// client has a goroutine a caller and combines their writes.

const (
	floorHeader = 8
	floorBuffer = 64 << 10 // of a reader and of a writer; a longer body bypasses it
)

func floorCandidates() []harness.Candidate {
	return []harness.Candidate{
		{
			Name: "floor", Serve: floorServe, DialSized: floorDial, Streams: floorStreams,
			Dial: func(addr string) (func() error, error) { return floorDial(addr, benchmsg.Size) },
			Note: "a framed echo of plain bytes without any framework",
		},
		{
			Name: "floor-conn", Serve: floorServe, DialSized: floorConnDial,
			Dial: func(addr string) (func() error, error) { return floorConnDial(addr, benchmsg.Size) },
			Note: "the same, one call at a time on a connection, for the configurations of b",
		},
	}
}

func floorServe() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			go floorEcho(c)
		}
	}()
	return lis.Addr().String(), nil
}

// floorEcho echoes frames. It flushes when it has read all that is buffered.
func floorEcho(c net.Conn) {
	defer c.Close()
	r, w := bufio.NewReaderSize(c, floorBuffer), bufio.NewWriterSize(c, floorBuffer)
	tally := floorTally{}
	for {
		head, err := r.Peek(floorHeader)
		if err != nil {
			return
		}
		n := floorHeader + int(binary.BigEndian.Uint32(head))
		if err := floorCopy(w, r, n, tally); err != nil {
			return
		}
		if r.Buffered() == 0 {
			if w.Flush() != nil {
				return
			}
		}
	}
}

// floorCopy copies n bytes, a small frame in one write. A frame one way is counted only.
func floorCopy(w *bufio.Writer, r *bufio.Reader, n int, tally floorTally) error {
	if n > floorBuffer {
		_, err := io.CopyN(w, r, int64(n))
		return err
	}
	frame, err := r.Peek(n)
	if err != nil {
		return err
	}
	if !tally.next(frame) {
		w.Write(frame) // Flush returns its error
	}
	_, err = r.Discard(n)
	return err
}

// floorConn is a connection that many callers share.
type floorConn struct {
	conn net.Conn
	body []byte

	mu       sync.Mutex
	out, alt []byte
	large    net.Buffers // frames that are not copied
	flushing bool
	inFlight int

	waitMu  sync.Mutex
	waiting []chan struct{}
	free    []uint32
}

func floorDial(addr string, size int) (func() error, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	f := &floorConn{conn: conn, body: newBody(size)}
	go f.read()
	return f.call, nil
}

func (f *floorConn) read() {
	r := bufio.NewReaderSize(f.conn, floorBuffer)
	for {
		n, id, err := floorHead(r)
		if err != nil {
			return
		}
		if _, err := r.Discard(n); err != nil {
			return
		}
		f.waitMu.Lock()
		wake := f.waiting[id]
		f.waitMu.Unlock()
		wake <- struct{}{}
	}
}

func floorHead(r *bufio.Reader) (n int, id uint32, err error) {
	head, err := r.Peek(floorHeader)
	if err != nil {
		return 0, 0, err
	}
	n, id = int(binary.BigEndian.Uint32(head)), binary.BigEndian.Uint32(head[4:])
	_, err = r.Discard(floorHeader)
	return n, id, err
}

func (f *floorConn) slot() (uint32, chan struct{}) {
	f.waitMu.Lock()
	defer f.waitMu.Unlock()
	if n := len(f.free); n > 0 {
		id := f.free[n-1]
		f.free = f.free[:n-1]
		return id, f.waiting[id]
	}
	f.waiting = append(f.waiting, make(chan struct{}, 1))
	return uint32(len(f.waiting) - 1), f.waiting[len(f.waiting)-1]
}

func (f *floorConn) call() error {
	id, wake := f.slot()
	f.mu.Lock()
	f.inFlight++
	if len(f.body) > floorBuffer {
		f.large = append(f.large, appendFloorHead(nil, len(f.body), id), f.body)
	} else {
		f.out = append(appendFloorHead(f.out, len(f.body), id), f.body...)
	}
	if f.flushing {
		f.mu.Unlock()
	} else if err := f.flush(); err != nil {
		return err
	}
	<-wake
	f.mu.Lock()
	f.inFlight--
	f.mu.Unlock()
	f.waitMu.Lock()
	f.free = append(f.free, id)
	f.waitMu.Unlock()
	return nil
}

func appendFloorHead(b []byte, n int, id uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, uint32(n)), id)
}

// flush writes the frames of all callers. The caller holds mu; flush releases it.
func (f *floorConn) flush() error {
	f.flushing = true
	for len(f.out)+len(f.large) > 0 {
		busy := f.inFlight > 1
		f.mu.Unlock()
		if busy {
			runtime.Gosched()
		}
		f.mu.Lock()
		b, large := f.out, f.large
		f.out, f.large = f.alt[:0], nil
		f.mu.Unlock()
		if len(b) > 0 {
			if _, err := f.conn.Write(b); err != nil {
				return err
			}
		}
		if len(large) > 0 {
			if err := f.writeLarge(large); err != nil {
				return err
			}
		}
		f.mu.Lock()
		f.alt = b
	}
	f.flushing = false
	f.mu.Unlock()
	return nil
}

// writeLarge has a variable of its own for large: in flush, taking its address would
// cost an allocation a write.
func (f *floorConn) writeLarge(large net.Buffers) error {
	_, err := large.WriteTo(f.conn)
	return err
}

// floorConnDial makes a connection on which callers take turns.
func floorConnDial(addr string, size int) (func() error, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	frame := append(appendFloorHead(nil, size, 0), newBody(size)...)
	r := bufio.NewReaderSize(conn, min(len(frame), floorBuffer))
	answer := func() error {
		n, _, err := floorHead(r)
		if err != nil {
			return err
		}
		if n != size {
			return fmt.Errorf("reply of %d bytes, want %d", n, size)
		}
		_, err = r.Discard(n)
		return err
	}
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(frame) <= floorBuffer {
			if _, err := conn.Write(frame); err != nil {
				return err
			}
			return answer()
		}
		sent := make(chan error, 1)
		go func() { // the reply begins before the request has ended
			_, err := conn.Write(frame)
			sent <- err
		}()
		if err := answer(); err != nil {
			return err
		}
		return <-sent
	}, nil
}
