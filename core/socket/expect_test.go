package socket_test

import (
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

func TestExpect(t *testing.T) {
	testwire.Register()
	var m socket.Envelope
	m.SetBodyCodec(testwire.JSON)
	if err := m.UnmarshalBody([]byte(`"first"`)); err != nil {
		t.Fatal(err)
	}
	v, other := "zero", "zero"
	m.Expect(&v)
	if m.Body() != any(&v) || m.Replaced() || !strings.Contains(m.String(), "first") {
		t.Errorf("body %v, replaced %v, in %s; want the value, and the encoded body shown", m.Body(), m.Replaced(), m.String())
	}
	if err := m.UnmarshalBody([]byte(`"second"`)); err != nil || v != "zero" || string(m.RawBody()) != `"second"` {
		t.Errorf("UnmarshalBody = %v, the value is %q, the raw body %s; want nothing decoded yet", err, v, m.RawBody())
	}
	m.SetBody(&other)
	if !m.Replaced() || m.Expected() != any(&other) || m.Replaced() {
		t.Errorf("replaced %v by %v; want the other value, once", m.Replaced(), m.Body())
	}
	if err := m.UnmarshalBody([]byte(`"third"`)); err != nil || v != "zero" || other != "third" {
		t.Errorf("then UnmarshalBody = %v, and the values are %q and %q", err, v, other)
	}
	m.Expect(&v)
	m.SetBody(&other)
	m.Clear()
	if err := m.UnmarshalBody([]byte("x")); m.Replaced() || m.Body() != nil || err != nil {
		t.Errorf("a cleared message expects %v still", m.Body())
	}
}
