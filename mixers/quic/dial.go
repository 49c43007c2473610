package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	tp "github.com/teleport-go/teleport/core"
)

var errNoTLS = errors.New("the network quic needs a TLS configuration: call SetTLSConfig or SetTLSConfigFromFile of the peer first")

func (n *network) dial(ctx context.Context, d tp.DialConfig) (*Conn, error) {
	if d.TLS == nil {
		return nil, errNoTLS
	}
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	limit := handshakeTimeout(d.HandshakeTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errHandshake)
	defer cancel()
	host, addrs, err := resolve(ctx, d.Addr)
	if err != nil {
		return nil, err
	}
	local, err := localAddr(d.LocalIP, d.LocalPort)
	if err != nil {
		return nil, err
	}
	s, err := n.pool.get(local)
	if err != nil {
		return nil, fmt.Errorf("local address: %w", err)
	}
	cfg := n.clientTLS(d.TLS, host)
	guardTLS(cfg, d.Logger)
	conn, err := race(ctx, addrs, func(ctx context.Context, addr *net.UDPAddr) (*quicgo.Conn, error) {
		return s.transport.Dial(ctx, addr, cfg, n.config(true, limit))
	})
	if err != nil {
		s.release()
		return nil, n.dialError(err, limit)
	}
	stream, err := conn.OpenStream()
	if err == nil && !n.o.V7 {
		_, err = stream.Write([]byte{firstByte})
	}
	if err != nil {
		conn.CloseWithError(codeBroken, "")
		s.release()
		return nil, n.dialError(err, limit)
	}
	return newConn(conn, stream, s, nil), nil
}

// clientTLS adds to the user's configuration what QUIC needs.
func (n *network) clientTLS(c *tls.Config, host string) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{protocol}
	if n.o.V7 {
		c.NextProtos = []string{protocolV7}
	}
	if c.ServerName == "" && !c.InsecureSkipVerify {
		c.ServerName = host
	}
	return c
}

// resolve returns the name and the addresses of host:port. Without a host it is the
// local one.
func resolve(ctx context.Context, addr string) (host string, addrs []*net.UDPAddr, err error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return "", nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return "", nil, err
	}
	if host == "" {
		host = "localhost"
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", nil, err
	}
	for _, ip := range ips {
		addrs = append(addrs, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(port))))
	}
	return host, addrs, nil
}

// localAddr returns the address to dial from, nil if the system chooses.
func localAddr(ip string, port uint16) (*net.UDPAddr, error) {
	if ip == "0.0.0.0" || ip == "::" {
		ip = "" // a socket for both IPv4 and IPv6
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

// headStart is how long an address is tried alone before the next one is tried as well.
const headStart = 300 * time.Millisecond

// race connects to the first address that answers: a server that listens on IPv4 only
// does not answer on IPv6, and UDP does not say so. Its error is that of the first address.
func race(ctx context.Context, addrs []*net.UDPAddr, dial func(context.Context, *net.UDPAddr) (*quicgo.Conn, error)) (*quicgo.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var mu sync.Mutex // guards winner and firstErr
	var winner *quicgo.Conn
	firstErr := error(nil)
	failed := make(chan struct{}, len(addrs))
	for i, addr := range addrs {
		wg.Go(func() {
			conn, err := dial(ctx, addr)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && winner == nil:
				winner = conn
				cancel()
			case err == nil:
				conn.CloseWithError(codeDone, "")
			case i == 0:
				firstErr = err
			}
			failed <- struct{}{}
		})
		if i == len(addrs)-1 {
			break
		}
		t := time.NewTimer(headStart)
		select {
		case <-failed:
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		if ctx.Err() != nil {
			break
		}
	}
	wg.Wait()
	if winner != nil {
		return winner, nil
	}
	return nil, firstErr
}
