package standard_test

import (
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// part is what codecs and filters have in common.
type part interface {
	ID() byte
	Name() string
}

// TestParts looks every part up by its id and by its name, and finds no other.
func TestParts(t *testing.T) {
	if p, err := socket.LookupProto("raw"); err != nil || p.New == nil || p.Recognise == nil {
		t.Errorf("protocol raw: got %+v, %v", p, err)
	}
	check := func(kind string, all int, want map[byte]string, byID func(byte) (part, error), byName func(string) (part, error)) {
		for id, name := range want {
			for _, look := range []func() (part, error){
				func() (part, error) { return byID(id) },
				func() (part, error) { return byName(name) },
			} {
				switch p, err := look(); {
				case err != nil:
					t.Errorf("%s %q %s: %v", kind, id, name, err)
				case p.ID() != id || p.Name() != name:
					t.Errorf("%s: got %q %s, want %q %s", kind, p.ID(), p.Name(), id, name)
				}
			}
		}
		if all != len(want) {
			t.Errorf("%d of kind %s, want %d", all, kind, len(want))
		}
	}
	check("codec", len(codec.All()), map[byte]string{'j': "json", 's': "plain", 'f': "form", 'x': "xml"},
		func(id byte) (part, error) { return codec.Get(id) },
		func(name string) (part, error) { return codec.GetByName(name) })
	check("filter", len(xfer.All()), map[byte]string{'g': "gzip", 'm': "md5"},
		func(id byte) (part, error) { return xfer.Get(id) },
		func(name string) (part, error) { return xfer.GetByName(name) })
}
