package guest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/codecs/cborcodec"
	"github.com/teleport-go/teleport/xfers/md5"
)

// plain is a filter that is no Appender, and adds a byte.
type plain struct{}

func (plain) ID() byte     { return 240 }
func (plain) Name() string { return "plain" }
func (plain) OnPack(b []byte) ([]byte, error) {
	return append([]byte{'+'}, b...), nil
}
func (plain) OnUnpack(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != '+' {
		return nil, errors.New("no plus: " + strings.Repeat("x", 3000))
	}
	return b[1:], nil
}

// typed is a codec for values of one type.
type typed struct{ cborcodec.Codec }

func (typed) Name() string { return "typed" }
func (typed) Marshal(v any) ([]byte, error) {
	if _, ok := v.(typed); !ok {
		return nil, errors.New("not a typed")
	}
	return nil, nil
}
func (t typed) Append(dst []byte, v any) ([]byte, error) { return t.Marshal(v) }

func TestNewServer(t *testing.T) {
	for _, test := range []struct {
		parts []any
		want  string
	}{
		{nil, "guest.Serve: no parts: give it filters and codecs"},
		{[]any{typed{}}, "guest.Serve: codec typed needs to know the types of the values, which JSON does not have (not a typed): import its package in the host"},
		{[]any{md5.Filter{}, 3}, "guest.Serve: part 1 is a int: a part is an xfer.XferFilter or a codec.Codec"},
	} {
		_, err := newServer(test.parts)
		require.EqualError(t, err, test.want)
	}
	s, err := newServer([]any{md5.Filter{}, cborcodec.Codec{}})
	require.NoError(t, err)
	status, out := s.describe()
	require.Equal(t, statusOK, status)
	require.Equal(t, `{"parts":[{"kind":"filter","id":109,"name":"md5"},{"kind":"codec","id":99,"name":"cbor"}]}`, string(out))
	require.PanicsWithValue(t, "guest.Serve: no parts: give it filters and codecs", func() { Serve() })
	require.Panics(t, func() { Serve(md5.Filter{}) }, "this is no guest")
}

func TestItems(t *testing.T) {
	s, err := newServer([]any{md5.Filter{}, plain{}, cborcodec.Codec{}})
	require.NoError(t, err)
	in := s.alloc(3)
	copy(in, "abc")
	for part, size := range map[uint32]int{0: 19, 1: 4} {
		status, packed := s.do(pack, part, in, 100)
		require.Equal(t, statusOK, status)
		require.Len(t, packed, size)
		copied := append([]byte(nil), packed...)
		status, out := s.do(unpack, part, copied, 3)
		require.Equal(t, statusOK, status)
		require.Equal(t, "abc", string(out))
		status, _ = s.do(unpack, part, copied, 2)
		require.Equal(t, statusTooLarge, status)
		status, out = s.do(unpack, part, []byte("damaged, of more than sixteen bytes"), 100)
		require.Equal(t, statusRefused, status)
		require.LessOrEqual(t, len(out), mostMessage)
		status, _ = s.do(encode, part, []byte("1"), 100)
		require.Equal(t, statusRefused, status)
	}
	for name, op := range map[string]func(part, []byte, []byte, int) ([]byte, error){"pack": pack, "unpack": unpack} {
		status, out := s.do(op, 2, in, 100)
		require.Equal(t, statusRefused, status, name)
		require.Equal(t, "it is no filter", string(out))
	}
	status, out := s.do(pack, 3, in, 100)
	require.Equal(t, statusRefused, status)
	require.Equal(t, "there is no part 3", string(out))
	status, out = s.do(encode, 2, []byte(`{"a":1}`), 100)
	require.Equal(t, statusOK, status)
	require.Equal(t, "\xa1\x61a\x01", string(out))
	status, out = s.do(decode, 2, append([]byte(nil), out...), 100)
	require.Equal(t, statusOK, status)
	require.Equal(t, `{"a":1}`, string(out))
}

// A large output is not kept.
func TestOutputBuffer(t *testing.T) {
	s, err := newServer([]any{md5.Filter{}})
	require.NoError(t, err)
	s.do(pack, 0, make([]byte, 2*keptOutput), 1<<30)
	require.Greater(t, cap(s.out), keptOutput)
	s.do(pack, 0, nil, 1<<30)
	require.LessOrEqual(t, cap(s.out), keptOutput)
}

// Whatever the host sends, a guest neither panics nor returns what is over the limit, and
// what a codec decodes it can encode again.
func FuzzItems(f *testing.F) {
	f.Add(uint32(2), []byte(`{"a":[1,2.5,"x",null,18446744073709551615]}`), 100)
	f.Add(uint32(2), []byte("\xa1\x61a\x01"), 100)
	f.Add(uint32(0), []byte("no sum"), 2)
	f.Add(uint32(1), []byte("+"), 0)
	s, err := newServer([]any{md5.Filter{}, plain{}, cborcodec.Codec{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, n uint32, in []byte, max int) {
		for _, op := range []func(part, []byte, []byte, int) ([]byte, error){pack, unpack, encode, decode} {
			if status, out := s.do(op, n, in, max); status == statusOK && len(out) > max {
				t.Errorf("%d bytes, the limit is %d", len(out), max)
			}
		}
		if status, text := s.do(decode, 2, in, 1<<20); status == statusOK {
			text := append([]byte(nil), text...)
			if !json.Valid(text) {
				t.Errorf("decode made %q", text)
			}
			if status, out := s.do(encode, 2, text, 1<<20); status == statusRefused {
				t.Errorf("encode(%q): %s", text, out)
			}
		}
	})
}
