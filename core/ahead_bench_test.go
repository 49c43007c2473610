package tp

import (
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/xfer"
)

// crossing is a filter that sends the bytes to another goroutine through a socket, and waits
// for them to come back.
type crossing struct {
	id     byte
	remote bool
	lanes  chan net.Conn
}

func (f *crossing) ID() byte                          { return f.id }
func (f *crossing) Name() string                      { return fmt.Sprint("testcrossing", f.id) }
func (f *crossing) Remote() bool                      { return f.remote }
func (f *crossing) OnPack(b []byte) ([]byte, error)   { return f.cross(b) }
func (f *crossing) OnUnpack(b []byte) ([]byte, error) { return f.cross(b) }

func (f *crossing) cross(b []byte) ([]byte, error) {
	lane := <-f.lanes
	defer func() { f.lanes <- lane }()
	if _, err := lane.Write(b); err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(b))
	for len(out) < len(b) {
		n, err := lane.Read(out[len(out):cap(out)])
		if err != nil {
			return nil, err
		}
		out = out[:len(out)+n]
	}
	return out, nil
}

var crossings = sync.OnceValue(func() []*crossing {
	list := []*crossing{{id: 248, lanes: make(chan net.Conn, 64)}, {id: 249, remote: true, lanes: make(chan net.Conn, 64)}}
	for _, f := range list {
		xfer.Register(f)
	}
	return list
})

// BenchmarkRemoteFilter is calls on one session whose frames go through a filter in another
// place, in both directions and on both sides: in turn, and ahead.
func BenchmarkRemoteFilter(b *testing.B) {
	lis, err := net.Listen("unix", filepath.Join(b.TempDir(), "lane"))
	if err != nil {
		b.Fatal(err)
	}
	defer lis.Close()
	var delay atomic.Int64
	for _, f := range crossings() {
		for range cap(f.lanes) {
			near, err := net.Dial("unix", lis.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer near.Close()
			far, err := lis.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer far.Close()
			go func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := far.Read(buf)
					time.Sleep(time.Duration(delay.Load()))
					if err == nil {
						_, err = far.Write(buf[:n])
					}
					if err != nil {
						return
					}
				}
			}()
			f.lanes <- near
		}
		defer func() {
			for range cap(f.lanes) {
				<-f.lanes
			}
		}()
	}
	testwire.Register()
	SetLoggerLevel("ERROR")
	defer func() { SetLoggerLevel("DEBUG") }()
	srv := NewPeer(PeerConfig{DefaultBodyCodec: "testtext"})
	defer srv.Close()
	HandleCall(srv, "/echo", func(_ CallCtx, arg *string) (string, error) { return *arg, nil })
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		if conn, err := tcp.Accept(); err == nil {
			srv.ServeConn(conn, testwire.New)
		}
	}()
	cli := NewPeer(PeerConfig{DefaultBodyCodec: "testtext"})
	defer cli.Close()
	sess, rerr := cli.Dial(tcp.Addr().String(), testwire.New)
	if rerr.HasError() {
		b.Fatal(rerr)
	}
	arg := string(make([]byte, 600))
	for _, far := range []time.Duration{0, time.Millisecond} {
		for _, of := range []struct {
			callers int
			f       *crossing
			how     string
		}{{1, crossings()[0], "in turn"}, {1, crossings()[1], "ahead"}, {64, crossings()[0], "in turn"}, {64, crossings()[1], "ahead"}} {
			callers, f := of.callers, of.f
			b.Run(fmt.Sprintf("%v away/%d callers/%s", far, callers, of.how), func(b *testing.B) {
				delay.Store(int64(far))
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for range b.N/callers + 1 {
							if r := sess.Call("/echo", arg, new(string), WithXferPipe(f.id)).Rerror(); r.HasError() {
								b.Error(r)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
