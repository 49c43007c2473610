package rawproto

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A plain client of a TLS port: the error of its call and the log of the server say so.
func TestPlainClientOfTLS(t *testing.T) {
	log := new(lines)
	server := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Logger: slog.New(slog.NewTextHandler(log, nil))})
	defer server.Close()
	if err := server.SetTLSConfig(tp.GenerateTLSConfigForServer()); err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(NewRawProtoFunc()); err != nil {
		t.Fatal(err)
	}
	client := tp.NewPeer(tp.PeerConfig{DefaultBodyCodec: "form", Logger: slog.New(slog.DiscardHandler)})
	defer client.Close()
	for _, size := range []int{10, 2000} {
		s, r := client.Dial(server.Addrs()[0].String(), NewRawProtoFunc())
		if r != nil {
			t.Fatal(r)
		}
		r = s.Call("/x", bytes.Repeat([]byte("x"), size), nil).Rerror()
		if r == nil || r.Code != tp.CodeConnClosed || !strings.Contains(r.Reason, "the peer sent a TLS alert: it expects TLS") {
			t.Errorf("a call with %d bytes: %v, want 102 that names TLS", size, r)
		}
	}
	server.Close() // the log comes behind the alert
	if got := log.String(); !strings.Contains(got, `a frame without encryption`) {
		t.Errorf("the server logs %q, want what the client has sent", got)
	}
}

// A client with TLS at a plain port is an error that names TLS.
func TestTLSClientOfPlain(t *testing.T) {
	log := new(lines)
	server := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	defer server.Close()
	if err := server.Listen(NewRawProtoFunc()); err != nil {
		t.Fatal(err)
	}
	client := tp.NewPeer(tp.PeerConfig{Logger: slog.New(slog.DiscardHandler)})
	defer client.Close()
	if err := client.SetTLSConfig(tp.GenerateTLSConfigForClient()); err != nil {
		t.Fatal(err)
	}
	if _, r := client.Dial(server.Addrs()[0].String(), NewRawProtoFunc()); r == nil {
		t.Fatal("Dial succeeds")
	}
	server.Close()
	if got := log.String(); !strings.Contains(got, "the peer began a TLS handshake") {
		t.Errorf("the server logs %q, want that the client uses TLS", got)
	}
}
