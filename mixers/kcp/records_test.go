package kcp

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// readRecords returns the bytes of the records in the pieces, and the other heads.
func readRecords(pieces ...[]byte) (data []byte, heads []uint16, err error) {
	var r recordReader
	for _, b := range pieces {
		for {
			head, d, rest, ok, err := r.next(b)
			if err != nil {
				return data, heads, err
			}
			if !ok {
				break
			}
			if d == nil {
				heads = append(heads, head)
			}
			data, b = append(data, d...), rest
		}
	}
	return data, heads, nil
}

// each returns the bytes one by one.
func each(b []byte) (pieces [][]byte) {
	for i := range b {
		pieces = append(pieces, b[i:i+1])
	}
	return pieces
}

func TestRecords(t *testing.T) {
	for _, test := range []struct {
		name, in string
		data     string
		heads    []uint16
		err      string
	}{
		{"nothing", "", "", nil, ""},
		{"one", "\x00\x02hi", "hi", nil, ""},
		{"two, and the end", "\x00\x02hi\x00\x01!\x00\x00", "hi!", []uint16{recordEnd}, ""},
		{"alive", "\x80\x00\x00\x01a\x80\x01", "a", []uint16{recordAlive, recordReadAll}, ""},
		{"half a head", "\x00", "", nil, ""},
		{"half a record", "\x00\x05hi", "hi", nil, ""},
		{"unknown", "\x80\x02", "", nil, "kcp: a record begins with 0x8002, which means nothing"},
		{"text", "\xffGET /", "", nil, "kcp: a record begins with 0xff47, which means nothing"},
		{"largest", "\x7f\xff" + string(bytes.Repeat([]byte{7}, 0x7fff)), string(bytes.Repeat([]byte{7}, 0x7fff)), nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, pieces := range [][][]byte{{[]byte(test.in)}, each([]byte(test.in))} {
				data, heads, err := readRecords(pieces...)
				if test.err != "" {
					require.EqualError(t, err, test.err)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, test.data, string(data))
				require.Equal(t, test.heads, heads)
			}
		})
	}
}

// Records mean the same, however the stream is cut.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("\x00\x02hi\x80\x00\x00\x00\x80\x01"), 3)
	f.Add(appendRecord(nil, bytes.Repeat([]byte("x"), 300)), 1)
	f.Add([]byte("\x80\x02"), 0)
	f.Add([]byte{0x7f, 0xff, 1}, 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		data, heads, err := readRecords(b)
		cut = max(0, min(cut, len(b)))
		for _, pieces := range [][][]byte{{b[:cut], b[cut:]}, each(b)} {
			d, h, e := readRecords(pieces...)
			require.Equal(t, err, e)
			require.Equal(t, string(data), string(d))
			require.Equal(t, heads, h)
		}
		if len(data)+headSize*len(heads) > len(b) {
			t.Fatalf("%d bytes and %d heads of %d bytes", len(data), len(heads), len(b))
		}
		if len(data) == 0 || len(data) > recordSize {
			return
		}
		again, _, err := readRecords(appendRecord(nil, data))
		require.NoError(t, err)
		require.Equal(t, string(data), string(again))
	})
}
