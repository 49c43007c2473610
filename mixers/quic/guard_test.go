package quic

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// errorLog keeps the errors.
type errorLog struct {
	tp.Logger
	mu   sync.Mutex
	text strings.Builder
}

func (l *errorLog) Errorf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.text, format, args...)
}

func (l *errorLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A function of the TLS configuration that panics, or ends its goroutine, fails its
// handshake alone, on either side.
func TestTLSFunctionFails(t *testing.T) {
	for _, how := range []struct {
		name, log string
		f         func() error
	}{
		{"panics", "of the TLS configuration panicked: boom", func() error { panic("boom") }},
		{"ends its goroutine", "", func() error { runtime.Goexit(); return nil }},
	} {
		for _, test := range []struct {
			name   string
			client bool
			set    func(c *tls.Config)
		}{
			{"GetCertificate", false, func(c *tls.Config) {
				c.Certificates = nil
				c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, how.f() }
			}},
			{"GetConfigForClient", false, func(c *tls.Config) {
				c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, how.f() }
			}},
			{"VerifyConnection of a chosen configuration", false, func(c *tls.Config) {
				chosen := c.Clone()
				chosen.VerifyConnection = func(tls.ConnectionState) error { return how.f() }
				c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return chosen, nil }
			}},
			{"VerifyConnection", true, func(c *tls.Config) {
				c.VerifyConnection = func(tls.ConnectionState) error { return how.f() }
			}},
			{"VerifyPeerCertificate", true, func(c *tls.Config) {
				c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return how.f() }
			}},
			{"GetClientCertificate", true, func(c *tls.Config) {
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, how.f() }
			}},
		} {
			t.Run(test.name+" "+how.name, func(t *testing.T) {
				tptest.LeakCheck(t)
				server, client := serverConf.Clone(), clientConf.Clone()
				server.ClientAuth = tls.RequestClientCert
				if test.client {
					test.set(client)
				} else {
					test.set(server)
				}
				log := &errorLog{Logger: tp.GetLogger()}
				n := New(Options{})
				lis, err := n.Listen(t.Context(), tp.ListenConfig{Network: "quic", LocalIP: "127.0.0.1", TLS: server, Logger: log})
				require.NoError(t, err)
				accepted := make(chan error, 1)
				go func() { _, err := lis.Accept(); accepted <- err }()
				conn, err := n.Dial(t.Context(), tp.DialConfig{Network: "quic", Addr: lis.Addr().String(), TLS: client, Logger: log})
				if err == nil { // the server's error comes behind the client's handshake
					conn.SetReadDeadline(time.Now().Add(patience))
					_, err = conn.Read(make([]byte, 1))
					conn.Close()
				}
				require.Error(t, err)
				require.Contains(t, log.String(), how.log)
				require.NoError(t, lis.Close())
				require.ErrorIs(t, tptest.Receive(t, accepted, "the error of Accept"), net.ErrClosed)
			})
		}
	}
}
