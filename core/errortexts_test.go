package tp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// The texts of errors name an operation, an address and a package once.

var registerNoDial = sync.OnceFunc(func() { RegisterNetwork(Network{Name: "nodial"}) })

func TestTextsOfDialErrors(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := lis.Addr().String()
	lis.Close()
	registerNoDial()
	for _, test := range []struct {
		name   string
		cfg    PeerConfig
		addr   string
		before func(Peer)
		want   string // after "dial ADDR: "
		is     error
	}{
		{"refused", PeerConfig{}, gone, nil, "connect: " + syscall.ECONNREFUSED.Error(), syscall.ECONNREFUSED},
		{"no port", PeerConfig{}, "127.0.0.1", nil, "address 127.0.0.1: missing port in address", nil},
		{"local address", PeerConfig{LocalIP: "a:b:c"}, gone, nil, "local address: lookup a:b:c: no such host", nil},
		{"network that does not dial", PeerConfig{Network: "nodial"}, "x", nil, `network "nodial" does not dial: unsupported operation`, errors.ErrUnsupported},
		{"socket file", PeerConfig{Network: "unix"}, "/no/such.sock", nil, "connect: " + syscall.ENOENT.Error(), syscall.ENOENT},
		{"closed peer", PeerConfig{}, gone, func(p Peer) { p.Close() }, "the peer is closed", nil},
		{"configuration", PeerConfig{DefaultBodyCodec: "texts-none"}, gone, nil, `config: default_body_codec: unsupported codec name: texts-none`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Protocol = testwire.New
			p := NewPeer(test.cfg)
			defer p.Close()
			if test.before != nil {
				test.before(p)
			}
			_, r := p.Dial(test.addr)
			wantRerror(t, r, CodeDialFailed)
			reason, _, _ := strings.Cut(r.Reason, " (forgotten import?)")
			if want := "dial " + test.addr + ": " + test.want; reason != want {
				t.Errorf("reason %q; want %q", reason, want)
			}
			if test.is != nil && !errors.Is(r.Cause(), test.is) {
				t.Errorf("the cause %v is not %v", r.Cause(), test.is)
			}
			if op := (*net.OpError)(nil); strings.HasPrefix(test.want, "connect") && !errors.As(r.Cause(), &op) {
				t.Errorf("the cause %v has no *net.OpError", r.Cause())
			}
		})
	}
}

func TestTextsOfTLSErrors(t *testing.T) {
	config := GenerateTLSConfigForServer() // outside the bubble, whose clock is another
	begun := time.Now()
	now := func() time.Time { return begun }
	for _, test := range []struct {
		name   string
		client *tls.Config
		plain  bool // the server is
		want   string
		log    string
	}{
		{"another name", &tls.Config{ServerName: "x", Time: now}, false,
			"tls: failed to verify certificate: x509: certificate is valid for localhost, not x", "remote error: tls: bad certificate"},
		{"refused by the server", &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false,
			"remote error: tls: protocol version not supported", "client offered only unsupported versions: [302 301]"},
		{"no TLS", &tls.Config{ServerName: "x"}, true, "tls: EOF", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines levelLines
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.peer(func(cfg *PeerConfig) { cfg.Logger = lines.logger() })
				if !test.plain {
					p.SetTLSConfig(config)
				}
				cli := w.peer(nil)
				cli.SetTLSConfig(test.client)
				addr := w.listen(p)
				_, r := cli.Dial(addr)
				wantRerror(t, r, CodeDialFailed)
				if want := "dial " + addr + ": " + test.want; r == nil || r.Reason != want {
					t.Errorf("%s; want the reason %q", r, want)
				}
				synctest.Wait()
				if test.log != "" {
					lines.want(t, 1, "level=WARN", `msg="tls handshake with `, ": "+test.log+`"`)
				}
			})
		})
	}
}

func TestTextsOfTheEnd(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(s *session, there *memnet.Conn)
		want string
	}{
		{"network", func(_ *session, there *memnet.Conn) { there.Cut() }, "network: read mem mem:client:1->mem:1: connection reset by peer while reading"},
		{"this side", func(s *session, _ *memnet.Conn) { s.Close() }, "local: closed by this side"},
		{"the other side", func(_ *session, there *memnet.Conn) { there.Close() }, "remote: closed by peer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines levelLines
			inWorld(t, nil, func(t *testing.T, w *world) {
				cli := w.peer(func(cfg *PeerConfig) { cfg.Logger = lines.logger() })
				s, r := cli.Dial(w.addr)
				if r != nil {
					t.Fatal(r)
				}
				synctest.Wait()
				test.end(s.(*session), mem(s.(*session)).Peer())
				synctest.Wait()
				lines.want(t, 1, fmt.Sprintf("addr:%s, ", w.addr), "): "+test.want+"; 0 messages not sent")
			})
		})
	}
}
