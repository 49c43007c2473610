package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseConfig(t *testing.T) {
	for _, test := range []struct {
		name string
		want Config
		err  string
	}{
		{"a100", Config{"a100", 1, 100}, ""},
		{"b5000", Config{"b5000", 5000, 5000}, ""},
		{"c1000", Config{"c1000", 8, 1000}, ""},
		{"s7", Config{"s7", 7, 7}, ""},
		{"t8", Config{"t8", 1, 8}, ""},
		{"p1", Config{"p1", 1, 1}, ""},
		{"l2", Config{"l2", 1, 2}, ""},
		{"g1000", Config{"g1000", 1000, 1}, ""},
		{"", Config{}, "want a letter and a number"},
		{"a", Config{}, "want a letter and a number"},
		{"a0", Config{}, "want a number of 1 to"},
		{"a100001", Config{}, "want a number of 1 to"},
		{"ax", Config{}, "want a number of 1 to"},
		{"d1", Config{}, "the letter is"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseConfig(test.name)
			if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("ParseConfig(%q) = %+v, %v; want %+v, %q", test.name, got, err, test.want, test.err)
			}
		})
	}
}

// Connections are made a few at a time, each with a call; the error names the first
// one that cannot be made.
func TestConnect(t *testing.T) {
	const n = 200
	var dialled, called, now, most atomic.Int64
	dial := func() (func() error, error) {
		defer now.Add(-1)
		for v := now.Add(1); v > most.Load(); {
			most.Store(v)
		}
		dialled.Add(1)
		return func() error { called.Add(1); return nil }, nil
	}
	for _, test := range []struct {
		name  string
		call  bool
		calls int64
	}{{"called", true, n}, {"uncalled", false, 0}} {
		t.Run(test.name, func(t *testing.T) {
			dialled.Store(0)
			called.Store(0)
			calls, err := Connect(dial, n, test.call)
			if err != nil || len(calls) != n || dialled.Load() != n || called.Load() != test.calls {
				t.Errorf("%d of %d connections, %d calls, %v; want %d calls", len(calls), dialled.Load(), called.Load(), err, test.calls)
			}
			if most.Load() > dialers {
				t.Errorf("%d at a time, want at most %d", most.Load(), dialers)
			}
		})
	}
	refused := errors.New("refused")
	_, err := Connect(func() (func() error, error) { return nil, refused }, 3, true)
	if !errors.Is(err, refused) || !strings.Contains(err.Error(), "connection 1 of 3") {
		t.Errorf("Connect: %v", err)
	}
}

func TestTooManyFiles(t *testing.T) {
	err := allowFiles(1 << 40)
	if err == nil || !strings.Contains(err.Error(), "connections need") || !strings.Contains(err.Error(), "ulimit") {
		t.Errorf("allowFiles: %v", err)
	}
}

func TestDrive(t *testing.T) {
	var n atomic.Int64
	slow := func() error { n.Add(1); time.Sleep(time.Millisecond); return nil }
	l, err := drive(share([]func() error{slow, slow}, 4), 30*time.Millisecond)
	require.NoError(t, err)
	if l.Calls != n.Load() || l.Calls < 4 || l.Elapsed < 30*time.Millisecond {
		t.Errorf("%d calls in %v, %d were made", l.Calls, l.Elapsed, n.Load())
	}
	if !(time.Millisecond-time.Millisecond/10 <= l.Min && l.Min <= l.P50 && l.P50 <= l.P99 && l.P99 <= l.P999 && l.P999 <= l.Max) {
		t.Errorf("times %+v are out of order", l)
	}

	broken := errors.New("broken")
	_, err = drive(share([]func() error{slow, func() error { return broken }}, 4), 30*time.Millisecond)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "2 of 4 callers") {
		t.Errorf("drive: %v", err)
	}
}

func TestServe(t *testing.T) {
	var out bytes.Buffer
	c := &child{
		candidates: []Candidate{{
			Name: "x", Note: "why", Serve: func() (string, error) { return "here", nil },
			Dial: func(string) (func() error, error) { return nil, errors.New("not dialled in this test") },
		}},
		in:  bufio.NewScanner(strings.NewReader("usage\ngc\n")),
		out: &out,
	}
	require.NoError(t, c.run([]string{"serve", "-peer", "x", "-conns", "10"}))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || lines[0] != Mark+`"here"` {
		t.Fatalf("output %q; want the address, and usage twice", lines)
	}
	for _, line := range lines[1:] {
		var u Usage
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, Mark)), &u); err != nil || u.Allocs == 0 {
			t.Errorf("usage %q: %v", line, err)
		}
	}

	out.Reset()
	if err := c.run([]string{"list"}); err != nil || out.String() != Mark+`{"Name":"x","Note":"why","Sized":false}`+"\n" {
		t.Errorf("list: %q, %v", out.String(), err)
	}
}

// A caller calls at least once, however late it gets to run.
func TestLateCaller(t *testing.T) {
	var stop atomic.Bool
	stop.Store(true)
	n, times, err := callUntil(&stop, func() error { return nil })
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.Len(t, times, 1)
}

// A busy child reports that it has started, and ends with its standard input.
func TestBusy(t *testing.T) {
	in, end := io.Pipe()
	out, begun := io.Pipe()
	c := &child{in: bufio.NewScanner(in), out: begun}
	done := make(chan error)
	go func() { done <- c.run([]string{"busy", "-peer", "busy"}) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != Mark+"true\n" {
		t.Errorf("read %q, %v; want that it has begun", line, err)
	}
	for was := used().CPU; used().CPU < was+20*time.Millisecond; {
		select {
		case err := <-done:
			t.Fatalf("ended by itself: %v", err)
		default:
		}
	}
	end.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWrongArguments(t *testing.T) {
	dial := func(string) (func() error, error) { return nil, errors.New("not dialled in this test") }
	c := &child{candidates: []Candidate{{Name: "x", Dial: dial}, {Name: "y"}}, in: bufio.NewScanner(strings.NewReader("")), out: io.Discard}
	for _, test := range []struct{ name, args, want string }{
		{"none", "", "want serve, load, list or busy"},
		{"unknown", "dance", `"dance" is not known`},
		{"unknown candidate", "serve -peer z", "there are: x y"},
		{"unknown configuration", "load -peer x -config q1", "the letter is a, b, c, s, t, p, l or g"},
		{"no calls", "load -peer y -config a1", "y has no calls"},
		{"no streams", "load -peer x -config t8", "x has no streams"},
		{"not sized", "load -peer x -config a1 -size 5", "x has no bodies of a given size"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := c.run(strings.Fields(test.args)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q: %v, want %q", test.args, err, test.want)
			}
		})
	}
}
