// Package xfertest asks of a transfer filter what the engine relies on.
//
// A filter proves it in one line of its tests:
//
//	func TestConformance(t *testing.T) { xfertest.Run(t, Filter{}) }
//
// What is special about a filter is said behind:
//
//	xfertest.Run(t, filter, xfertest.Compresses)
package xfertest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/teleport-go/teleport/core/xfer"
)

// Option says what is special about a filter.
type Option int

const (
	// Compresses says that the packed bytes can be far fewer than the bytes: the
	// filter has to be an xfer.Appender and to withstand a decompression bomb.
	Compresses Option = iota + 1
	// CutUnseen says that the filter can not know that its input was cut short. It
	// still must not panic.
	CutUnseen
)

// Run asks everything of f, each question a subtest. f must be registered.
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

// subject is what a check is made on.
type subject struct {
	xfer.XferFilter
	appender xfer.Appender // nil if the filter is none
	options  []Option
}

type check struct {
	name string
	run  func(subject) error
}

func (c check) make(f xfer.XferFilter, options ...Option) error {
	s := subject{XferFilter: f, options: options}
	s.appender, _ = f.(xfer.Appender)
	return safely(c.name, func() error { return c.run(s) })
}

func (s subject) is(o Option) bool { return slices.Contains(s.options, o) }

// safely turns a panic into an error.
func safely(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: panic: %v", what, r)
		}
	}()
	return f()
}
