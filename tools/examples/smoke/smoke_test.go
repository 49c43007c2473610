package smoke

import (
	"context"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

type Math struct{ tp.CallCtx }

func (m *Math) Add(arg *[]int) (int, *tp.Rerror) {
	tp.Infof("author: %s", m.Query().Get("author"))
	var r int
	for _, a := range *arg {
		r += a
	}
	return r, nil
}
func (m *Math) Panic(arg *[]int) (int, *tp.Rerror) { panic("boom") }

type Push struct{ tp.PushCtx }

var got = make(chan string, 1)

func (p *Push) Status(arg *string) *tp.Rerror { got <- *arg; return nil }

func TestSmoke(t *testing.T) {
	srv := tp.NewPeer(tp.PeerConfig{CountTime: true, PrintDetail: true, LocalIP: "127.0.0.1"})
	srv.RouteCall(new(Math))
	tp.HandleCall(srv, "typed", func(ctx tp.CallCtx, arg *[]byte) ([]byte, error) { return *arg, nil })
	if err := srv.Listen(); err != nil {
		t.Fatal(err)
	}
	cli := tp.NewPeer(tp.PeerConfig{PrintDetail: true})
	cli.RoutePush(new(Push))
	s, r := cli.Dial(srv.Addrs()[0].String())
	if r != nil {
		t.Fatal(r)
	}
	var sum int
	if r := s.Call("/math/add?author=me", []int{1, 2, 3}, &sum).Rerror(); r != nil || sum != 6 {
		t.Fatal(r, sum)
	}
	t.Log(s.Call("/math/panic", []int{1, 2, 3}, &sum).Rerror())
	t.Log(s.Call("/math/none", []int{1, 2, 3}, &sum).Rerror())
	b, err := tp.Invoke[[]byte](context.Background(), s, "/typed", []byte("hello"))
	t.Log(string(b), err)
	srv.RangeSession(func(s tp.Session) bool { t.Log(s.ID(), s.Push("/push/status", "hi")); return true })
	t.Log(<-got)
	t.Log(cli.Close(), srv.Close())
}
