package outproctest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

var codecChecks = []check{
	{name: "round trip", run: codecRoundTrip},
	{name: "garbage", run: codecGarbage},
	{name: "concurrent", run: codecConcurrent},
}

func codecOf(t *testing.T, part contract.Part) codec.Codec {
	c, err := codec.Get(part.ID)
	require.NoError(t, err)
	require.Equal(t, part.Name, c.Name())
	return c
}

// value has what JSON has.
type value struct {
	Text   string            `json:"text"`
	Int    int64             `json:"int"`
	Uint   uint64            `json:"uint"`
	Float  float64           `json:"float"`
	Bool   bool              `json:"bool"`
	Bytes  []byte            `json:"bytes"`
	List   []int             `json:"list"`
	Map    map[string]string `json:"map"`
	Nested *value            `json:"nested,omitempty"`
	Any    any               `json:"any"`
}

func codecRoundTrip(t *testing.T, _ *outproc.Handle, part contract.Part) {
	c := codecOf(t, part)
	full := value{
		Text: "h\u00e9llo \"\\\n\U0001F600", Int: -1 << 63, Uint: 1<<64 - 1, Float: 1.25, Bool: true, Bytes: []byte{0, 1, 255},
		List: []int{1, 2, 3}, Map: map[string]string{"a": "b", "": ""}, Any: []any{"x", nil, true, map[string]any{"k": "v"}},
	}
	for name, want := range map[string]value{
		"zero":   {},
		"full":   full,
		"nested": {Nested: &full},
		"long":   {Text: strings.Repeat("long ", 200_000)},
	} {
		data, err := c.Marshal(want)
		require.NoError(t, err, name)
		var got value
		require.NoError(t, c.Unmarshal(data, &got), name)
		require.Equal(t, want, got, name)
	}
	for _, want := range []any{nil, "text", 1.5, true, []any{}, map[string]any{}} {
		data, err := c.Marshal(want)
		require.NoError(t, err, "%v", want)
		var got any
		require.NoError(t, c.Unmarshal(data, &got), "%v", want)
		require.Equal(t, want, got)
	}
}

// codecGarbage: bytes that are not of the codec's format do not end the guest.
func codecGarbage(t *testing.T, h *outproc.Handle, part contract.Part) {
	c := codecOf(t, part)
	data, err := c.Marshal(value{Text: "text", List: []int{1, 2, 3}})
	require.NoError(t, err)
	for n := range len(data) {
		var got any
		if err := c.Unmarshal(data[:n], &got); err != nil && !errors.Is(err, outproc.ErrRefused) {
			t.Errorf("Unmarshal of the first %d bytes of %x: %v; want one that the guest refuses with the code 422", n, data, err)
		}
	}
	require.Zero(t, h.Restarts())
}

func codecConcurrent(t *testing.T, h *outproc.Handle, part contract.Part) {
	c := codecOf(t, part)
	var wg sync.WaitGroup
	for caller := range 64 {
		wg.Go(func() {
			for n := range 20 {
				if err := codecTrip(c, value{Text: fmt.Sprint(caller), Int: int64(n)}); err != nil {
					t.Errorf("caller %d, item %d: %v", caller, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, h.Restarts())
}

func codecTrip(c codec.Codec, want value) error {
	data, err := c.Marshal(want)
	if err != nil {
		return err
	}
	var got value
	err = c.Unmarshal(data, &got)
	if err == nil && !reflect.DeepEqual(want, got) {
		err = errOther
	}
	return err
}
