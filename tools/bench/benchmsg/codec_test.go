package benchmsg_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/teleport-go/teleport/codecs/pbcodec"
	"github.com/teleport-go/teleport/core/codectest"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
)

// ways are the codecs of the candidates.
var ways = []struct {
	name   string
	codec  pbcodec.Codec
	m      proto.Message
	fresh  func() proto.Message
	allocs float64 // of decoding
}{
	{"std", pbcodec.Codec{}, benchmsg.New[std.Message](), func() proto.Message { return new(std.Message) }, 8},
	{"vt", pbcodec.Codec{}, benchmsg.New[vt.Message](), func() proto.Message { return new(vt.Message) }, 8},
	{"aliased", pbcodec.Codec{Alias: true}, benchmsg.New[vt.Message](), func() proto.Message { return new(vt.Message) }, 1},
}

func TestCodec(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			buf := make([]byte, 0, benchmsg.Size)
			data, err := way.codec.Append(buf, way.m)
			if err != nil || way.codec.Size(way.m) != benchmsg.Size || &data[0] != &buf[:1][0] {
				t.Fatalf("Append = %d bytes, %v, not in the room given; Size = %d", len(data), err, way.codec.Size(way.m))
			}
			codectest.Allocs(t, "Append", 0, func() { way.codec.Append(buf, way.m) })
			into := way.fresh()
			codectest.Allocs(t, "Unmarshal", way.allocs, func() { way.codec.Unmarshal(data, into) })
			clear(data)
			if !proto.Equal(into, way.m) {
				t.Errorf("decoded %v\nwant    %v", into, way.m)
			}
		})
	}
}

func BenchmarkCodec(b *testing.B) {
	for _, way := range ways {
		data, err := way.codec.Marshal(way.m)
		if err != nil {
			b.Fatal(err)
		}
		buf, into := make([]byte, 0, 4096), way.fresh()
		b.Run("size/"+way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				way.codec.Size(way.m)
			}
		})
		b.Run("append/"+way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := way.codec.Append(buf, way.m); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("unmarshal/"+way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := way.codec.Unmarshal(data, into); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
