package standard_test

import (
	"slices"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

func TestWhatIsThere(t *testing.T) {
	if _, err := socket.LookupProto("raw"); err != nil {
		t.Error(err)
	}
	var codecs, filters []string
	for _, c := range codec.All() {
		codecs = append(codecs, string(c.ID())+" "+c.Name())
	}
	for _, want := range []string{"j json", "s plain"} {
		if !slices.Contains(codecs, want) {
			t.Errorf("codecs %q, want %q among them", codecs, want)
		}
	}
	for _, f := range xfer.All() {
		filters = append(filters, string(f.ID())+" "+f.Name())
	}
	for _, want := range []string{"g gzip", "m md5"} {
		if !slices.Contains(filters, want) {
			t.Errorf("filters %q, want %q among them", filters, want)
		}
	}
}
