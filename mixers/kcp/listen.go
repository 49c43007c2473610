package kcp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	kcpgo "github.com/xtaci/kcp-go/v5"

	tp "github.com/teleport-go/teleport/core"
)

// listener accepts sessions whose handshake is complete.
type listener struct {
	network *network
	wire    *wire
	kcp     *kcpgo.Listener
	limit   time.Duration // of a handshake
	log     tp.Logger     // may be nil

	accepted chan *Conn
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	tasks    sync.WaitGroup // run and its welcomes
}

func (n *network) listen(l tp.ListenConfig) (*listener, error) {
	if l.LocalIP == "" {
		l.LocalIP = "0.0.0.0"
	}
	name := net.JoinHostPort(l.LocalIP, strconv.Itoa(int(l.ListenPort)))
	if err := n.check(l.Logger, l.TLS != nil); err != nil {
		return nil, fmt.Errorf("tp: listen %w", err)
	}
	addr, err := net.ResolveUDPAddr("udp", name)
	if err != nil {
		return nil, listenError(name, err)
	}
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, listenError(name, err)
	}
	udp.SetReadBuffer(socketBuffer) // as much as the system allows
	udp.SetWriteBuffer(socketBuffer)
	w := newWire(udp, n.o.Key, netip.AddrPort{})
	k, err := kcpgo.ServeConn(nil, n.o.DataShards, n.o.ParityShards, w)
	if err != nil {
		w.release()
		return nil, listenError(name, err)
	}
	lis := &listener{network: n, wire: w, kcp: k, limit: handshakeTimeout(l.HandshakeTimeout), log: l.Logger, accepted: make(chan *Conn)}
	lis.ctx, lis.cancel = context.WithCancel(context.Background())
	lis.tasks.Go(lis.run)
	return lis, nil
}

// socketBuffer is for the datagrams of all sessions of a listener.
const socketBuffer = 4 << 20

// run takes the sessions that begin, until the listener is closed.
func (l *listener) run() {
	for {
		sess, err := l.kcp.AcceptKCP()
		if err != nil {
			return
		}
		l.tasks.Go(func() { l.welcome(sess) })
	}
}

// welcome makes the handshake, and hands the connection to Accept.
func (l *listener) welcome(sess *kcpgo.UDPSession) {
	l.network.tune(sess)
	addr := sess.RemoteAddr().(*net.UDPAddr).AddrPort()
	var err error
	if !l.network.o.v7 {
		stop := context.AfterFunc(l.ctx, func() { sess.Close() })
		err = welcome(sess, time.Now().Add(l.limit))
		stop()
	}
	c := newConn(l.network, sess, l.wire, addr)
	if err == nil && !l.wire.opened(addr, sess.GetConv(), c) {
		err = errGone
	}
	if err != nil {
		if l.ctx.Err() == nil && l.log != nil {
			l.log.Debugf("refused the KCP session of %s: %v", addr, err)
		}
		sess.Close()
		l.wire.forget(addr, sess.GetConv())
		l.wire.tellGone(sess.GetConv(), addr)
		return
	}
	c.start()
	select {
	case l.accepted <- c:
	case <-l.ctx.Done():
		c.Close()
	}
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.ctx.Done():
	case c := <-l.accepted:
		return c.asNet(), nil
	}
	return nil, fmt.Errorf("accept kcp %s: %w", l.Addr(), net.ErrClosed)
}

// Addr returns the address of the UDP socket.
func (l *listener) Addr() net.Addr { return l.wire.LocalAddr() }

// Close ends Accept. Accepted connections stay open, and keep the socket; if there are
// none but such as were closed, Close waits until these have ended, and the address is
// free.
func (l *listener) Close() error {
	if l.ctx.Err() != nil {
		return net.ErrClosed
	}
	l.cancel()
	open := l.wire.stop()
	err := l.kcp.Close()
	l.tasks.Wait()
	l.wire.release()
	if !open {
		<-l.wire.closed // within the grace
	}
	return err
}

// stop refuses further sessions, and reports whether there are open connections.
func (w *wire) stop() (open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuses = true
	for _, p := range w.peers {
		open = open || p.conn != nil && !isClosed(p.conn.closing)
	}
	return open
}

// listenError adds hints for the usual mistakes.
func listenError(addr string, err error) error {
	var call interface{ Unwrap() error } // without the operation and the address
	cause, hint := err, ""
	for errors.As(cause, &call) && call.Unwrap() != nil {
		cause = call.Unwrap()
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = ": another process holds this UDP port; stop it, or set ListenPort (0 picks a free one)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = ": this machine has no such address; set LocalIP (0.0.0.0 is all addresses)"
	case errors.Is(err, fs.ErrPermission):
		hint = ": this user may not listen there; set ListenPort to 1024 or more"
	}
	return fmt.Errorf("tp: listen kcp %s: %w%s", addr, cause, hint)
}
