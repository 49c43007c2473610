package prototest

import (
	"testing"

	"github.com/teleport-go/teleport/core/internal/testwire"
)

func TestConformance(t *testing.T)      { Run(t, testwire.New) }
func TestConformancePlain(t *testing.T) { Run(t, testwire.NewPlain) }
