package contract

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// GatewayRoute is the route on which a gateway gets GatewayOpen and answers with
// GatewayOpened.
func GatewayRoute(name string) string { return "/gateway/" + name + "/open" }

// GatewayOpen says where a gateway opens a session for each foreign connection.
type GatewayOpen struct {
	Address string `json:"address"` // path of a unix socket
	Token   string `json:"token"`
	// MaxConns is how many foreign connections may be open at a time. 0 is no limit.
	MaxConns int `json:"max_conns,omitempty"`
}

// GatewayOpened says where the gateway listens.
type GatewayOpened struct {
	Address string `json:"address"`
}

// Foreign is what a gateway says of a foreign connection, ahead of its session.
type Foreign struct {
	Token   string      `json:"token"`
	Network string      `json:"network"` // such as "tcp"
	Address string      `json:"address"` // remote
	TLS     *ForeignTLS `json:"tls,omitempty"`
}

// ForeignTLS is the TLS state of a foreign connection.
type ForeignTLS struct {
	Version      uint16   `json:"version"`
	CipherSuite  uint16   `json:"cipher_suite"`
	ServerName   string   `json:"server_name,omitempty"`
	Protocol     string   `json:"protocol,omitempty"` // negotiated
	Certificates [][]byte `json:"certificates,omitempty"`
	Verified     bool     `json:"verified,omitempty"`
}

// maxForeign is the size of the largest Foreign as JSON, in bytes.
const maxForeign = 64 << 10

// WriteForeign writes f: its size in 4 bytes, big endian, and JSON.
func WriteForeign(w io.Writer, f *Foreign) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if len(text) > maxForeign {
		return fmt.Errorf("the facts of the connection have %d bytes, at most %d are allowed", len(text), maxForeign)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

// ReadForeign reads what WriteForeign writes, and no byte more.
func ReadForeign(r io.Reader) (*Foreign, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxForeign {
		return nil, fmt.Errorf("the facts of the connection have %d bytes, at most %d are allowed", n, maxForeign)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, err
	}
	f := new(Foreign)
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("the facts of the connection are no JSON of CONTRACT.md: %w", err)
	}
	return f, nil
}

// ForeignTLSOf returns what crosses of a TLS state.
func ForeignTLSOf(s tls.ConnectionState) *ForeignTLS {
	f := &ForeignTLS{
		Version: s.Version, CipherSuite: s.CipherSuite, ServerName: s.ServerName,
		Protocol: s.NegotiatedProtocol, Verified: len(s.VerifiedChains) > 0,
	}
	for _, c := range s.PeerCertificates {
		f.Certificates = append(f.Certificates, c.Raw)
	}
	return f
}

// State returns the TLS state. Its one verified chain, if the gateway has verified the
// certificates, is the certificates as they were sent.
func (f *ForeignTLS) State() (*tls.ConnectionState, error) {
	s := &tls.ConnectionState{
		Version: f.Version, CipherSuite: f.CipherSuite, ServerName: f.ServerName,
		NegotiatedProtocol: f.Protocol, HandshakeComplete: true,
	}
	for _, raw := range f.Certificates {
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("a certificate of the connection: %w", err)
		}
		s.PeerCertificates = append(s.PeerCertificates, c)
	}
	if f.Verified && len(s.PeerCertificates) > 0 {
		s.VerifiedChains = [][]*x509.Certificate{s.PeerCertificates}
	}
	return s, nil
}

// Addr returns the address as that of its network.
func (f *Foreign) Addr() net.Addr {
	if at, err := netip.ParseAddrPort(f.Address); err == nil && f.Network == "tcp" {
		return net.TCPAddrFromAddrPort(at)
	}
	return foreignAddr{f.Network, f.Address}
}

type foreignAddr struct{ network, text string }

func (a foreignAddr) Network() string { return a.network }
func (a foreignAddr) String() string  { return a.text }
