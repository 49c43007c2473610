package quic

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

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

// panicPause is how long after a panic the stacks of others are not logged: the other side
// may cause one by each connection.
const panicPause = time.Second

// lastPanic is when a stack was logged, in nanoseconds since 1970.
var lastPanic atomic.Int64

// guard runs a function of the TLS configuration on a goroutine of its own, which it may end,
// and returns a panic as an error.
func guard(log tp.Logger, name string, f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = fmt.Errorf("%s of the TLS configuration has ended its goroutine (runtime.Goexit)", name)
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			err = fmt.Errorf("%s of the TLS configuration panicked: %v", name, v)
			now, last := time.Now().UnixNano(), lastPanic.Load()
			if log != nil && now-last >= int64(panicPause) && lastPanic.CompareAndSwap(last, now) {
				log.Errorf("quic: %v\n%s", err, debug.Stack())
			}
		}()
		err = f()
	}()
	<-done
	return err
}
