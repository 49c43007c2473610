package kcp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"

	kcpgo "github.com/xtaci/kcp-go/v5"
)

// wire is the socket below kcp-go: it seals the datagrams, keeps away those that belong to
// no session, and notifies sessions that the other side does not have them. Datagrams that
// cannot be sent are lost, like those that the network loses.
type wire struct {
	*net.UDPConn
	seal *seal

	remote netip.AddrPort // of a dialled session; zero: a listener's socket

	mu      sync.Mutex // guards the fields below
	users   int        // a listener's: the listener and its connections
	peers   map[netip.AddrPort]*peer
	opening int    // peers without a connection
	refuses bool   // the listener was closed
	refused bool   // dialled: the other side does not take the session
	refuse  func() // called then, if not nil
	closed  chan struct{}
}

// peer is the other side of a session.
type peer struct {
	opener
	conv uint32
	conn *Conn // nil: in the handshake
}

// maxOpening is how many sessions of a listener may be in their handshake. The first
// datagram of others is dropped; it is sent again.
const maxOpening = 1024

func newWire(udp *net.UDPConn, key []byte, remote netip.AddrPort) *wire {
	return &wire{
		UDPConn: udp, seal: newSeal(key, remote.IsValid()), remote: remote, users: 1,
		peers: map[netip.AddrPort]*peer{}, closed: make(chan struct{}),
	}
}

// goneSize is the size of a datagram that says "gone"; a packet of KCP has at least
// kcpgo.IKCP_OVERHEAD bytes.
const goneSize = 8

func appendGone(dst []byte, conv uint32) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, conv), "gone"...)
}

// parseGone returns the conversation of a datagram that says "gone".
func parseGone(b []byte) (conv uint32, ok bool) {
	if len(b) != goneSize || string(b[4:]) != "gone" {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b), true
}

// The types of packets with forward error correction, at the place of the command and the
// fragment of a packet without.
const (
	fecData    = 0xf1
	fecParity  = 0xf2
	fecHead    = 8
	kcpPush    = 81
	kcpCommand = 4
	kcpNumber  = kcpgo.IKCP_SN_OFFSET
)

// parsePacket returns the conversation of a packet, and whether it can be the first one of
// a session. ok is false for parity packets, which do not say.
func parsePacket(b []byte) (conv uint32, first, ok bool) {
	if len(b) < kcpgo.IKCP_OVERHEAD {
		return 0, false, false
	}
	switch binary.LittleEndian.Uint16(b[4:]) {
	case fecParity:
		return 0, false, false
	case fecData:
		if b = b[fecHead:]; len(b) < kcpgo.IKCP_OVERHEAD {
			return 0, false, false
		}
	}
	first = b[kcpCommand] == kcpPush && binary.LittleEndian.Uint32(b[kcpNumber:]) == 0
	return binary.LittleEndian.Uint32(b), first, true
}

// ReadFrom returns the next datagram for kcp-go.
func (w *wire) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := w.ReadFromUDPAddrPort(p)
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		switch {
		case errors.Is(err, syscall.ECONNREFUSED): // a connected socket: nobody listens there
			w.noteRefused()
			continue
		case err != nil:
			return 0, nil, err
		case w.remote.IsValid():
			from = w.remote // the socket is connected
		}
		if b := w.accept(p[:n], from); len(b) > 0 {
			return copy(p, b), net.UDPAddrFromAddrPort(from), nil
		}
	}
}

// accept returns the packet in a datagram, nil if it belongs to no session.
func (w *wire) accept(b []byte, from netip.AddrPort) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.peers[from]
	var fresh opener
	if w.seal != nil {
		o := &fresh
		if known != nil {
			o = &known.opener
		}
		var err error
		if b, err = w.seal.open(o, b); err != nil {
			return nil
		}
	}
	if conv, ok := parseGone(b); ok {
		switch {
		case known == nil || known.conv != conv:
		case known.conn != nil:
			known.conn.lose()
		case w.remote.IsValid():
			go w.noteRefused()
		}
		return nil
	}
	conv, first, ok := parsePacket(b)
	switch {
	case known != nil && (!ok || conv == known.conv):
		return b
	case !ok || w.remote.IsValid():
		return nil
	case !first || w.refuses:
		w.tellGone(conv, from)
		return nil
	case w.opening >= maxOpening:
		return nil
	case known != nil: // the other side has begun again from the same port; kcp-go ends the old session
		w.remove(from, known)
	}
	w.peers[from] = &peer{opener: fresh, conv: conv}
	w.opening++
	return b
}

// remove forgets a peer. The caller holds w.mu.
func (w *wire) remove(addr netip.AddrPort, p *peer) {
	if w.peers[addr] != p {
		return
	}
	delete(w.peers, addr)
	if p.conn == nil {
		w.opening--
	} else {
		p.conn.lose()
	}
}

// tellGone says that this side does not have the conversation.
func (w *wire) tellGone(conv uint32, to netip.AddrPort) {
	var room [goneSize]byte
	w.send(appendGone(room[:0], conv), to)
}

// WriteTo sends a packet of kcp-go.
func (w *wire) WriteTo(b []byte, to net.Addr) (int, error) {
	w.send(b, to.(*net.UDPAddr).AddrPort())
	return len(b), nil
}

var rooms = sync.Pool{New: func() any { return new([2048]byte) }}

func (w *wire) send(b []byte, to netip.AddrPort) {
	if w.seal != nil {
		room := rooms.Get().(*[2048]byte)
		defer rooms.Put(room)
		b = w.seal.append(room[:0], b)
	}
	if w.remote.IsValid() {
		w.Write(b)
	} else {
		w.WriteToUDPAddrPort(b, to)
	}
}

// noteRefused notes that the other side does not take a dialled session.
func (w *wire) noteRefused() {
	w.mu.Lock()
	f := w.refuse
	w.refused = true
	w.mu.Unlock()
	if f != nil {
		f()
	}
}

// isRefused reports whether the other side does not take the session.
func (w *wire) isRefused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

// opened notes the connection of a session whose handshake is complete. It returns false
// if the session is not there any more.
func (w *wire) opened(addr netip.AddrPort, conv uint32, c *Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peers[addr]
	if p == nil || p.conv != conv || p.conn != nil {
		return false
	}
	p.conn = c
	w.refuse = nil // from now on the port may be closed for a moment
	w.opening--
	w.users++
	return true
}

// forget forgets a session.
func (w *wire) forget(addr netip.AddrPort, conv uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.peers[addr]; p != nil && p.conv == conv {
		w.remove(addr, p)
	}
}

// release takes away a user, and closes the socket without users.
func (w *wire) release() {
	w.mu.Lock()
	w.users--
	last := w.users == 0
	w.mu.Unlock()
	if last {
		w.UDPConn.Close()
		close(w.closed)
	}
}
