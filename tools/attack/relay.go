//go:build linux

package main

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// relay is the network between the two sides of the fault round: it forwards
// connections, cuts them, and holds back what the server sends.
type relay struct {
	lis  net.Listener
	addr func() string // of the server

	held   atomic.Bool  // nothing goes to the client
	cutAt  atomic.Int64 // bytes after which connections are cut, counted down; 0: never
	mu     sync.Mutex   // guards the fields below
	conns  map[net.Conn]bool
	closed bool
}

func newRelay(addr func() string) (*relay, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{lis: lis, addr: addr, conns: map[net.Conn]bool{}}
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			go r.forward(conn)
		}
	}()
	return r, nil
}

// keep remembers a connection, or closes it if the relay is closed.
func (r *relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		conn.Close()
		return false
	}
	r.conns[conn] = true
	return true
}

// forward connects a client with the server; while there is none, the client waits.
func (r *relay) forward(client net.Conn) {
	if !r.keep(client) {
		return
	}
	defer r.drop(client)
	server, err := net.Dial("tcp", r.addr())
	for began := time.Now(); err != nil; server, err = net.Dial("tcp", r.addr()) {
		if time.Since(began) > callTimeout {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !r.keep(server) {
		return
	}
	defer r.drop(server)
	var wg sync.WaitGroup
	wg.Go(func() { r.pipe(server, client, &atomic.Bool{}) })
	wg.Go(func() { r.pipe(client, server, &r.held) })
	wg.Wait()
}

func (r *relay) drop(conn net.Conn) {
	conn.Close()
	r.mu.Lock()
	delete(r.conns, conn)
	r.mu.Unlock()
}

// pipe forwards until from ends, and passes that on; a reset is passed on as one.
func (r *relay) pipe(to, from net.Conn, held *atomic.Bool) {
	b := make([]byte, 32<<10)
	for {
		for held.Load() {
			time.Sleep(time.Millisecond)
		}
		n, err := from.Read(b)
		if left := r.cutAt.Load(); left > 0 {
			if r.cutAt.Add(-int64(n)) <= 0 { // in the middle of a frame, if it so happens
				to.Write(b[:min(n, int(left))])
				r.cutAt.Store(0)
				r.cut()
				return
			}
		}
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				from.Close()
				return
			}
		}
		switch {
		case err == io.EOF:
			to.(*net.TCPConn).CloseWrite()
			return
		case err != nil:
			to.Close()
			return
		}
	}
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func (r *relay) close() {
	r.lis.Close()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cut()
}
