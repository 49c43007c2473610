package websocket

import (
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// subProtos are the sub-protocols that are tested, and what they cannot carry.
var subProtos = []struct {
	name    string
	pf      socket.ProtoFunc
	without []prototest.Feature
}{
	{"raw", rawproto.NewRawProtoFunc(), nil},
	{"JSON of v5 and v7", nil, nil},
	{"protobuf of v5 and v7", pbproto.NewUnframedProtoFunc(), nil},
	{"teleport.json", jsonproto.NewScriptProtoFunc(), []prototest.Feature{prototest.AnyMethod}},
}

func TestConformance(t *testing.T) {
	for _, sub := range subProtos {
		t.Run(sub.name, func(t *testing.T) {
			prototest.Run(t, NewWsProtoFunc(sub.pf), prototest.Sided(), prototest.Without(sub.without...))
		})
	}
}

func TestSessions(t *testing.T) {
	for _, sub := range subProtos {
		t.Run(sub.name, func(t *testing.T) {
			tptest.RunProto(t, NewWsProtoFunc(sub.pf), tptest.Without(sub.without...))
		})
	}
}
