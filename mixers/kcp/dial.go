package kcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	kcpgo "github.com/xtaci/kcp-go/v5"

	tp "github.com/teleport-go/teleport/core"
)

// hello is what the dialling side says first; the last byte is the version.
const hello = "tkcp\x00\x00\x00\x01"

const challengeSize = 16

func (n *network) dial(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
	if err := n.check(d.Logger, d.TLS != nil); err != nil {
		return nil, err
	}
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	addrs, err := resolve(ctx, d.Addr)
	if err != nil {
		return nil, err
	}
	limit := time.Now().Add(handshakeTimeout(d.HandshakeTimeout))
	for i, addr := range addrs {
		share := time.Until(limit) / time.Duration(len(addrs)-i)
		var c *Conn
		if c, err = n.dialOne(ctx, d, addr, share); err == nil {
			return c.asNet(), nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, err
}

// asNet returns the connection as what its users see.
func (c *Conn) asNet() net.Conn {
	if c.o.v7 {
		return c
	}
	return &recordConn{c}
}

// dialOne connects to one address.
func (n *network) dialOne(ctx context.Context, d tp.DialConfig, addr netip.AddrPort, limit time.Duration) (*Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	local, err := localAddr(d.LocalIP, d.LocalPort)
	if err != nil {
		return nil, err
	}
	udp, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	w := newWire(udp, n.o.Key, addr)
	var room [4]byte
	rand.Read(room[:])
	conv := binary.LittleEndian.Uint32(room[:])
	w.peers[addr] = &peer{conv: conv}
	w.opening++
	sess, err := kcpgo.NewConn4(conv, net.UDPAddrFromAddrPort(addr), nil, n.o.DataShards, n.o.ParityShards, false, w)
	if err != nil {
		w.release()
		return nil, err
	}
	n.tune(sess)
	if !n.o.v7 {
		err = n.greet(ctx, sess, w, limit)
	}
	c := newConn(n, sess, w, addr)
	if err == nil && !w.opened(addr, conv, c) {
		err = errRefused
	}
	if err != nil {
		sess.Close()
		w.release()
		return nil, err
	}
	w.release() // the connection is its user now
	c.start()
	return c, nil
}

var errRefused = fmt.Errorf("no KCP listener there: %w", syscall.ECONNREFUSED)

// greet is the dialling side's part of the handshake.
func (n *network) greet(ctx context.Context, sess *kcpgo.UDPSession, w *wire, limit time.Duration) error {
	w.mu.Lock()
	w.refuse = func() { sess.Close() }
	w.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { sess.Close() })
	defer stop()
	at := time.Now().Add(limit)
	sess.SetDeadline(at)
	if _, err := sess.Write([]byte(hello)); err != nil {
		return err
	}
	var challenge [challengeSize]byte
	_, err := io.ReadFull(sess, challenge[:])
	if err == nil {
		_, err = sess.Write(challenge[:])
	}
	var ne net.Error
	switch {
	case err == nil:
		sess.SetDeadline(time.Time{})
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case w.isRefused():
		return errRefused
	case errors.As(err, &ne) && ne.Timeout():
		return fmt.Errorf("no KCP handshake within %v; does a listener with the same key and shards listen there, and does UDP pass? %w", limit.Round(time.Millisecond), os.ErrDeadlineExceeded)
	}
	return fmt.Errorf("handshake: %w", err)
}

// welcome is the accepting side's part of the handshake.
func welcome(sess *kcpgo.UDPSession, limit time.Time) error {
	sess.SetDeadline(limit)
	var first [len(hello)]byte
	if _, err := io.ReadFull(sess, first[:]); err != nil {
		return err
	}
	if string(first[:]) != hello {
		return fmt.Errorf("the session begins with %q, not %q", first[:], hello)
	}
	var challenge, echo [challengeSize]byte
	rand.Read(challenge[:])
	if _, err := sess.Write(challenge[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(sess, echo[:]); err != nil {
		return err
	}
	if !bytes.Equal(challenge[:], echo[:]) {
		return errors.New("the handshake is that of another session")
	}
	sess.SetDeadline(time.Time{})
	return nil
}

// resolve returns the addresses of host:port. Without a host it is the local one.
func resolve(ctx context.Context, addr string) (addrs []netip.AddrPort, err error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "localhost"
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return addrs, nil
}

// localAddr returns the address to dial from, nil if the system chooses.
func localAddr(ip string, port uint16) (*net.UDPAddr, error) {
	if ip == "0.0.0.0" || ip == "::" {
		ip = ""
	}
	if ip == "" && port == 0 {
		return nil, nil
	}
	addr, err := net.ResolveUDPAddr("udp", net.JoinHostPort(ip, strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("local address: %w", err)
	}
	return addr, nil
}
