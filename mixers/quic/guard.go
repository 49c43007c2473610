package quic

import (
	"crypto/tls"
	"crypto/x509"

	tp "github.com/teleport-go/teleport/core"
)

// guardTLS replaces the functions of a configuration that handshakes call: crypto/tls runs
// the handshakes of QUIC on goroutines of its own, where a panic would end the process.
func guardTLS(c *tls.Config, log tp.Logger) {
	if f := c.GetCertificate; f != nil {
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (cert *tls.Certificate, err error) {
			err = guard(log, "GetCertificate", func() (err error) { cert, err = f(hello); return err })
			return cert, err
		}
	}
	if f := c.GetClientCertificate; f != nil {
		c.GetClientCertificate = func(info *tls.CertificateRequestInfo) (cert *tls.Certificate, err error) {
			err = guard(log, "GetClientCertificate", func() (err error) { cert, err = f(info); return err })
			return cert, err
		}
	}
	if f := c.GetConfigForClient; f != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (cfg *tls.Config, err error) {
			err = guard(log, "GetConfigForClient", func() (err error) { cfg, err = f(hello); return err })
			return cfg, err
		}
	}
	if f := c.VerifyPeerCertificate; f != nil {
		c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
			return guard(log, "VerifyPeerCertificate", func() error { return f(raw, chains) })
		}
	}
	if f := c.VerifyConnection; f != nil {
		c.VerifyConnection = func(state tls.ConnectionState) error {
			return guard(log, "VerifyConnection", func() error { return f(state) })
		}
	}
}

func guard(log tp.Logger, name string, f func() error) error {
	return tp.Guard(log, name+" of the TLS configuration", f)
}
