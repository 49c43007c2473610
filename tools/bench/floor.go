package main

import (
	"bufio"
	"encoding/binary"
	"net"
	"runtime"
	"sync"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// The floor is a framed echo without any framework: four bytes of length, four of
// a caller's number, and the body. A goroutine a connection on the server; on the
// client a goroutine a caller, with combined writes, as a blocking call needs.

const floorHeader = 8

func floorCandidates() []harness.Candidate {
	return []harness.Candidate{{Name: "floor", Serve: floorServe, Dial: floorDial}}
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

// floorEcho sends back what it reads; it writes when nothing more is there to read.
func floorEcho(c net.Conn) {
	defer c.Close()
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 64<<10)
	for {
		head, err := r.Peek(floorHeader)
		if err != nil {
			return
		}
		frame, err := r.Peek(floorHeader + int(binary.BigEndian.Uint32(head)))
		if err != nil {
			return
		}
		w.Write(frame)
		r.Discard(len(frame))
		if r.Buffered() == 0 {
			if w.Flush() != nil {
				return
			}
		}
	}
}

type floorConn struct {
	conn net.Conn

	mu       sync.Mutex
	out, alt []byte
	flushing bool
	inFlight int

	waitMu  sync.Mutex
	waiting []chan struct{}
	free    []uint32
}

func floorDial(addr string) (func() error, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	f := &floorConn{conn: conn}
	go f.read()
	return f.call, nil
}

func (f *floorConn) read() {
	r := bufio.NewReaderSize(f.conn, 64<<10)
	for {
		head, err := r.Peek(floorHeader)
		if err != nil {
			return
		}
		n, id := int(binary.BigEndian.Uint32(head)), binary.BigEndian.Uint32(head[4:])
		if _, err := r.Peek(floorHeader + n); err != nil {
			return
		}
		r.Discard(floorHeader + n)
		f.waitMu.Lock()
		wake := f.waiting[id]
		f.waitMu.Unlock()
		wake <- struct{}{}
	}
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

var floorBody [bodySize]byte

func (f *floorConn) call() error {
	id, wake := f.slot()
	var head [floorHeader]byte
	binary.BigEndian.PutUint32(head[:], bodySize)
	binary.BigEndian.PutUint32(head[4:], id)
	f.mu.Lock()
	f.inFlight++
	f.out = append(append(f.out, head[:]...), floorBody[:]...)
	if f.flushing {
		f.mu.Unlock()
	} else {
		f.flushing = true
		for len(f.out) > 0 {
			busy := f.inFlight > 1
			f.mu.Unlock()
			if busy {
				runtime.Gosched()
			}
			f.mu.Lock()
			b := f.out
			f.out = f.alt[:0]
			f.mu.Unlock()
			if _, err := f.conn.Write(b); err != nil {
				return err
			}
			f.mu.Lock()
			f.alt = b
		}
		f.flushing = false
		f.mu.Unlock()
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
