package rawproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/tptest"
)

func TestSessions(t *testing.T) {
	for _, named := range [][]Dialect{nil, {V5}, {V7}} {
		t.Run(dialectTests.Named(named).String(), func(t *testing.T) { tptest.RunProto(t, NewRawProtoFunc(named...)) })
	}
}
