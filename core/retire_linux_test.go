package tp

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// Each client that has connected before a peer closes its listener is answered, or is said
// goodbye to in a way that its calls have not run.
func TestClientsThatComeWhileAPeerCloses(t *testing.T) {
	testwire.Register()
	const rounds, clients = 8, 24
	reached := 0
	for range rounds {
		opened, err := Open(PeerConfig{LocalIP: "127.0.0.1", DefaultBodyCodec: "testtext", Protocol: testwire.New, CloseTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		p := opened.(*peer)
		// On a busy machine a connection may be about to be made, or a session to begin, for longer
		// than a peer waits otherwise.
		p.acceptTime, p.prepareTime = 500*time.Millisecond, 20*time.Second
		HandleCall(p, "/echo", func(_ CallCtx, arg *string) (string, error) { return *arg, nil })
		if err := p.Listen(); err != nil {
			t.Fatal(err)
		}
		addr := p.Addrs()[0].String()
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range clients {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Microsecond)
				conn, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
				if err != nil {
					return
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				c := socket.NewConn(conn, testwire.New, socket.Options{Dialed: true})
				m := socket.NewMessage(socket.WithMtype(TypeCall), socket.WithSeq(1), WithServiceMethod("/echo"), WithBodyCodec(testwire.Text), WithBody("x")).(*socket.Envelope)
				if err := c.Enqueue(t.Context(), m); err != nil {
					t.Errorf("call: %v", err)
				}
				c.Flush(0)
				m = new(socket.Envelope)
				if err := c.ReadInto(m); err != nil {
					t.Errorf("client %d: %v; want a reply or a farewell", i, err)
				} else if m.Mtype() == TypeControl && m.Meta().String() != "n=0" {
					t.Errorf("client %d: farewell with %s; want n=0", i, m.Meta())
				}
				mu.Lock()
				reached++
				mu.Unlock()
			})
		}
		time.Sleep(clients / 2 * 50 * time.Microsecond)
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wg.Wait()
	}
	if reached < rounds {
		t.Errorf("%d clients have connected, of %d", reached, rounds*clients)
	}
}
