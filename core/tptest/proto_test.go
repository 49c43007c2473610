package tptest

import (
	"testing"

	"github.com/teleport-go/teleport/core/internal/testwire"
)

func TestRunProto(t *testing.T)      { RunProto(t, testwire.New) }
func TestRunProtoPlain(t *testing.T) { RunProto(t, testwire.NewPlain) }
