package standard_test

import (
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// bomb is what a few bytes an element become.
type bomb struct {
	List []struct{ A, B, C, D, E, F, G, H [8]int64 } `xml:"a"`
}

// raw is a body as it is.
func raw(text string) *[]byte { b := []byte(text); return &b }

// TestTooComplex: an argument, or a reply, that would become too large is an error with
// the reason, of that call alone.
func TestTooComplex(t *testing.T) {
	const n = 1 << 18
	for _, test := range []struct {
		codec  byte
		body   string
		reason string
	}{
		{codec.JSON, `{"List":[` + strings.Repeat("{},", n) + "{}]}", "json codec: decode into *standard_test.bomb: too complex: 67109376 bytes of memory for the value or more, the limit is 67108864"},
		{codec.JSON, strings.Repeat(`{"x":`, 1001), "json codec: decode into *standard_test.bomb: too complex: 1001 levels of nesting or more, the limit is 1000"},
		{codec.XML, "<x>" + strings.Repeat("<a/>", n-10) + "</x>", "xml codec: decode into *standard_test.bomb: too complex: 67109376 bytes of memory for the value or more, the limit is 67108864"},
		{codec.XML, strings.Repeat("<x>", n), "xml codec: decode into *standard_test.bomb: too complex: 1001 levels of nesting or more, the limit is 1000"},
	} {
		srv, cli := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"}), tp.NewPeer(tp.PeerConfig{})
		t.Cleanup(func() { srv.Close() })
		t.Cleanup(func() { cli.Close() })
		tp.HandleCall(srv, "/take", func(tp.CallCtx, *bomb) (string, error) { return "taken", nil })
		tp.HandleCall(srv, "/give", func(ctx tp.CallCtx, _ *string) (*[]byte, error) {
			ctx.SetBodyCodec(test.codec)
			return raw(test.body), nil
		})
		tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
		if err := srv.Listen(); err != nil {
			t.Fatal(err)
		}
		s, rerr := cli.Dial(srv.Addrs()[0].String())
		if rerr != nil {
			t.Fatal(rerr)
		}
		for name, cmd := range map[string]tp.CallCmd{
			"argument": s.Call("/take", raw(test.body), new(string), tp.WithBodyCodec(test.codec)),
			"reply":    s.Call("/give", "", new(bomb)),
		} {
			if r := cmd.Rerror(); !r.HasError() || r.Code != tp.CodeBadMessage || r.Reason != test.reason {
				t.Errorf("%s: error %v; want %d, %s", name, r, tp.CodeBadMessage, test.reason)
			}
		}
		var got string
		if r := s.Call("/echo", "still", &got).Rerror(); r.HasError() || got != "still" {
			t.Errorf("afterwards: %q, %v", got, r)
		}
	}
}
