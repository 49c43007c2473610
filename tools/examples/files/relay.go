package main

import (
	"io"
	"net"
	"sync"
)

// relay is the network between client and server. It cuts connections.
type relay struct {
	lis    net.Listener
	server string
	wg     sync.WaitGroup

	mu    sync.Mutex
	after []int64 // how many bytes of the next connections go either way until they are cut
	cuts  int
	open  map[net.Conn]bool
}

// newRelay returns a relay to a server. Its first connections are cut after so many bytes
// either way, the others are not.
func newRelay(server string, after ...int64) (*relay, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{lis: lis, server: server, after: after, open: make(map[net.Conn]bool)}
	r.wg.Go(r.serve)
	return r, nil
}

func (r *relay) addr() string { return r.lis.Addr().String() }

// count returns how many connections were cut.
func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cuts
}

// close ends the relay, and its connections.
func (r *relay) close() {
	r.lis.Close()
	r.mu.Lock()
	for c := range r.open {
		c.Close()
	}
	r.open = nil
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *relay) serve() {
	for {
		client, err := r.lis.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.server)
		if err != nil {
			client.Close()
			continue
		}
		r.mu.Lock()
		if r.open == nil {
			client.Close()
			server.Close()
			r.mu.Unlock()
			return
		}
		r.open[client], r.open[server] = true, true
		left := int64(-1)
		if len(r.after) > 0 {
			left, r.after = r.after[0], r.after[1:]
		}
		r.mu.Unlock()
		r.wg.Go(func() { r.join(client, server, left) })
	}
}

// join copies both ways, until one side ends or left bytes have gone one way.
func (r *relay) join(client, server net.Conn, left int64) {
	var once sync.Once
	end := func(cut bool) {
		once.Do(func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if cut {
				r.cuts++
				for _, c := range []net.Conn{client, server} {
					c.(*net.TCPConn).SetLinger(0) // what is under way is lost
				}
			}
			client.Close()
			server.Close()
			delete(r.open, client)
			delete(r.open, server)
		})
	}
	var both sync.WaitGroup
	pipe := func(to io.Writer, from io.Reader) {
		if left >= 0 {
			n, _ := io.CopyN(to, from, left)
			end(n == left)
			return
		}
		io.Copy(to, from)
		end(false)
	}
	both.Go(func() { pipe(server, client) })
	both.Go(func() { pipe(client, server) })
	both.Wait()
}
