package main

import (
	"fmt"
	"time"

	tp "github.com/henrylee2cn/teleport"
	"github.com/henrylee2cn/teleport/codec"
)

func main() {
	go tp.GraceSignal()
	tp.SetGopool(1024, time.Minute)
	srv := tp.NewPeer(tp.PeerConfig{
		ListenPort:         9090,
		CountTime:          true,
		DefaultBodyCodec:   codec.NAME_JSON,
		DefaultDialTimeout: time.Second,
	})
	srv.RouteCall(new(Math))
	group := srv.SubRoute("/note")
	routes(group)
	tp.AnywayGo(func() {
		for range time.Tick(5 * time.Second) {
			srv.RangeSession(func(sess tp.Session) bool {
				if rerr := sess.Push("/push/status", fmt.Sprint(time.Now()), tp.WithBodyCodec(codec.ID_PLAIN)); rerr != nil {
					tp.Warnf("push: %v", rerr.ToError())
				}
				return true
			})
		}
	})
	srv.ListenAndServe()
}

func routes(group *tp.SubRouter) {
	group.RoutePushFunc((*Note).Say)
}

// Math serves calls.
type Math struct {
	tp.CallCtx
}

// Divide divides.
func (m *Math) Divide(arg *[2]int) (int, *tp.Rerror) {
	if arg[1] == 0 {
		return 0, tp.NewRerror(1001, "division by zero", "")
	}
	m.SetMeta("who", string(m.PeekMeta("who")))
	return arg[0] / arg[1], nil
}

// Note serves pushes.
type Note struct{ tp.PushCtx }

// Say logs.
func (n *Note) Say(arg *string) *tp.Rerror {
	tp.Infof("%s says %s", n.RealIP(), *arg)
	return nil
}
