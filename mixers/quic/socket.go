package quic

import (
	"net"
	"sync"

	quicgo "github.com/quic-go/quic-go"
)

// socket is a UDP socket with the QUIC connections over it. It is closed with the last of
// its users: the listener, dials, and connections.
type socket struct {
	transport quicgo.Transport
	udp       *net.UDPConn
	pool      *pool  // guards users
	key       string // in the pool, if not empty
	users     int
	closed    chan struct{} // closed when the address is free again
}

// pool holds the sockets that dial, by local address.
type pool struct {
	mu    sync.Mutex
	byKey map[string]*socket
}

// open makes a socket with one user.
func (p *pool) open(addr *net.UDPAddr, set func(*quicgo.Transport)) (*socket, error) {
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, err
	}
	s := &socket{udp: udp, pool: p, users: 1, closed: make(chan struct{})}
	s.transport.Conn = udp
	if set != nil {
		set(&s.transport)
	}
	return s, nil
}

// get returns the socket that dials from the address, with one user more.
func (p *pool) get(addr *net.UDPAddr) (*socket, error) {
	key := ""
	if addr != nil {
		key = addr.String()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.byKey[key]; s != nil {
		s.users++
		return s, nil
	}
	s, err := p.open(addr, nil)
	if err != nil {
		return nil, err
	}
	s.key = key
	if p.byKey == nil {
		p.byKey = map[string]*socket{}
	}
	p.byKey[key] = s
	return s, nil
}

// use adds a user.
func (s *socket) use() {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.users++
}

// release takes away a user, and closes the socket without users. It keeps the pool
// locked meanwhile: the next dial may need the same port.
func (s *socket) release() {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	if s.pool.byKey[s.key] == s {
		delete(s.pool.byKey, s.key)
	}
	s.transport.Close()
	s.udp.Close()
	close(s.closed)
}
