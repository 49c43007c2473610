package main

import (
	"io"
	"log/slog"
	"net"
	"slices"
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

// broadcaster is a peer with sessions to push to; the peers of the first ones do not read.
func broadcaster(b *testing.B, sessions int, tcp bool, stopped int) tp.Peer {
	p := tp.NewPeer(tp.PeerConfig{DefaultBodyCodec: "json", WriteBound: 64 << 10, WriteTimeout: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	closed := make(chan struct{})
	b.Cleanup(func() { close(closed); p.Close() })
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer lis.Close()
	for i := range sessions {
		conn := net.Conn(sink{closed: closed})
		if tcp {
			far, err := net.Dial("tcp", lis.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { far.Close() })
			if conn, err = lis.Accept(); err != nil {
				b.Fatal(err)
			}
			if i >= stopped {
				go io.Copy(io.Discard, far)
			} else {
				far.(*net.TCPConn).SetReadBuffer(4 << 10)
				conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
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
		p := broadcaster(b, conn.sessions, conn.tcp, 0)
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

// BenchmarkStoppedReader broadcasts in turn to sessions that all read, and to as many of
// which one does not: what that costs the others, and how much waits for it.
func BenchmarkStoppedReader(b *testing.B) {
	const sessions = 1000 // of which WriteBound is 64 KiB
	arg := newPurchase()
	peers := [2]tp.Peer{broadcaster(b, sessions, true, 0), broadcaster(b, sessions, true, 1)}
	for _, policy := range []tp.PushPolicy{tp.PushFail, tp.PushDropOldest, tp.PushLatest} {
		b.Run(string(policy), func(b *testing.B) {
			var took [2][]time.Duration
			for range b.N {
				for i, p := range peers {
					began := time.Now()
					tp.Broadcast(p.RangeSession, "/orders/new", &arg, tp.WithPushPolicy(policy))
					took[i] = append(took[i], time.Since(began))
				}
			}
			for i, name := range []string{"all", "one-stopped"} {
				slices.Sort(took[i])
				b.ReportMetric(float64(took[i][len(took[i])*99/100])/1e6, "p99-ms-"+name)
				b.ReportMetric(float64(took[i][len(took[i])/2])/1e6, "p50-ms-"+name)
			}
			most := 0
			peers[1].RangeSession(func(s tp.Session) bool { most = max(most, s.Queue().Bytes); return true })
			b.ReportMetric(float64(most), "queued-bytes")
			b.ReportMetric(0, "ns/op")
		})
	}
}
