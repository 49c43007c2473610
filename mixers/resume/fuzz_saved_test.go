package resume

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
)

// goodState is a state that a stream may have.
func goodState() saved {
	return saved{
		Version: savedVersion, Token: []byte("0123456789abcdef"), Identity: make([]byte, len(identity{})),
		Local: savedAddr{"tcp", "127.0.0.1:80"}, Remote: savedAddr{"tcp", "[::1]:4711"},
		Received: 100, Head: []byte{0x80, 0, 1}, AckSent: 50, Acked: 1000, Wire: 1002, End: 1005, Inbound: 3,
	}
}

// A state of another version of the program, or of something else, is refused or understood.
// The stream that is made of it says the same of itself.
func FuzzRestore(f *testing.F) {
	add := func(change func(*saved), rest string) {
		s := goodState()
		change(&s)
		b, err := s.append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(b, rest...))
	}
	add(func(*saved) {}, "12345abc")
	add(func(s *saved) { s.Left, s.Head = 7, nil }, "12345abc")
	add(func(s *saved) { s.LostFor = 1; s.Local = savedAddr{"unix", "/run/x"} }, "12345abc")
	add(func(s *saved) { s.Wire = 2000 }, "12345abc")
	add(func(s *saved) { s.Acked, s.Wire, s.End = 1<<48-5, 1<<48-5, 1<<48 }, "12345abc")
	add(func(s *saved) { s.End = 1 << 63 }, "12345abc")
	add(func(s *saved) { s.TLS = &savedTLS{Version: tls.VersionTLS13, Peer: [][]byte{{1}}} }, "12345abc")
	add(func(s *saved) {
		s.Owner = []savedOwner{{savedValue{"string", json.RawMessage(`"us\u0065r"`)}, savedValue{"int", json.RawMessage("7")}}}
	}, "12345abc")
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"version":1,"newer":true}` + "\n"))
	f.Add([]byte("null"))
	lis := listenFuzz(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		next, err := lis.Restore(b, nil)
		if err != nil {
			return
		}
		c := next.(*Conn)
		state, below, err := c.save()
		if err != nil || below != nil {
			t.Fatalf("save = %v, %v", below, err)
		}
		s, sent, inbound, err := parseSaved(b)
		if err != nil {
			t.Fatal(err)
		}
		got, gotSent, gotInbound, err := parseSaved(state)
		if err != nil {
			t.Fatalf("what it says of itself is refused: %v: %q", err, state)
		}
		owner, _ := restoreOwner(s.Owner)
		if s.Owner, err = saveOwner(owner); err != nil {
			t.Fatalf("an owner crosses once only: %v", err)
		}
		s.Local, s.Remote = canonical(t, s.Local), canonical(t, s.Remote) // which may be spelled in several ways
		s.Wire, s.LostFor, got.LostFor = s.Acked, 0, 0
		want, _ := json.Marshal(s)
		have, _ := json.Marshal(got)
		if string(want) != string(have) || string(sent) != string(gotSent) || string(inbound) != string(gotInbound) {
			t.Errorf("%s %q %q becomes %s %q %q", want, sent, inbound, have, gotSent, gotInbound)
		}
		next.Settle(true)
		p := make([]byte, len(inbound)+1)
		if n, _ := c.TryRead(p); n != len(inbound) {
			t.Errorf("%d bytes can be read; want %d", n, len(inbound))
		}
		if _, err := c.TryWrite([]byte("x")); err != nil && err != errAgain {
			t.Errorf("write: %v", err)
		}
		c.fail(net.ErrClosed)
	})
}

func canonical(t *testing.T, a savedAddr) savedAddr {
	parsed, err := a.parse()
	require.NoError(t, err)
	return addrOf(parsed)
}

// listenFuzz makes a listener.
func listenFuzz(t testing.TB) *Listener {
	lis, err := over(t, Options{}).Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1"})
	require.NoError(t, err)
	t.Cleanup(func() { lis.Close() })
	return lis.(*Listener)
}

// Each error says what is wrong with a state.
func TestBadState(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*saved)
		want   string
	}{
		{"version", func(s *saved) { s.Version = 2 }, "its version is 2, not 1"},
		{"no token", func(s *saved) { s.Token = nil }, "it has no token"},
		{"token of zeros", func(s *saved) { s.Token = make([]byte, 16) }, "it has no token"},
		{"identity", func(s *saved) { s.Identity = []byte{1} }, "its identity has 1 bytes"},
		{"written before acknowledged", func(s *saved) { s.Wire = 999 }, "its positions 1000, 999 and 1005 are not in order"},
		{"written more than there is", func(s *saved) { s.Wire = 1006 }, "its positions 1000, 1006 and 1005 are not in order"},
		{"fewer bytes", func(s *saved) { s.End++ }, "it is followed by 8 bytes, not by 6 and 3"},
		{"more bytes", func(s *saved) { s.Inbound = 2 }, "it is followed by 8 bytes, not by 5 and 2"},
		{"far too few bytes", func(s *saved) { s.End = 1<<64 - 1; s.Wire = s.End }, "it is followed by 8 bytes"},
		{"received less than it has", func(s *saved) { s.Received = 2 }, "it has received 2 bytes, has 3"},
		{"acknowledged what was not read", func(s *saved) { s.AckSent = 98 }, "has acknowledged 98"},
		{"time", func(s *saved) { s.LostFor = -1 }, "below 0"},
		{"record too long", func(s *saved) { s.Left, s.Head = recordSize+1, nil }, "32768 bytes of its record are to come"},
		{"record negative", func(s *saved) { s.Left, s.Head = -1, nil }, "-1 bytes of its record are to come"},
		{"head within a record", func(s *saved) { s.Left = 1 }, "its record begins with 800001, and 1 bytes are to come"},
		{"head of bytes", func(s *saved) { s.Head = []byte{0, 5} }, "its record begins with 0005"},
		{"whole ack", func(s *saved) { s.Head = []byte{0x80, 0, 1, 2, 3, 4, 5, 6} }, "its record begins with"},
		{"address", func(s *saved) { s.Remote.Text = "example.com:80" }, "ParseAddr"},
		{"certificate", func(s *saved) { s.TLS = &savedTLS{Peer: [][]byte{{1}}} }, "only one of the two processes runs TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := goodState()
			test.change(&s)
			b, err := s.append(nil)
			require.NoError(t, err)
			_, err = listenFuzz(t).Restore(append(b, "12345abc"...), nil)
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := (&savedTLS{Peer: [][]byte{{1}}}).parse()
	require.ErrorContains(t, err, "x509")
	_, err = (&savedTLS{Chains: [][][]byte{{{1}}}}).parse()
	require.ErrorContains(t, err, "x509")
	for text, want := range map[string]string{
		"{}":                                "has no end",
		"{\n":                               "cannot be read",
		`{"version":1,"newer":true}` + "\n": `unknown field "newer"`,
		`{"version":1}{}` + "\n":            "bytes behind its end",
	} {
		_, _, _, err := parseSaved([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
}
