package harnesstest

import (
	"net"
	"testing"
)

// The proxy counts every connection.
func TestProxyCounts(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p, err := startProxy(t.Context(), server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		client, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		conn, err := server.Accept() // so that it has passed the proxy
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if n := p.accepted.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}
