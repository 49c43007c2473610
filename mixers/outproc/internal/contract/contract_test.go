package contract

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoutes(t *testing.T) {
	require.Equal(t, "/xfer/109/pack", FilterRoute("pack", 109))
	require.Equal(t, "/xfer/122+109/unpack", FilterRoute("unpack", 122, 109))
	require.Equal(t, "/codec/99/marshal", CodecRoute("marshal", 99))
	require.Equal(t, "1|1|unix|/x|tp", Handshake("unix", "/x"))
}

// A description is refused for its size before it is decoded, which takes many times the
// memory of the text.
func TestLargeDescription(t *testing.T) {
	text := `{"contract":1,"name":"n","parts":[{"kind":"filter","id":1,"name":"a"}]}`
	_, err := ParseDescription([]byte(text + strings.Repeat(" ", MaxDescription-len(text))))
	require.NoError(t, err)
	_, err = ParseDescription([]byte(text + strings.Repeat(" ", MaxDescription-len(text)+1)))
	require.ErrorContains(t, err, "1048577 bytes, at most 1048576 are allowed")
}

func FuzzParseDescription(f *testing.F) {
	f.Add([]byte(`{"contract":1,"name":"n","parts":[{"kind":"filter","id":1,"name":"a"},{"kind":"codec","id":1,"name":"a","options":{"a":1}}]}`))
	f.Add([]byte(`{"contract":1,"name":"n","parts":[{"kind":"filter","id":300,"name":"a"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDescription(b)
		if err == nil {
			require.NotEmpty(t, d.Name)
			require.LessOrEqual(t, len(d.Parts), MaxParts)
		}
	})
}
