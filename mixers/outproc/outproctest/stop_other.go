//go:build !unix

package outproctest

import "testing"

func (s *suite) stopped(*testing.T) {}
