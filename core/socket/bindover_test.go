package socket_test

import (
	"testing"
	"unsafe"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// lender is a codec of strings that may be parts of the body.
type lender struct{}

func (lender) ID() byte                      { return 246 }
func (lender) Name() string                  { return "testlender" }
func (lender) Marshal(v any) ([]byte, error) { return []byte(*v.(*string)), nil }

func (l lender) Unmarshal(b []byte, v any) error {
	*v.(*string) = "copied " + string(b)
	return nil
}

func (l lender) Borrows(any) bool { return true }

func (l lender) Decode(b []byte, v any, mode codec.Mode) error {
	if mode&codec.Borrowed == 0 {
		return l.Unmarshal(b, v)
	}
	*v.(*string) = unsafe.String(unsafe.SliceData(b), len(b))
	return nil
}

func TestBindOver(t *testing.T) {
	codec.Replace(lender{})
	room := make([]byte, 0, 100)
	for _, test := range []struct {
		name   string
		body   string
		owned  bool
		kept   bool
		memory []byte // nil: none
		want   string
		inside bool // the value lies in memory
	}{
		{"no memory", "body", false, false, nil, "copied body", false},
		{"memory", "body", false, false, room, "body", true},
		{"the message owns its body", "body", true, false, room, "body", false},
		{"somebody keeps the body", "body", false, true, room, "body", true},
		{"somebody keeps what the message owns", "body", true, true, room, "body", true},
		{"empty", "", false, false, room, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var m socket.Envelope
			m.SetBodyCodec(lender{}.ID())
			raw := []byte(test.body)
			if err := m.UnmarshalBody(raw); err != nil {
				t.Fatal(err)
			}
			if test.owned {
				m.OwnBody()
			}
			if test.kept {
				raw = m.KeepBody()
			}
			var memory *[]byte
			if test.memory != nil {
				memory = &test.memory
			}
			v := "before"
			if id, err := m.BindOver(&v, memory, 0); id != (lender{}).ID() || err != nil {
				t.Fatal(id, err)
			}
			if !test.owned || test.kept {
				clear(raw) // the connection's again, or of who keeps it
			}
			if v != test.want {
				t.Errorf("got %q, want %q", v, test.want)
			}
			if inside := unsafe.StringData(v) == &room[:1][0]; inside != test.inside {
				t.Errorf("it lies in the memory: %v, want %v", inside, test.inside)
			}
		})
	}
}
