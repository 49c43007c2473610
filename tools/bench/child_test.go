package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// playChild is the environment variable that makes the test program a child.
const playChild = "BENCH_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(playChild) {
	case "":
		if len(os.Args) > 1 && slices.Contains(harness.Commands, os.Args[1]) {
			harness.Main(own()...)
		}
		os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // each child would sleep a second
		os.Exit(m.Run())
	case "good":
		harness.Main(harness.Candidate{Name: "x", Serve: func() (string, error) {
			fmt.Println("some log")
			return "here", nil
		}})
	case "refuses":
		fmt.Fprintln(os.Stderr, "starting")
		harness.Main(harness.Candidate{Name: "x", Serve: func() (string, error) { return "", fmt.Errorf("no port") }})
	case "panics":
		fmt.Fprintln(os.Stderr, "starting")
		panic("at once")
	case "hangs":
		select {}
	case "leaves":
		os.Exit(0)
	}
}

func TestChild(t *testing.T) {
	for _, test := range []struct{ name, addr, err string }{
		{"good", "here", ""},
		{"refuses", "", "x, serve: exit status 1: no port"},
		{"panics", "", "x, serve: exit status 2: panic: at once"},
		{"hangs", "", "x, serve: no answer for 500ms, and was killed"},
		{"leaves", "", "x, serve: ended without an answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(playChild, test.name)
			c := candidate{name: "x", program: os.Args[0]}
			if test.name == "hangs" {
				c.timeout = 500 * time.Millisecond
			}
			ch, err := c.start("serve")
			require.NoError(t, err)
			var addr string
			err = ch.receive(&addr, 0)
			if addr != test.addr || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
				t.Errorf("received %q, %v; want %q, %q", addr, err, test.addr, test.err)
			}
			if err == nil {
				if u, err := ch.usage("gc"); err != nil || u.CPU == 0 || u.Allocs == 0 {
					t.Errorf("usage %+v, %v", u, err)
				}
			}
			for range 2 { // the second one has nothing left to do
				if err := ch.end(); err != nil {
					t.Errorf("end: %v", err)
				}
			}
			if ch.cmd.ProcessState == nil {
				t.Error("it still runs")
			}
		})
	}
}

// A child that does not end is killed, which is an error.
func TestChildThatStays(t *testing.T) {
	t.Setenv(playChild, "hangs")
	ch, err := candidate{name: "x", program: os.Args[0], timeout: 200 * time.Millisecond}.start("serve")
	require.NoError(t, err)
	if err := ch.end(); err == nil || !strings.Contains(err.Error(), "did not end, and was killed") {
		t.Errorf("end: %v", err)
	}
}

func TestCandidateWithoutProgram(t *testing.T) {
	want := fmt.Errorf("x does not build: why")
	if _, err := (candidate{name: "x", err: want}).start("serve"); err != want {
		t.Errorf("start: %v, want %v", err, want)
	}
}

func TestChildLog(t *testing.T) {
	long := strings.Repeat("a line of a log\n", 4*logLimit/16)
	for _, test := range []struct{ name, log, want string }{
		{"silent", "", ""},
		{"one line", "why", "why"},
		{"last line", "first\nwhy\n\n", "why"},
		{"panic", "first\npanic: why\n\ngoroutine 1 [running]:\nmain.main()\n", "panic: why"},
		{"fatal", "fatal error: why\ngoroutine 1\n", "fatal error: why"},
		{"panic before a long trace", "panic: why\n" + long, "panic: why"},
		{"after a long log", long + "why\n", "why"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l childLog
			for rest := test.log; rest != ""; { // in pieces
				n := min(len(rest), 1000)
				l.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			if got := l.reason(); got != test.want {
				t.Errorf("reason %q, want %q", got, test.want)
			}
			if len(l.begin) > logLimit || len(l.tail) > logLimit {
				t.Errorf("keeps %d and %d bytes", len(l.begin), len(l.tail))
			}
		})
	}
}
