package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"sync"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

// The streams of the floor are frames of it with these bits and a stream in their number:
// a frame one way is counted, and one that is marked is answered with the count in its
// first bytes. A sender waits while the frames before its own are written.

const (
	floorOneWay = 1 << 31
	floorMarked = 1 << 30
	floorStream = floorMarked - 1
	floorBound  = 256 << 10 // bytes of frames that wait to be written
)

// floorTally counts the frames one way of a connection, by stream.
type floorTally map[uint32]uint32

// next counts a frame one way, and reports whether it is one and needs no answer. A marked
// frame gets the count.
func (t floorTally) next(frame []byte) (done bool) {
	id := binary.BigEndian.Uint32(frame[4:])
	if id&floorOneWay == 0 {
		return false
	}
	t[id&floorStream]++
	if id&floorMarked == 0 {
		return true
	}
	binary.BigEndian.PutUint32(frame[floorHeader:], t[id&floorStream])
	t[id&floorStream] = 0
	return false
}

// floorSender is a connection that streams share.
type floorSender struct {
	conn     net.Conn
	answers  []chan uint32
	mu       sync.Mutex
	room     sync.Cond
	out, alt []byte
	flushing bool
	failed   error
}

func floorStreams(addr string, n int) (list []harness.Stream, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	f := &floorSender{conn: conn}
	f.room.L = &f.mu
	body := newBody(benchmsg.Size)
	for i := range n {
		answer := make(chan uint32, 1)
		f.answers = append(f.answers, answer)
		plain := append(appendFloorHead(nil, len(body), uint32(i)|floorOneWay), body...)
		marked := append(appendFloorHead(nil, len(body), uint32(i)|floorOneWay|floorMarked), body...)
		list = append(list, harness.Stream{
			Send: func() error { return f.send(plain) },
			Ask: func() (int, error) {
				if err := f.send(marked); err != nil {
					return 0, err
				}
				n, ok := <-answer
				if !ok {
					return 0, fmt.Errorf("the connection has ended")
				}
				return int(n), nil
			},
		})
	}
	go f.read()
	return list, nil
}

// read passes the answers on, and ends with the connection.
func (f *floorSender) read() {
	defer func() {
		for _, answer := range f.answers {
			close(answer)
		}
	}()
	r := bufio.NewReaderSize(f.conn, floorBuffer)
	for {
		n, id, err := floorHead(r)
		if err != nil {
			return
		}
		body, err := r.Peek(n)
		if err != nil {
			return
		}
		f.answers[id&floorStream] <- binary.BigEndian.Uint32(body)
		r.Discard(n) // it is buffered
	}
}

// send enqueues a frame. The first sender writes, also the frames that come meanwhile.
func (f *floorSender) send(frame []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.out) >= floorBound && f.failed == nil {
		f.room.Wait()
	}
	if f.failed != nil {
		return f.failed
	}
	f.out = append(f.out, frame...)
	if f.flushing {
		return nil
	}
	f.flushing = true
	for len(f.out) > 0 && f.failed == nil {
		b := f.out
		f.out = f.alt[:0]
		f.room.Broadcast()
		f.mu.Unlock()
		_, err := f.conn.Write(b)
		f.mu.Lock()
		f.alt, f.failed = b, err
	}
	f.flushing = false
	f.room.Broadcast()
	return f.failed
}
