package rawproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

func TestConformance(t *testing.T) {
	t.Run("default", func(t *testing.T) { run(t, Seed) })
	for _, d := range []Dialect{Seed, V5, V7} {
		t.Run(d.String(), func(t *testing.T) { run(t, d, d) })
	}
}

func run(t *testing.T, d Dialect, named ...Dialect) {
	opts := []prototest.Option{
		prototest.LostFrame("size below the header", []byte{0, 0, 0, 4, 0, 0, 0, 0}),
		prototest.LostFrame("size of nothing", make([]byte, 16)),
	}
	for name, payload := range map[string][]byte{
		"no fields":                     {},
		"seq text over the end":         {9, '1'},
		"seq text empty":                {0, 1, 0, 0, 0, 'j'},
		"seq text not in base 36":       {1, '/', 1, 0, 0, 0, 'j'},
		"seq beyond 32 bits":            {7, 'z', 'z', 'z', 'z', 'z', 'z', 'z', 1, 0, 0, 0, 'j'},
		"no type":                       {1, '1'},
		"method over the end":           {1, '1', 1, 200, '/'},
		"metadata over the end":         {1, '1', 1, 0, 0xff, 0xff, 'a'},
		"no codec":                      {1, '1', 1, 0, 0, 0},
		"length of the metadata is cut": {1, '1', 1, 0, 0},
	} {
		opts = append(opts, prototest.BadFrame(name, framed(d, nil, payload)))
	}
	opts = append(opts,
		prototest.BadFrame("unknown filter", framed(d, []byte{1}, []byte("\x011\x01\x00\x00\x00j"))),
		prototest.BadFrame("filter 0", framed(d, []byte{0}, []byte("\x011\x01\x00\x00\x00j"))),
		prototest.BadFrame("nine filters", framed(d, []byte("mmmmmmmmm"), []byte("\x011\x01\x00\x00\x00j"))))
	prototest.Run(t, NewRawProtoFunc(named...), opts...)
}

// framed puts the header of the dialect before the payload.
func framed(d Dialect, filters, payload []byte) []byte {
	b := []byte{0, 0, 0, 0}
	if d == Seed {
		b = append(b, version)
	}
	b = append(b, byte(len(filters)))
	b = append(append(b, filters...), payload...)
	b[3] = byte(len(b))
	return b
}

var _ socket.ProtoFunc = NewRawProtoFunc()
