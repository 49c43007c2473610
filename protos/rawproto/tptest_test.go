package rawproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/tptest"
)

func TestSessions(t *testing.T) {
	tptest.RunProto(t, NewRawProtoFunc())
	for _, d := range []Dialect{Seed, V5, V7} {
		t.Run(d.String(), func(t *testing.T) { tptest.RunProto(t, NewRawProtoFunc(d)) })
	}
}
