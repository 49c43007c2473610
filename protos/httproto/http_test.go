package httproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

func TestConformance(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		t.Run(d.String(), func(t *testing.T) {
			prototest.Run(t, NewHTTProtoFunc(d),
				prototest.Without(prototest.Pipe, prototest.Push, prototest.ReplyMethod, prototest.AnyMethod, prototest.AnyMeta),
				prototest.Base(socket.WithBodyCodec(codec.JSON)))
		})
	}
}

func TestSessions(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		t.Run(d.String(), func(t *testing.T) {
			tptest.RunProto(t, NewHTTProtoFunc(d),
				tptest.Without(prototest.Pipe, prototest.Push, prototest.AnyMeta))
		})
	}
}
