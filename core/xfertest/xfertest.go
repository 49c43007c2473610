// Package xfertest tests that a transfer filter does what the engine relies on.
//
// The test of a filter is one line:
//
//	func TestConformance(t *testing.T) { xfertest.Run(t, Filter{}) }
//
// Options change what is expected of a filter:
//
//	xfertest.Run(t, filter, xfertest.Compresses)
package xfertest

import (
	"slices"
	"testing"

	"github.com/teleport-go/teleport/core/internal/suite"
	"github.com/teleport-go/teleport/core/xfer"
)

// Option changes what is expected of a filter.
type Option int

const (
	// Compresses is for filters whose output can be much smaller than their input: the
	// filter has to be an xfer.Appender and to withstand a decompression bomb.
	Compresses Option = iota + 1
	// CutUnseen is for filters that cannot detect that their input was cut short. They
	// still must not panic.
	CutUnseen
)

// Run runs the checks, each as a subtest. f has to be registered.
func Run(t *testing.T, f xfer.XferFilter, options ...Option) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.make(f, options...); err != nil {
				t.Error(err)
			}
		})
	}
}

// subject is the filter under test.
type subject struct {
	xfer.XferFilter
	appender xfer.Appender // nil if the filter is not an Appender
	options  []Option
}

type check struct {
	name string
	run  func(subject) error
}

func (c check) make(f xfer.XferFilter, options ...Option) error {
	s := subject{XferFilter: f, options: options}
	s.appender, _ = f.(xfer.Appender)
	return suite.Safely(c.name, func() error { return c.run(s) })
}

func (s subject) is(o Option) bool { return slices.Contains(s.options, o) }
