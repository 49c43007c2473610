package socket_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// What metadata takes in memory is a small multiple of what has arrived.
func TestReviewMetaOfManyPairsStaysSmall(t *testing.T) {
	for name, pair := range map[string]string{"shortest": "a&", "empty": "=&", "nothing": "&&", "usual": "key=value&"} {
		t.Run(name, func(t *testing.T) {
			text := strings.Repeat(pair, 1<<20)
			var m socket.Meta
			got := ^uint64(0)
			for range 3 { // the least: others allocate meanwhile
				m = socket.Meta{}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				m.Parse(text)
				runtime.ReadMemStats(&after)
				got = min(got, after.TotalAlloc-before.TotalAlloc)
			}
			if most := uint64(12 * len(text)); got > most {
				t.Errorf("%d bytes of metadata took %d bytes of memory; want at most %d", len(text), got, most)
			}
			if want := strings.Count(text, pair); m.Len() != want && pair != "&&" {
				t.Errorf("%d pairs; want %d", m.Len(), want)
			}
		})
	}
}
