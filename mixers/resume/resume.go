package resume

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"

	tp "github.com/teleport-go/teleport/core"
)

func init() {
	for _, name := range []string{"tcp", "unix"} {
		n, err := tp.LookupNetwork(name)
		if err != nil {
			panic(err)
		}
		tp.RegisterNetwork(Over(n, Options{}))
	}
}

// Over makes a network whose streams outlive the connections of another one, such as tcp:
//
//	tcp, err := tp.LookupNetwork("tcp")
//	n := resume.Over(tcp, resume.Options{Window: time.Minute})
//	peer := tp.NewPeer(tp.PeerConfig{Net: &n})
//
// Its name is "resume+" and the other network's. It runs TLS by itself, on each connection,
// unless the other network does.
func Over(inner tp.Network, o Options) tp.Network {
	n := &network{inner: inner, o: o.withDefaults()}
	return tp.Network{Name: "resume+" + inner.Name, OwnTLS: true, Dial: n.dial, Listen: n.listen}
}

// network is what Over makes.
type network struct {
	inner tp.Network
	o     Options // with the defaults
}

// check returns an error for a network that cannot work.
func (n *network) check() error {
	if n.inner.Handshake != nil || n.inner.Dial == nil || n.inner.Listen == nil {
		return fmt.Errorf("resume: the network %q cannot carry streams: it has a handshake of its own, or does not dial or listen", n.inner.Name)
	}
	return n.o.check()
}

func (n *network) listen(ctx context.Context, l tp.ListenConfig) (net.Listener, error) {
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("tp: listen: %w", err)
	}
	return n.newListener(ctx, l)
}

func newToken() (t token) {
	rand.Read(t[:]) // never fails
	return t
}

// identity is the TLS identity of the side that has dialled: zero without TLS.
type identity [sha256.Size]byte

// identityOf returns the identity of a connection: the public key of a certificate that was
// shown, so that a renewed certificate is the same one.
func identityOf(conn net.Conn) (id identity) {
	t, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return id
	}
	state := t.ConnectionState()
	if len(state.PeerCertificates) == 0 {
		return sha256.Sum256([]byte("tls without a certificate"))
	}
	return sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
}
