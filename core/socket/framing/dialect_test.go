package framing

import (
	"bytes"
	"io"
	"testing"
)

type dialect byte

func TestNegotiation(t *testing.T) {
	for _, test := range []struct {
		name          string
		dialed, sider bool
		named         dialect
		writes, after dialect // before and after 3 and then 4 have arrived
	}{
		{"accepted", false, true, 0, 1, 3},
		{"accepted, named", false, true, 2, 2, 3},
		{"dialled", true, true, 0, 1, 3},
		{"dialled, named", true, true, 2, 2, 2},
		{"no side", false, false, 2, 2, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			var rw io.ReadWriter = new(bytes.Buffer)
			if test.sider {
				rw = side{rw, test.dialed}
			}
			var n Negotiation[dialect]
			n.Begin(rw, test.named, 1)
			if n.Current() != test.writes || n.Dialed() != test.dialed {
				t.Errorf("writes %d, dialed %v; want %d, %v", n.Current(), n.Dialed(), test.writes, test.dialed)
			}
			n.Settle(3)
			n.Settle(4)
			if n.Current() != test.after || n.Settled() != test.after {
				t.Errorf("then writes %d and has settled %d, want %d", n.Current(), n.Settled(), test.after)
			}
		})
	}
}

type side struct {
	io.ReadWriter
	dialed bool
}

func (s side) Dialed() bool { return s.dialed }

func TestRecognise(t *testing.T) {
	begins := func(payload []byte) bool { return payload[0] == 'h' }
	// The size is without its own bytes here.
	frame := func(filters, payload string) string {
		b := framed(filters, payload)
		b[3] -= 4
		return string(b)
	}
	for _, test := range []struct {
		name, prefix string
		match        bool
		need         int
	}{
		{"nothing", "", false, 5},
		{"only the size", "\x00\x00\x00\x09", false, 5},
		{"no payload yet", frame("", "hi")[:5], false, 6},
		{"payload", frame("", "hi")[:6], true, 0},
		{"another", frame("", "no"), false, 0},
		{"too short for one", frame("", "h"), false, 0},
		{"text", "GET / HTTP/1.1", false, 0},
		{"nine filters", frame("rrrrrrrrr", "hi"), false, 0},
		{"filter, and not all", frame("c", "hi.")[:7], false, 9},
		{"filter", frame("c", "hi."), true, 0},
		{"filter, another", frame("c", "no."), false, 0},
		{"unknown filter", frame("?", "hxyz"), true, 0},
		{"unknown filter, another", frame("?", "xyzh"), false, 0},
		{"damaged", frame("c", "hi!"), false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			match, need := Recognise([]byte(test.prefix), begins)
			if match != test.match || need != test.need {
				t.Errorf("= %v, %d; want %v, %d", match, need, test.match, test.need)
			}
		})
	}
}

func TestText(t *testing.T) {
	all := []Dialect{1: {Name: "one"}, 2: {Name: "two"}}
	for d, want := range map[dialect]string{0: "dialect 0", 1: "one", 2: "two", 3: "dialect 3", 255: "dialect 255"} {
		if got := Text(all, d); got != want {
			t.Errorf("Text(%d) = %q, want %q", d, got, want)
		}
		if got, want := Has(all, d), d == 1 || d == 2; got != want {
			t.Errorf("Has(%d) = %v, want %v", d, got, want)
		}
	}
	if got := Named([]dialect(nil)); got != 0 {
		t.Errorf("Named() = %d, want 0", got)
	}
	if got := Named([]dialect{2, 1}); got != 2 {
		t.Errorf("Named(2, 1) = %d, want 2", got)
	}
}

// The names before they were renamed.
func TestDeprecated(t *testing.T) {
	var s Speech[dialect]
	s.Begin(new(bytes.Buffer), 2, 1)
	if s.Speaks() != 2 || s.Reads() != 0 {
		t.Errorf("Speaks = %d, Reads = %d; want 2, 0", s.Speaks(), s.Reads())
	}
}
