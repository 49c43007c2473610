package auth_test

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/auth"
)

// Whatever a client sends first: it is accepted or gets the refusal, and the next one
// is served.
func TestHostile(t *testing.T) {
	const some = -1 // an error: a client that sends more than is read finds the connection closed
	for _, test := range []struct {
		name string
		info any
		set  func(tp.Message)
		want int32 // 0: let in
	}{
		{"info that is no JSON", []byte(`{"a`), nil, tp.CodeBadMessage},
		{"no info", nil, nil, refusal.Code},
		{"empty info", []byte{}, nil, refusal.Code},
		{"no codec", []byte(`"open"`), func(m tp.Message) { m.SetBodyCodec(0) }, 0},
		{"80 KiB of info", strings.Repeat("x", 80<<10), nil, tp.CodeBadMessage},
		{"1 MiB of info", strings.Repeat("x", 1<<20), nil, some},
		{"64 KiB of metadata", "open", func(m tp.Message) { m.Meta().Add("k", strings.Repeat("v", 64<<10)) }, tp.CodeBadMessage},
		{"60 KiB of metadata", "open", func(m tp.Message) { m.Meta().Add("k", strings.Repeat("v", 60<<10)) }, 0},
		{"a thousand keys", "open", func(m tp.Message) {
			for i := range 1000 {
				m.Meta().Add("key"+strconv.Itoa(i), "v")
			}
		}, 0},
		{"a key a thousand times", "open", func(m tp.Message) {
			for range 1000 {
				m.Meta().Add("key", "v")
			}
		}, 0},
		{"a service method", "open", func(m tp.Message) { m.SetServiceMethod("/who") }, 0},
	} {
		bubble(t, test.name, func(t *testing.T) {
			e := newEnds(t, checker(), hook{dial: func(s tp.PreSession) *tp.Rerror {
				set := func(m tp.Message) {
					if test.set != nil {
						test.set(m)
					}
				}
				if r := s.PreSend(tp.TypeAuthCall, "", test.info, nil, set); r != nil {
					return r
				}
				m := s.PreReceive(func(tp.Header) any { return nil })
				if m.Mtype() != tp.TypeAuthReply {
					t.Errorf("the answer is %s, %s; want AUTH_REPLY", tp.TypeText(m.Mtype()), m.Rerror())
				}
				return m.Rerror()
			}})
			if _, r := e.cli.Dial(e.addr); r.HasError() != (test.want != 0) || r != nil && test.want != some && r.Code != test.want {
				t.Errorf("Dial: %s; want code %d", r, test.want)
			}
			synctest.Wait()
			next := tptest.NewPeer(t, tp.PeerConfig{Network: e.net.Register(t)}, bearer("open", new(string)))
			if r := tptest.Dial(t, next, e.addr).Call("/who", "", nil).Rerror(); r != nil {
				t.Errorf("the next peer: %s", r)
			}
			if lines := e.log.Errors(); len(lines) > 0 {
				t.Errorf("logged: %q", lines)
			}
		})
	}
}

// An answer that cannot be decoded is 400 for the dialling side.
func TestHostileAnswer(t *testing.T) {
	for _, test := range []struct {
		name string
		ret  any
	}{{"no JSON", []byte(`{"a`)}, {"another type", []int{1}}} {
		bubble(t, test.name, func(t *testing.T) {
			e := newEnds(t, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				return test.ret, recv(nil)
			}), bearer("open", new(string)))
			if _, r := e.cli.Dial(e.addr); r == nil || r.Code != tp.CodeBadMessage {
				t.Errorf("Dial: %s; want 400", r)
			}
		})
	}
}
