package httproto_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/protos/httproto"
)

// The connection of an HTTP client that is kept alive moves to the new process between two
// requests.
func TestSessionMoves(t *testing.T) {
	server := func(cfg tp.PeerConfig) (tp.Peer, error) {
		p, err := tp.Open(cfg)
		if err == nil {
			tp.HandleCall(p, "/twice", func(_ tp.CallCtx, s *[]byte) ([]byte, error) { return append(*s, *s...), nil })
		}
		return p, err
	}
	cfg := tp.PeerConfig{Protocol: httproto.NewHTTProtoFunc()}
	r := tptest.NewRebooted(t, cfg, server, func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg) })
	r.Reboot() // that of the peer, which has said nothing
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	url := "http://" + r.Server.Addrs()[0].String() + "/twice"
	r.Client.Close()
	post := func() string {
		t.Helper()
		res, err := client.Post(url, "text/plain", strings.NewReader("ab"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("status %d, %q, %v", res.StatusCode, b, err)
		}
		return string(b)
	}
	if got := post(); got != "abab" {
		t.Fatalf("the answer is %q", got)
	}
	for deadline := time.Now().Add(20 * time.Second); r.Server.CountSession() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the peer's session has not ended")
		}
	}
	r.Reboot() // the old server is closed: another connection would be refused
	for range 3 {
		if got := post(); got != "abab" {
			t.Errorf("the answer is %q after the move", got)
		}
	}
	if n := r.Server.CountSession(); n != 1 {
		t.Errorf("the new process has %d sessions; want the one that has moved", n)
	}
}
