package contract

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBundle(t *testing.T) {
	b := AppendBundled(nil, "/a", []byte("xyz"))
	require.Equal(t, "\x02/a\x00\x00\x00\x03xyz", string(b))
	require.Len(t, b, BundledSize("/a", []byte("xyz")))
	b = AppendBundled(b, "/b", nil)
	route, item, rest, err := CutBundled(b)
	require.NoError(t, err)
	require.Equal(t, "/a xyz", string(route)+" "+string(item))
	route, item, rest, err = CutBundled(rest)
	require.NoError(t, err)
	require.Equal(t, "/b ", string(route)+" "+string(item))
	require.Empty(t, rest)
	for n := range len(b) {
		if _, _, rest, err = CutBundled(b[:n]); err == nil {
			_, _, _, err = CutBundled(rest)
		}
		require.ErrorIs(t, err, errBundleCut, "%d bytes", n)
	}

	at := 0
	b = append(BeginResult(nil), "xyz"...)
	EndResult(b, at)
	require.Equal(t, "\x00\x00\x00\x03xyz", string(b))
	b = AppendUnanswered(b)
	result, rest, answered, err := CutResult(b)
	require.NoError(t, err)
	require.True(t, answered)
	require.Equal(t, "xyz", string(result))
	_, rest, answered, err = CutResult(rest)
	require.NoError(t, err)
	require.False(t, answered)
	require.Empty(t, rest)
	for _, bad := range []string{"", "\x00\x00\x00", "\x00\x00\x00\x01", "\xff\xff\xff\xfe"} {
		_, _, _, err = CutResult([]byte(bad))
		require.ErrorIs(t, err, errBundleCut, "%q", bad)
	}
}

func FuzzCutBundled(f *testing.F) {
	f.Add([]byte("\x02/a\x00\x00\x00\x03xyz\x00\x00\x00\x00\x00"))
	f.Add([]byte("\xff/a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		rest := b
		for len(rest) > 0 {
			route, item, more, err := CutBundled(rest)
			if err != nil {
				return
			}
			again, rest = AppendBundled(again, string(route), item), more
		}
		require.True(t, bytes.Equal(b, again))
	})
}

func FuzzCutResult(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03xyz\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		rest := b
		for len(rest) > 0 {
			result, more, answered, err := CutResult(rest)
			if err != nil {
				return
			}
			if rest = more; !answered {
				again = AppendUnanswered(again)
				continue
			}
			at := len(again)
			again = append(BeginResult(again), result...)
			EndResult(again, at)
		}
		require.True(t, bytes.Equal(b, again))
	})
}
