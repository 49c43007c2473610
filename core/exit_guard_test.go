package tp_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// errorLines is a Logger of lines at ERROR.
type errorLines struct {
	tp.Logger
	strings.Builder
}

func (l *errorLines) Errorf(format string, args ...any) { fmt.Fprintf(&l.Builder, format, args...) }

func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			name, want string
			f          func() error
			logged     bool
		}{
			{"no error", "<nil>", func() error { return nil }, false},
			{"an error", "own", func() error { return errors.New("own") }, false},
			{"a panic", "it panicked: boom", func() error { panic("boom") }, true},
			{"Goexit", "it has ended its goroutine (runtime.Goexit)", func() error { runtime.Goexit(); return nil }, true},
		} {
			time.Sleep(2 * time.Second) // of the bubble: the lines of a second are limited
			var log errorLines
			if err := tp.Guard(&log, "it", test.f); fmt.Sprint(err) != test.want {
				t.Errorf("%s: Guard = %v; want %s", test.name, err, test.want)
			}
			if got := log.String(); strings.Contains(got, test.want) != test.logged || strings.Contains(got, "exit_guard_test.go") != test.logged {
				t.Errorf("%s: logged %q; want the error and its stack: %v", test.name, got, test.logged)
			}
			if err := tp.Guard(nil, "it", test.f); fmt.Sprint(err) != test.want {
				t.Errorf("%s: Guard without a logger = %v; want %s", test.name, err, test.want)
			}
		}
	})
}

// The other side of a connection may cause as many panics as it likes, not as many lines.
func TestGuardLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(20 * time.Second)
		var log errorLines
		for range 100 {
			tp.Guard(&log, "it", func() error { panic("boom") })
		}
		if n := strings.Count(log.String(), "it panicked: boom"); n != 10 {
			t.Errorf("%d lines in a second; want 10", n)
		}
	})
}
