package contract

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoutes(t *testing.T) {
	require.Equal(t, "/xfer/109/pack", FilterRoute("pack", 109))
	require.Equal(t, "/xfer/122+109/unpack", FilterRoute("unpack", 122, 109))
	require.Equal(t, "/codec/99/marshal", CodecRoute("marshal", 99))
	require.Equal(t, "1|1|unix|/x|tp", Handshake("unix", "/x"))
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
