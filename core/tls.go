package tp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// baseTLSConfig leaves curves and cipher suites to crypto/tls, whose lists are
// kept up to date. No protocol is negotiated (ALPN): a peer that names one
// would be refused by peers that name another.
func baseTLSConfig() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }

// NewTLSConfigFromFile makes a configuration for both sides, TLS 1.2 or later,
// with the certificate in one PEM file and its private key in another. A client
// checks the server's certificate and name unless the third argument is true.
// An error names the files.
func NewTLSConfigFromFile(certFile, keyFile string, insecureSkipVerifyForClient ...bool) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("tp: load certificate %q with key %q: %w", certFile, keyFile, err)
	}
	c := baseTLSConfig()
	c.Certificates = []tls.Certificate{cert}
	c.InsecureSkipVerify = len(insecureSkipVerifyForClient) > 0 && insecureSkipVerifyForClient[0]
	return c, nil
}

// GenerateTLSConfigForClient makes a configuration that encrypts but **trusts any
// server**: an attacker between the two sides can read and change everything. Use it
// only to try things out, with servers that use GenerateTLSConfigForServer.
func GenerateTLSConfigForClient() *tls.Config {
	c := baseTLSConfig()
	c.InsecureSkipVerify = true
	return c
}

// GenerateTLSConfigForServer makes a configuration with a self-signed
// certificate (ECDSA P-256, names localhost, 127.0.0.1 and ::1, ten years). The
// process has one such certificate, made at the first call and kept in memory
// only, so clients cannot verify it: use it only to try things out.
func GenerateTLSConfigForServer() *tls.Config {
	c := baseTLSConfig()
	cert, err := selfSigned()
	if err != nil {
		// The function returns no error: each handshake fails with it.
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, err }
		return c
	}
	c.Certificates = []tls.Certificate{cert}
	return c
}

// connectionState returns the TLS state of a connection, also behind connections that
// expose it, or the one below them by NetConn; nil if there is none.
func connectionState(conn net.Conn) *tls.ConnectionState {
	for range 16 { // a NetConn may return itself
		switch c := conn.(type) {
		case interface{ ConnectionState() tls.ConnectionState }:
			state := c.ConnectionState()
			return &state
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
	return nil
}

var selfSigned = sync.OnceValues(func() (tls.Certificate, error) {
	cert, err := newSelfSigned(time.Now())
	if err != nil {
		err = fmt.Errorf("tp: make a self-signed certificate: %w", err)
	}
	return cert, err
})

func newSelfSigned(now time.Time) (cert tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return cert, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "teleport self-signed"},
		NotBefore:             now.Add(-time.Hour), // clocks differ
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return cert, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
