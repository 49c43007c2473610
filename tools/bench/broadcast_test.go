package main

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// purchase is a body of some hundred bytes: 420 as JSON.
type purchase struct {
	ID, Customer, Note string
	At                 time.Time
	Items              []line
	Tags               map[string]string
}

type line struct {
	SKU      string
	Quantity int
	Price    float64
}

func newPurchase() purchase {
	o := purchase{ID: "0194c1d2-7e3a-7c11-9a3e-5b1f0c9d2e44", Customer: "customer-20417", Note: "leave it at the door", At: time.Unix(1, 2).UTC(),
		Tags: map[string]string{"channel": "web", "region": "eu-west-1"}}
	for i := range 5 {
		o.Items = append(o.Items, line{"SKU-00" + string(rune('1'+i)), i + 1, 12.5 * float64(i+1)})
	}
	return o
}

// sink is a connection that takes all bytes and sends none: what remains is the work of
// this side, without the kernel's.
type sink struct {
	net.Conn
	closed chan struct{}
}

func (s sink) Write(b []byte) (int, error)      { return len(b), nil }
func (s sink) Read([]byte) (int, error)         { <-s.closed; return 0, io.EOF }
func (s sink) Close() error                     { return nil }
func (s sink) SetDeadline(time.Time) error      { return nil }
func (s sink) SetReadDeadline(time.Time) error  { return nil }
func (s sink) SetWriteDeadline(time.Time) error { return nil }
func (s sink) LocalAddr() net.Addr              { return tp.NewFakeAddr("tcp", "127.0.0.1", "1") }
func (s sink) RemoteAddr() net.Addr             { return tp.NewFakeAddr("tcp", "127.0.0.1", "2") }

// broadcaster is a peer with sessions to push to.
func broadcaster(b *testing.B, sessions int, tcp bool) tp.Peer {
	p := tp.NewPeer(tp.PeerConfig{DefaultBodyCodec: "json", Logger: slog.New(slog.DiscardHandler)})
	closed := make(chan struct{})
	b.Cleanup(func() { close(closed); p.Close() })
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer lis.Close()
	for range sessions {
		conn := net.Conn(sink{closed: closed})
		if tcp {
			far, err := net.Dial("tcp", lis.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { far.Close() })
			go io.Copy(io.Discard, far)
			if conn, err = lis.Accept(); err != nil {
				b.Fatal(err)
			}
		}
		if p.ServeConn(conn) == nil {
			b.Fatal("a session was refused")
		}
	}
	return p
}

// BenchmarkBroadcast compares a Broadcast with a loop of pushes, a JSON body of some
// hundred bytes to each of many sessions: one that encodes each time, and one with a
// prepared body. The time is that of one session.
func BenchmarkBroadcast(b *testing.B) {
	arg := newPurchase()
	for _, conn := range []struct {
		name     string
		sessions int
		tcp      bool
	}{{"nowhere", 10_000, false}, {"tcp", 1_000, true}} {
		p := broadcaster(b, conn.sessions, conn.tcp)
		run := func(name string, all func()) {
			b.Run(conn.name+"/"+name, func(b *testing.B) {
				for range b.N {
					all()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*conn.sessions), "ns/push")
			})
		}
		loop := func(set ...tp.MessageSetting) {
			p.RangeSession(func(s tp.Session) bool { s.Push("/orders/new", &arg, set...); return true })
		}
		run("loop", func() { loop() })
		run("Broadcast", func() { tp.Broadcast(p.RangeSession, "/orders/new", &arg) })
		run("loop,gzip", func() { loop(tp.WithXferPipe('g')) })
		run("Broadcast,gzip", func() {
			body, err := tp.Prepare(codec.JSON, &arg, 'g')
			if err != nil {
				b.Fatal(err)
			}
			tp.Broadcast(p.RangeSession, "/orders/new", body)
		})
	}
}
