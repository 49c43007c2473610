package resume

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRecords(t *testing.T) {
	for _, test := range []struct {
		name, in, data string
		news           news
		err            string
	}{
		{"nothing", "", "", news{}, ""},
		{"one", "\x00\x02hi", "hi", news{}, ""},
		{"two, and the end", "\x00\x02hi\x00\x01!\x80\x01", "hi!", news{end: true}, ""},
		{"acks", "\x80\x00\x00\x00\x00\x00\x00\x05\x80\x00\x00\x01\x00\x00\x00\x09", "", news{acked: true, position: 1<<32 | 9}, ""},
		{"an ack between", "\x00\x01a\x80\x00\x00\x00\x00\x00\x00\x05\x00\x01b", "ab", news{acked: true, position: 5}, ""},
		{"closed", "\x80\x01\x80\x02", "", news{end: true, bye: true}, ""},
		{"an ack behind the end", "\x80\x01\x80\x00\x00\x00\x00\x00\x00\x05", "", news{end: true, acked: true, position: 5}, ""},
		{"half a head", "\x00", "", news{}, ""},
		{"half a record", "\x00\x05hi", "hi", news{}, ""},
		{"half an ack", "\x80\x00\x00", "", news{}, ""},
		{"largest", "\x7f\xff" + string(bytes.Repeat([]byte{7}, 0x7fff)), string(bytes.Repeat([]byte{7}, 0x7fff)), news{}, ""},
		{"no bytes", "\x00\x00", "", news{}, "a record begins with 0x0000, which means nothing"},
		{"unknown", "\x80\x03", "", news{}, "a record begins with 0x8003, which means nothing"},
		{"text", "GET /", "", news{}, ""}, // 0x4745 bytes follow; the preamble finds it before
		{"bytes behind the end", "\x80\x01\x00\x01a", "", news{end: true}, "the other side sends bytes after its end"},
		{"two ends", "\x80\x01\x80\x01", "", news{end: true}, "the other side ends the stream twice"},
		{"closed before the end", "\x80\x02", "", news{}, "the other side closes the stream before it ends it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{len(test.in) + 1, 1, 3} {
				data, w, err := feedAll([]byte(test.in), size)
				if test.err != "" {
					require.EqualError(t, err, test.err)
				} else {
					require.NoError(t, err)
					if test.name != "text" {
						require.Equal(t, test.data, string(data))
					}
				}
				require.Equal(t, test.news, w)
			}
		})
	}
}

// feedAll feeds b in pieces of so many bytes.
func feedAll(b []byte, size int) (data []byte, all news, err error) {
	var r records
	for b = bytes.Clone(b); len(b) > 0; {
		piece := b[:min(size, len(b))]
		b = b[len(piece):]
		n, w, err := r.feed(piece)
		data = append(data, piece[:n]...)
		if w.acked {
			all.acked, all.position = true, w.position
		}
		all.end, all.bye = all.end || w.end, all.bye || w.bye
		if err != nil {
			return data, all, err
		}
	}
	return data, all, nil
}

// FuzzRecords checks that records mean the same whatever the pieces in which they arrive.
func FuzzRecords(f *testing.F) {
	for _, s := range []string{"", "\x00\x02hi\x80\x00\x00\x00\x00\x00\x00\x05\x80\x01\x80\x02", "\x80\x03", "\x00\x00", "\x80\x01\x00\x01a"} {
		f.Add([]byte(s), 1)
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size < 1 || size > 1<<10 {
			return
		}
		data, w, err := feedAll(b, len(b)+1)
		again, w2, err2 := feedAll(b, size)
		require.Equal(t, data, again)
		require.Equal(t, w, w2)
		require.Equal(t, err == nil, err2 == nil)
		if err != nil {
			require.Equal(t, err.Error(), err2.Error())
		}
		require.LessOrEqual(t, len(data), len(b))
	})
}

// FuzzPreamble checks that a preamble that can be parsed is the one that is sent again.
func FuzzPreamble(f *testing.F) {
	f.Add(preamble{}.append(nil))
	f.Add(preamble{newToken(), 1 << 40, positionMask}.append(nil))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: example.com"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePreamble(b)
		if err != nil {
			require.ErrorIs(t, err, errNoPreamble)
			return
		}
		require.Equal(t, b, p.append(nil))
		require.LessOrEqual(t, p.sent, uint64(positionMask))
		require.LessOrEqual(t, p.received, uint64(positionMask))
	})
}

// FuzzSent compares the ring with a plain slice.
func FuzzSent(f *testing.F) {
	f.Add([]byte("\x05\x83\x10\x02\xff\x30\x81\x40\x09\xff\xff\x84"))
	f.Fuzz(func(t *testing.T, steps []byte) {
		s := sent{max: 3000}
		var all []byte
		for i, step := range steps {
			switch {
			case step < 0x80: // append
				p := bytes.Repeat([]byte{byte(i)}, 1+10*int(step))
				if len(p) > s.room() {
					continue
				}
				s.append(p)
				all = append(all, p...)
			case step < 0xc0: // drop
				s.drop(s.acked + (s.end-s.acked)*uint64(step-0x80)/0x40)
			case step < 0xe0:
				s.lend(s.acked)
			case step < 0xf0:
				s.release()
			default:
				s.shrink()
			}
			require.EqualValues(t, len(all), s.end)
			require.LessOrEqual(t, s.base, s.acked)
			require.LessOrEqual(t, len(s.ring), s.max)
			for p := s.base; p < s.end; {
				b := s.part(p)
				require.Equal(t, all[p:p+uint64(len(b))], b)
				p += uint64(len(b))
			}
		}
	})
}
