package tp_test

import (
	"net"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// A session that has received something uses the right dialect: if a later connection
// ends on the first frame, the peer restarts, and there is no hint.
func TestNoHintAtRestart(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	refused := make(chan struct{}, 1)
	go func() {
		for n := 0; ; n++ {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			m := socket.NewMessage()
			proto := testwire.New(c)
			if err := proto.Unpack(m); err == nil && n == 0 {
				proto.Pack(socket.NewMessage(socket.WithSeq(m.Seq()), socket.WithMtype(tp.TypeReply)))
			}
			c.Close()
			if n > 0 {
				select {
				case refused <- struct{}{}:
				default:
				}
			}
		}
	}()
	p := tp.NewPeer(tp.PeerConfig{DefaultBodyCodec: "testjson", RedialTimes: -1, RedialInterval: time.Millisecond, Logger: newQuiet(nil)})
	defer p.Close()
	s, r := p.Dial(lis.Addr().String(), func(rw socket.IOWithReadBuffer) tp.Proto { return hintProto{testwire.New(rw)} })
	if r != nil {
		t.Fatal(r)
	}
	if r := s.Call("/x", nil, nil).Rerror(); r != nil {
		t.Fatal(r)
	}
	for done := false; !done; {
		r := s.Call("/x", nil, nil).Rerror()
		if r == nil || strings.Contains(r.Reason, "dial it with the option Seed") {
			t.Fatalf("a call after the restart: %v, want an error without a hint", r)
		}
		select {
		case <-refused:
			done = true
		default:
		}
	}
}
