package resume

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// saved is what crosses of a stream. It is JSON, so that two versions of a program understand
// each other as far as they know the same fields; behind it come a line feed, the records
// from Acked to End, and the bytes of the stream that were not read. One with a field that is
// not known here is refused.
type saved struct {
	Version  int           `json:"version"` // savedVersion
	Token    []byte        `json:"token"`
	Identity []byte        `json:"identity"`
	Local    savedAddr     `json:"local"`
	Remote   savedAddr     `json:"remote"`
	TLS      *savedTLS     `json:"tls,omitempty"` // of the first connection
	Owner    []savedOwner  `json:"owner,omitempty"`
	Received uint64        `json:"received"`
	Left     int           `json:"left,omitempty"` // bytes of a record that are to come
	Head     []byte        `json:"head,omitempty"` // of a record, as far as it has come
	AckSent  uint64        `json:"ack_sent"`
	Acked    uint64        `json:"acked"`
	Wire     uint64        `json:"wire"` // of the connection that crosses; else Acked
	End      uint64        `json:"end"`
	Inbound  int           `json:"inbound,omitempty"`  // bytes of the stream that have come
	LostFor  time.Duration `json:"lost_for,omitempty"` // how long it has had no connection
}

const savedVersion = 1

func (s *saved) append(b []byte) ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return append(append(b, text...), '\n'), nil
}

// parseSaved reads the state of a stream, which may have been written by another version of
// the program.
func parseSaved(b []byte) (s *saved, sent, inbound []byte, err error) {
	text, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return nil, nil, nil, errors.New("resume: the state of the stream has no end")
	}
	s = new(saved)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, nil, nil, fmt.Errorf("resume: the state of the stream cannot be read: %w", err)
	}
	if d.More() {
		return nil, nil, nil, errors.New("resume: the state of the stream has bytes behind its end")
	}
	if err := s.check(len(rest)); err != nil {
		return nil, nil, nil, fmt.Errorf("resume: the state of the stream: %w", err)
	}
	at := int(s.End - s.Acked)
	return s, rest[:at:at], rest[at:], nil
}

// check returns an error for a state that no stream has; n bytes follow it.
func (s *saved) check(n int) error {
	switch {
	case s.Version != savedVersion:
		return fmt.Errorf("its version is %d, not %d", s.Version, savedVersion)
	case len(s.Token) != len(token{}) || bytes.Equal(s.Token, make([]byte, len(token{}))):
		return errors.New("it has no token")
	case len(s.Identity) != len(identity{}):
		return fmt.Errorf("its identity has %d bytes", len(s.Identity))
	case s.Acked > s.Wire || s.Wire > s.End:
		return fmt.Errorf("its positions %d, %d and %d are not in order", s.Acked, s.Wire, s.End)
	case s.Inbound < 0 || s.End-s.Acked > uint64(n) || s.End-s.Acked+uint64(s.Inbound) != uint64(n):
		return fmt.Errorf("it is followed by %d bytes, not by %d and %d", n, s.End-s.Acked, s.Inbound)
	case uint64(s.Inbound) > s.Received || s.AckSent > s.Received-uint64(s.Inbound):
		return fmt.Errorf("it has received %d bytes, has %d, and has acknowledged %d", s.Received, s.Inbound, s.AckSent)
	case s.LostFor < 0:
		return errors.New("its time without a connection is below 0")
	}
	return s.checkRecord()
}

// checkRecord returns an error for a record that cannot have come in part.
func (s *saved) checkRecord() error {
	h := s.Head
	switch {
	case s.Left < 0 || s.Left > recordSize:
		return fmt.Errorf("%d bytes of its record are to come", s.Left)
	case len(h) == 0:
		return nil
	case s.Left > 0 || len(h) >= ackSize || len(h) >= headSize && binary.BigEndian.Uint16(h) != recordAck:
		return fmt.Errorf("its record begins with %x, and %d bytes are to come", h, s.Left)
	}
	return nil
}

// savedAddr is the address of a connection.
type savedAddr struct {
	Net  string `json:"network"`
	Text string `json:"text"`
}

func addrOf(a net.Addr) savedAddr { return savedAddr{a.Network(), a.String()} }

func (a savedAddr) Network() string { return a.Net }
func (a savedAddr) String() string  { return a.Text }

// parse returns the address as the type that package net has for it.
func (a savedAddr) parse() (net.Addr, error) {
	switch {
	case strings.HasPrefix(a.Net, "tcp"):
		ap, err := netip.ParseAddrPort(a.Text)
		if err != nil {
			return nil, fmt.Errorf("resume: the state of the stream: %w", err)
		}
		return net.TCPAddrFromAddrPort(ap), nil
	case strings.HasPrefix(a.Net, "unix"):
		return &net.UnixAddr{Name: a.Text, Net: a.Net}, nil
	}
	return a, nil
}

// savedTLS is what crosses of a TLS state: it has what checks of a session look at, and not
// the keys. Certificates are in DER.
type savedTLS struct {
	Version  uint16     `json:"version"`
	Cipher   uint16     `json:"cipher"`
	Server   string     `json:"server,omitempty"`
	Protocol string     `json:"protocol,omitempty"`
	Resumed  bool       `json:"resumed,omitempty"`
	Peer     [][]byte   `json:"peer,omitempty"`
	Chains   [][][]byte `json:"chains,omitempty"`
}

func saveTLS(t *tls.ConnectionState) *savedTLS {
	s := &savedTLS{t.Version, t.CipherSuite, t.ServerName, t.NegotiatedProtocol, t.DidResume, raw(t.PeerCertificates), nil}
	for _, chain := range t.VerifiedChains {
		s.Chains = append(s.Chains, raw(chain))
	}
	return s
}

func raw(list []*x509.Certificate) (der [][]byte) {
	for _, c := range list {
		der = append(der, c.Raw)
	}
	return der
}

func (s *savedTLS) parse() (t *tls.ConnectionState, err error) {
	t = &tls.ConnectionState{
		Version: s.Version, HandshakeComplete: true, DidResume: s.Resumed, CipherSuite: s.Cipher,
		NegotiatedProtocol: s.Protocol, ServerName: s.Server,
	}
	if t.PeerCertificates, err = certificates(s.Peer); err != nil {
		return nil, err
	}
	for _, der := range s.Chains {
		chain, err := certificates(der)
		if err != nil {
			return nil, err
		}
		t.VerifiedChains = append(t.VerifiedChains, chain)
	}
	return t, nil
}

func certificates(der [][]byte) (list []*x509.Certificate, err error) {
	for _, b := range der {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("resume: the state of the stream: %w", err)
		}
		list = append(list, c)
	}
	return list, nil
}
