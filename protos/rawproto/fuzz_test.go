package rawproto

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// sizeOf returns the length of the frame that begins with b.
func sizeOf(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return int(binary.BigEndian.Uint32(b))
}

func FuzzUnpack(f *testing.F) {
	dialectTests.FuzzUnpack(f, sizeOf, []byte("\xff\xff\xff\xffr\x00"), []byte("\x15\x03\x03\x00\x02\x02\x0a"))
}

func FuzzRoundTrip(f *testing.F) {
	// The dialect is not known where V5's metadata reads like V7's status, or is out of
	// all proportion.
	dialectTests.FuzzRoundTrip(f, func(d Dialect, m socket.Message) bool {
		meta := m.Meta().String()
		return d != Seed && (strings.HasPrefix(meta, "code=") || len(meta) > 255)
	})
}

// FuzzFiveOrSeven settles the dialect of any payload: by the rule, and without a panic.
func FuzzFiveOrSeven(f *testing.F) {
	for _, g := range dialectTests.GoldenFiles(f) {
		if g.Dialect != Seed {
			f.Add(g.Frame[5:])
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var got, five, seven framing.Fields
		d, err := fiveOrSeven(payload, &got)
		err5, err7 := parse(&five, payload, V5), parse(&seven, payload, V7)
		switch d {
		case V7:
			if err != nil || err7 != nil || !framing.IsReply(seven.Mtype) && string(seven.Status) != framing.StatusOK {
				t.Errorf("taken for v7: %v, %v, status %q", err, err7, seven.Status)
			}
		case V5:
			if (err == nil) != (err5 == nil) {
				t.Errorf("taken for v5: %v, %v", err, err5)
			}
			if err7 == nil && string(seven.Status) == framing.StatusOK && len(seven.Meta) == 0 {
				t.Errorf("taken for v5, and is what v7 writes: %q", payload)
			}
		default:
			t.Errorf("taken for %v", d)
		}
	})
}
