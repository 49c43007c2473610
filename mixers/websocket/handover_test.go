package websocket_test

import (
	"context"
	"fmt"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/websocket"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// A WebSocket moves to the new process, with its side and its sub-protocol, whichever that is.
func TestSessionMoves(t *testing.T) {
	for name, sub := range map[string]socket.ProtoFunc{
		"raw": rawproto.NewRawProtoFunc(), "json": jsonproto.NewJSONProtoFunc(), "protobuf": pbproto.NewPbProtoFunc(),
		"of v5, without a name": websocket.NewWsProtoFunc(),
	} {
		t.Run(name, func(t *testing.T) {
			cfg := tp.PeerConfig{Net: websocket.Network(websocket.Options{Path: "/ws"}), Protocol: rawproto.NewRawProtoFunc()}
			server := func(cfg tp.PeerConfig) (tp.Peer, error) {
				if name == "of v5, without a name" {
					cfg.Protocol = sub
				}
				p, err := tp.Open(cfg)
				if err == nil {
					tp.HandleCall(p, "/twice", func(_ tp.CallCtx, s *string) (string, error) { return *s + *s, nil })
				}
				return p, err
			}
			client := func(cfg tp.PeerConfig) (tp.Peer, error) {
				cfg.Protocol = sub
				p, err := tp.Open(cfg)
				if err == nil {
					tp.HandleCall(p, "/once", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
				}
				return p, err
			}
			r := tptest.NewRebooted(t, cfg, server, client)
			for i := range 4 {
				for _, side := range []struct {
					s            tp.Session
					method, want string
				}{{r.Session, "/twice", "xx"}, {r.Accepted, "/once", "x"}} {
					if got, err := tp.Invoke[string](context.Background(), side.s, side.method, "x"); err != nil || got != side.want {
						t.Fatalf("after %d moves: %s = %q, %v", i, side.method, got, err)
					}
				}
				r.Reboot()
			}
			if id, s := r.Session.LocalAddr().String(), r.Accepted.ID(); s != id {
				t.Errorf("the session has the id %q; want %q", s, id)
			}
			if err := fmt.Errorf("closed by the test"); r.Session.(tp.Breaker).Break(err) {
				<-r.Accepted.CloseNotify()
			}
		})
	}
}
