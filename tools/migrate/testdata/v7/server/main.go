package main

import (
	"fmt"
	"time"

	"github.com/andeya/erpc/v7"
)

func main() {
	defer erpc.FlushLogger()
	go erpc.GraceSignal()
	srv := erpc.NewPeer(erpc.PeerConfig{
		CountTime:   true,
		ListenPort:  9090,
		PrintDetail: true,
		DialTimeout: time.Second,
	})
	srv.RouteCall(new(Math))
	erpc.MustGo(func() {
		for range time.Tick(5 * time.Second) {
			srv.RangeSession(func(sess erpc.Session) bool {
				if stat := sess.Push("/push/status", fmt.Sprint(time.Now())); !stat.OK() {
					erpc.Warnf("%d", stat.Code())
				}
				return true
			})
		}
	})
	srv.ListenAndServe()
}

// Math serves calls.
type Math struct {
	erpc.CallCtx
}

// Divide divides.
func (m *Math) Divide(arg *[2]int) (int, *erpc.Status) {
	if arg[1] == 0 {
		return 0, erpc.NewStatus(1001, "division by zero")
	}
	if err := audit(arg); err != nil {
		return 0, erpc.NewStatus(erpc.CodeInternalServerError, "audit", err)
	}
	if arg[0] < 0 {
		return 0, erpc.NewStatusByCodeText(erpc.CodeBadMessage, arg, false)
	}
	return arg[0] / arg[1], nil
}

func audit(arg *[2]int) error { return nil }
