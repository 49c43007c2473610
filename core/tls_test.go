package tp

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// handshake runs client and server and returns both errors. It uses a socket, not
// net.Pipe, on which an alert would wait for a side that writes itself.
func handshake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	c, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer s.Close()
		conn := tls.Server(s, server)
		err := conn.HandshakeContext(t.Context())
		if err == nil {
			_, err = conn.Write([]byte("x")) // TLS 1.3: a client's refusal shows after the handshake
		}
		done <- err
	}()
	conn := tls.Client(c, client)
	clientErr = conn.HandshakeContext(t.Context())
	if clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1))
	}
	c.Close()
	return clientErr, <-done
}

func TestGeneratedTLSConfigs(t *testing.T) {
	server := GenerateTLSConfigForServer()
	if c, s := handshake(t, GenerateTLSConfigForClient(), server); c != nil || s != nil {
		t.Errorf("generated client and server: %v, %v; want no errors", c, s)
	}
	if c, _ := handshake(t, &tls.Config{ServerName: "localhost"}, server); c == nil {
		t.Error("a client that checks accepted the self-signed certificate")
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificates[0].Leaf)
	for _, name := range []string{"localhost", "127.0.0.1"} {
		if c, s := handshake(t, &tls.Config{ServerName: name, RootCAs: roots}, server); c != nil || s != nil {
			t.Errorf("a client that trusts the certificate for %s: %v, %v; want no errors", name, c, s)
		}
	}
	if c, _ := handshake(t, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, server); c == nil {
		t.Error("the server accepted TLS 1.1")
	}
	server.InsecureSkipVerify = true
	if GenerateTLSConfigForServer().InsecureSkipVerify {
		t.Error("two configurations share their fields")
	}
}

func TestNewTLSConfigFromFile(t *testing.T) {
	dir := t.TempDir()
	generated := GenerateTLSConfigForServer().Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(generated.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cert := write("cert.pem", "CERTIFICATE", generated.Certificate[0])
	key := write("key.pem", "PRIVATE KEY", der)
	broken := write("broken.pem", "CERTIFICATE", []byte("no DER"))
	missing := filepath.Join(dir, "missing.pem")

	for _, test := range []struct {
		name      string
		cert, key string
		insecure  []bool
		want      bool // of InsecureSkipVerify
		err       string
	}{
		{"checks", cert, key, nil, false, ""},
		{"checks, said so", cert, key, []bool{false}, false, ""},
		{"does not check", cert, key, []bool{true}, true, ""},
		{"no certificate", missing, key, nil, false, "missing.pem"},
		{"no key", cert, missing, nil, false, "missing.pem"},
		{"broken certificate", broken, key, nil, false, "broken.pem"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := NewTLSConfigFromFile(test.cert, test.key, test.insecure...)
			if test.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "tp: ") || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error is %v; want one that names %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.InsecureSkipVerify != test.want || c.MinVersion != tls.VersionTLS12 {
				t.Errorf("InsecureSkipVerify %v, MinVersion %x; want %v, %x", c.InsecureSkipVerify, c.MinVersion, test.want, tls.VersionTLS12)
			}
			if ce, se := handshake(t, GenerateTLSConfigForClient(), c); ce != nil || se != nil {
				t.Errorf("handshake: %v, %v", ce, se)
			}
		})
	}
}
