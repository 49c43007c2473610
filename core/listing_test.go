package tp_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

type listed struct{ tp.CallCtx }

func (*listed) Sum(*int) (int, *tp.Rerror)  { return 0, nil }
func (*listed) Diff(*int) (int, *tp.Rerror) { return 0, nil }

// listing returns a line for each handler of a peer.
func listing(p tp.BasePeer) (lines []string) {
	for h := range p.Handlers() {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %q %v", h.RouterTypeName(), h.Name(), h.Doc(), h.Labels())))
	}
	return lines
}

func TestHandlers(t *testing.T) {
	p := tp.NewPeer(tp.PeerConfig{})
	defer p.Close()
	if got := listing(p); got != nil {
		t.Errorf("a new peer has %q", got)
	}
	p.SetUnknownCall(func(tp.UnknownCallCtx) (any, *tp.Rerror) { return nil, nil }, tp.Doc("forwards"))
	g := p.SubRoute("/math", tp.Label("team", "numbers"), tp.Label("since", "v1"))
	g.RouteCall(new(listed), tp.Doc("computes"))
	tp.HandlePush(g.SubRoute("log", tp.Label("since", "v2")), "line", func(tp.PushCtx, *string) error { return nil })
	tp.HandlePush(p, "/both", func(tp.PushCtx, *string) error { return nil }, tp.Doc("is pushed"))
	tp.HandleCall(p, "/both", func(tp.CallCtx, *string) (int, error) { return 0, nil }, tp.Doc("is called"))
	want := []string{
		`CALL /both "is called" map[]`,
		`PUSH /both "is pushed" map[]`,
		`CALL /math/listed/diff "computes" map[since:v1 team:numbers]`,
		`CALL /math/listed/sum "computes" map[since:v1 team:numbers]`,
		`PUSH /math/log/line "" map[since:v2 team:numbers]`,
		`UNKNOWN_CALL UNKNOWN_CALL "forwards" map[]`,
	}
	if got := listing(p); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for h := range p.Handlers() {
		h.Labels()["since"] = "v9"
		break
	}
	if got := listing(p); !slices.Equal(got, want) {
		t.Errorf("a reader of labels has changed them: %q", got[0])
	}
}

// An option of routes is an error where it would have no effect.
func TestOptionsOfAPeer(t *testing.T) {
	if _, err := tp.Open(tp.PeerConfig{}, tp.Ordered()); err == nil || !strings.Contains(err.Error(), "for routes and groups") {
		t.Errorf("Open returns %v", err)
	}
}

func TestListening(t *testing.T) {
	p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	if got := p.Listening(); len(got) != 0 {
		t.Errorf("before Listen: %v", got)
	}
	if err := p.Listen(testwire.New); err != nil {
		t.Fatal(err)
	}
	got := p.Listening()
	if len(got) != 1 || got[0].Network != "tcp" || !slices.Equal(got[0].Protocols, []string{"testwire"}) || got[0].TLS {
		t.Fatalf("got %+v", got)
	}
	if a, ok := got[0].Addr.(*net.TCPAddr); !ok || a.Port == 0 {
		t.Errorf("the address is %v", got[0].Addr)
	}
	p.Close()
	if got := p.Listening(); len(got) != 0 {
		t.Errorf("after Close: %v", got)
	}
}
