package secure

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

// wireMeta is metadata as it is sent.
func wireMeta(pairs ...string) []byte {
	m := new(tp.Meta)
	for i := 0; i < len(pairs); i += 2 {
		m.Add(pairs[i], pairs[i+1])
	}
	return m.AppendBytes(nil)
}

// flips calls f with each copy of b in which one bit is another.
func flips(b []byte, f func(what string, altered []byte)) {
	for i := range 8 * len(b) {
		altered := bytes.Clone(b)
		altered[i/8] ^= 1 << (i % 8)
		f(fmt.Sprintf("bit %d of byte %d", i%8, i/8), altered)
	}
}

// No change to the metadata or the body of a sealed message on its way gives the
// receiver another body, or a call a reply that is sealed otherwise.
func TestAlteredOnTheWay(t *testing.T) {
	const body = "the body, sealed"
	for _, mode := range []struct {
		name string
		opts []Option
	}{{"enforced", nil}, {"optional", []Option{Optional()}}} {
		for _, mtype := range []byte{tp.TypeCall, tp.TypePush, tp.TypeReply} {
			for _, accept := range []string{"", "true", "false"} {
				t.Run(fmt.Sprintf("%s/%s/accept %q", mode.name, tp.TypeText(mtype), accept), func(t *testing.T) {
					dialler, acceptor := ends(t)
					conf := newConfig(mode.opts)
					sent := &line{}
					m := message(mtype, 1, "/a")
					m.SetBody([]byte(body))
					m.Meta().Set("k", "v")
					m.Meta().Set(MetaSecure, "true")
					if accept != "" {
						m.Meta().Set(MetaAcceptSecure, accept)
					}
					if err := (&proto{sent, dialler, conf}).Pack(m); err != nil {
						t.Fatal(err)
					}
					sealedReply := accept != "false"
					receive := func(what string, meta, sealed []byte, mustFail bool) {
						t.Helper()
						got := *sent
						got.meta, got.body = meta, sealed
						fresh := &hop{keys: acceptor.keys, nonce: acceptor.nonce, in: fromDialler}
						m := socket.NewMessage()
						err := (&proto{&got, fresh, conf}).Unpack(m)
						switch {
						case err != nil:
							var refusal *socket.Refusal
							if mtype == tp.TypeReply || !errors.As(err, &refusal) {
								t.Errorf("%s: %v; want a refusal of the message", what, err)
							}
						case m.Rerror().HasError() && mtype == tp.TypeReply:
						case string(m.RawBody()) != body:
							t.Errorf("%s: metadata %q brought the body %q", what, meta, m.RawBody())
						case wantsSealedReply(m.Meta()) != sealedReply:
							t.Errorf("%s: metadata %q was accepted, sealed reply %t; want %t", what, meta, !sealedReply, sealedReply)
						case mustFail:
							t.Errorf("%s: accepted", what)
						}
					}
					receive("as sent", sent.meta, sent.body, false)
					flips(sent.meta, func(what string, altered []byte) { receive("metadata: "+what, altered, sent.body, false) })
					flips(sent.body, func(what string, altered []byte) { receive("body: "+what, sent.meta, altered, true) })
					for _, pairs := range [][]string{
						{},
						{MetaAcceptSecure, "false"},
						{MetaAcceptSecure, "true"},
						{"x-secure", "true"},
						{MetaSecure, ""},
						{MetaSecure, "false"},
						{MetaSecure, "true", MetaSecure, "true"},
						{MetaSecure, "true", MetaSecure, "false"},
						{MetaSecure, "false", MetaSecure, "true"},
						{MetaSecure, "true", MetaAcceptSecure, ""},
						{MetaSecure, "true", MetaAcceptSecure, "no"},
						{MetaSecure, "true", MetaAcceptSecure, accept, MetaAcceptSecure, accept},
						{MetaSecure, "true", MetaAcceptSecure, "true", MetaAcceptSecure, "false"},
						{MetaSecure, "true", MetaAcceptSecure, "false", MetaAcceptSecure, "true"},
					} {
						receive(fmt.Sprint(pairs), wireMeta(pairs...), sent.body, true)
					}
					for _, other := range []string{"", "true", "false"} {
						pairs := []string{MetaSecure, "true", MetaAcceptSecure, other}
						if other == "" {
							pairs = pairs[:2]
						}
						receive(fmt.Sprint(pairs), wireMeta(pairs...), sent.body, other != accept)
					}
				})
			}
		}
	}
}

// The same for a message that is sealed from end to end.
func TestAlteredByProxy(t *testing.T) {
	const body = "the body, sealed"
	for _, mode := range []struct {
		name string
		opts []Option
	}{{"enforced", nil}, {"optional", []Option{Optional()}}} {
		t.Run(mode.name, func(t *testing.T) {
			dialler, _ := ends(t)
			sender := EndToEnd(dialler.keys, mode.opts...).(*endToEnd)
			m := message(tp.TypePush, 1, "/a")
			m.SetBody([]byte(body))
			m.Meta().Set("k", "v")
			m.Meta().Set(MetaSecureEnd, "true")
			if r := sender.write(m); r != nil {
				t.Fatal(r)
			}
			meta, sealed := m.Meta().AppendBytes(nil), m.Body().([]byte)
			receive := func(what string, meta, sealed []byte, mustFail bool) {
				t.Helper()
				m := message(tp.TypePush, 1, "/a")
				m.Meta().ParseBytes(meta)
				m.UnmarshalBody(bytes.Clone(sealed))
				p := EndToEnd(dialler.keys, mode.opts...).(*endToEnd)
				p.seen.since = sender.seen.since
				r := p.noteMethod(m)
				m.SetServiceMethod("/rerouted")
				if r == nil {
					r = p.read(m)
				}
				switch {
				case r != nil && r.Code == tp.CodeBadMessage:
				case r != nil:
					t.Errorf("%s: %s; want 400", what, r)
				case string(m.RawBody()) != body:
					t.Errorf("%s: metadata %q brought the body %q", what, meta, m.RawBody())
				case mustFail:
					t.Errorf("%s: accepted", what)
				}
			}
			receive("as sent", meta, sealed, false)
			flips(meta, func(what string, altered []byte) { receive("metadata: "+what, altered, sealed, false) })
			flips(sealed, func(what string, altered []byte) { receive("body: "+what, meta, altered, true) })
			for _, pairs := range [][]string{
				{},
				{"x-secure-end", "true"},
				{MetaSecureEnd, ""},
				{MetaSecureEnd, "false"},
				{MetaSecureEnd, "true", MetaSecureEnd, "true"},
				{MetaSecureEnd, "true", MetaSecureEnd, "false"},
				{MetaSecureEnd, "false", MetaSecureEnd, "true"},
			} {
				receive(fmt.Sprint(pairs), wireMeta(pairs...), sealed, true)
			}
		})
	}
}

// A plain message whose body begins as a sealed one does is a plain message, and
// passes where those are accepted.
func TestPlainThatLooksSealed(t *testing.T) {
	_, acceptor := ends(t)
	conf := newConfig([]Option{Optional()})
	for name, head := range map[string][]byte{"hop": {version, 0, 0, 0, 7}, "end to end": {endVersion, 0, 0, 0, 7}} {
		body := append(head, bytes.Repeat([]byte("x"), 100)...)
		m := socket.NewMessage()
		l := &line{mtype: tp.TypePush, method: "/a", body: body}
		if err := (&proto{l, acceptor, conf}).Unpack(m); err != nil || !bytes.Equal(m.RawBody(), body) {
			t.Errorf("hop: %s: %v, body %q", name, err, m.RawBody())
		}
		p := EndToEnd(acceptor.keys, Optional()).(*endToEnd)
		if r := p.noteMethod(m); r != nil {
			t.Fatal(r)
		}
		if r := p.read(m); r != nil || !bytes.Equal(m.RawBody(), body) {
			t.Errorf("end to end: %s: %s, body %q", name, r, m.RawBody())
		}
	}
}
