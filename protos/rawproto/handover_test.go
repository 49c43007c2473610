package rawproto_test

import (
	"context"
	"fmt"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// A session moves to the new process with the dialect of its peer, whichever that is, also
// behind AnyProto.
func TestSessionMoves(t *testing.T) {
	for _, any := range []bool{false, true} {
		for _, d := range []rawproto.Dialect{rawproto.Seed, rawproto.V5, rawproto.V7} {
			t.Run(fmt.Sprintf("%v/any %v", d, any), func(t *testing.T) {
				server := func(cfg tp.PeerConfig) (tp.Peer, error) {
					cfg.Protocol = rawproto.NewRawProtoFunc()
					if any {
						cfg.Protocol = socket.AnyProto(rawproto.Name)
					}
					p, err := tp.Open(cfg)
					if err == nil {
						tp.HandleCall(p, "/twice", func(_ tp.CallCtx, s *string) (string, error) { return *s + *s, nil })
						tp.HandleCall(p, "/fail", func(tp.CallCtx, *string) (string, error) { return "", tp.NewRerror(1234, "no", "way").Err() })
					}
					return p, err
				}
				client := func(cfg tp.PeerConfig) (tp.Peer, error) {
					cfg.Protocol = rawproto.NewRawProtoFunc(d)
					p, err := tp.Open(cfg)
					if err == nil {
						tp.HandleCall(p, "/once", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
					}
					return p, err
				}
				r := tptest.NewRebooted(t, tp.PeerConfig{}, server, client)
				for i := range 4 {
					if i != 1 { // the first move is of a session that has said nothing
						for _, side := range []struct {
							s            tp.Session
							method, want string
						}{{r.Session, "/twice", "xx"}, {r.Accepted, "/once", "x"}} {
							if got, err := tp.Invoke[string](context.Background(), side.s, side.method, "x"); err != nil || got != side.want {
								t.Fatalf("after %d moves: %s = %q, %v", i, side.method, got, err)
							}
						}
						if _, err := tp.Invoke[string](context.Background(), r.Session, "/fail", "x"); tp.Code(err) != 1234 {
							t.Fatalf("after %d moves: %v; want the error of the handler", i, err)
						}
					}
					r.Reboot()
				}
			})
		}
	}
}
