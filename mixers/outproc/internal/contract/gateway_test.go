package contract

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The address and the TLS state of a connection cross as they are.
func TestForeign(t *testing.T) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	cert := srv.Certificate()
	state := tls.ConnectionState{
		Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, ServerName: "example.com", NegotiatedProtocol: "x",
		PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}},
	}
	var b bytes.Buffer
	require.NoError(t, WriteForeign(&b, &Foreign{Token: "t", Network: "tcp", Address: "[::1]:80", TLS: ForeignTLSOf(state)}))
	b.WriteString("the session")
	f, err := ReadForeign(&b)
	require.NoError(t, err)
	require.Equal(t, "the session", b.String(), "no byte more is read")
	require.Equal(t, &net.TCPAddr{IP: net.IPv6loopback, Port: 80}, f.Addr())
	got, err := f.TLS.State()
	require.NoError(t, err)
	state.HandshakeComplete = true
	require.Equal(t, state, *got)
	require.Equal(t, "unix /run/x", (&Foreign{Network: "unix", Address: "/run/x"}).Addr().Network()+" "+(&Foreign{Address: "/run/x"}).Addr().String())

	_, err = ReadForeign(strings.NewReader("\xff\xff\xff\xff"))
	require.ErrorContains(t, err, "have 4294967295 bytes, at most 65536 are allowed")
	_, err = ReadForeign(strings.NewReader("\x00\x00\x00\x01x"))
	require.ErrorContains(t, err, "are no JSON of CONTRACT.md")
	_, err = (&ForeignTLS{Certificates: [][]byte{{1}}}).State()
	require.ErrorContains(t, err, "a certificate of the connection")
	require.Error(t, WriteForeign(&b, &Foreign{Address: strings.Repeat("x", maxForeign)}))
}

func FuzzReadForeign(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ReadForeign(bytes.NewReader(b))
		if err != nil {
			return
		}
		got.Addr()
		if got.TLS != nil {
			got.TLS.State()
		}
	})
}
