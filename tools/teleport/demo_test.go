package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// asCommand makes the test program the command itself, for the processes that the
// tests start, and those that these start.
const asCommand = "TELEPORT_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

func TestDemo(t *testing.T) {
	out, err := command(t, "demo", "--duration", "200ms", "--callers", "4", "--sessions", "30").CombinedOutput()
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	for _, want := range []string{
		`server \| pid \d+ listens on tcp 127\.0\.0\.1:\d+`,
		`Call /math/add\?author=henrylee2cn \[1 2 3 4 5\] -> 15 in `,
		`got a push of the server at /push/status: "henrylee2cn has added 5 numbers"`,
		`Call /demo/greet -> "hello client with pid \d+"`,
		`no such method: .* -> 404 Not Found`,
		`does not fit: .* -> 400 Bad Message: .*json`,
		`handler panics: .* -> 500 Internal Server Error: .*divide by zero`,
		`deadline of 50ms: .* -> 408 Handle Timeout: .*deadline`,
		`cut 3: 127\.0\.0\.1:\d+ reset; redialled after .* from 127\.0\.0\.1:\d+`,
		`0 connections were closed, 0 calls failed; the longest call of a session took .*`,
		`\n  restart      30 sessions moved to a new process, none closed, no call failed`,
		`\n  throughput   [1-9]\d* calls/s`,
		`\n  latency      p50 [1-9].*, p99 [1-9]`,
		`\n  allocations  \d+\.\d a call in the client, \d+\.\d in the server\n`,
		`\nNext: .*README\.md`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the demo does not print %q", want)
		}
	}
	// Each caller has at most one call under way when the connection is cut.
	if m := regexp.MustCompile(`(\d+) were under way at a cut`).FindSubmatch(out); m == nil {
		t.Error("the demo does not print how many calls were under way at a cut")
	} else if n, _ := strconv.Atoi(string(m[1])); n > cuts*cutCallers {
		t.Errorf("%d calls were lost at %d cuts with %d callers, want at most %d", n, cuts, cutCallers, cuts*cutCallers)
	}
	if t.Failed() {
		t.Logf("the demo printed:\n%s", out)
	}
}

func TestDemoRefusesNonsense(t *testing.T) {
	for _, args := range [][]string{{"--callers", "0"}, {"--duration", "-1s"}, {"--duration", "soon"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			out, err := command(t, append([]string{"demo"}, args...)...).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !bytes.Contains(out, []byte(args[0])) {
				t.Errorf("demo %s: %v, %q; want a failure that names the flag", args, err, out)
			}
		})
	}
}

func TestDemoInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // no signal to send
	}
	cmd := command(t, "demo", "--duration", "1m")
	out := &watched{look: "calls/s", seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-out.seen:
	case <-time.After(30 * time.Second):
		t.Error("the benchmark does not begin")
	}
	cmd.Process.Signal(os.Interrupt)
	err := cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 130 {
		t.Errorf("exit code %d, %v; want 130\n%s", got, err, out.all.String())
	}
}

// watched keeps what is written, and closes seen when look is in it.
type watched struct {
	look string
	seen chan struct{}
	all  bytes.Buffer
	done bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.all.Write(p)
	if !w.done && strings.Contains(w.all.String(), w.look) {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

func TestServerThatCannotStart(t *testing.T) {
	d := &demo{out: new(bytes.Buffer)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.startServer(ctx); err == nil {
		t.Error("startServer = nil, want an error: the context has ended")
	}
}

func TestLatenciesAreRounded(t *testing.T) {
	for _, test := range []struct{ in, want time.Duration }{
		{999 * time.Nanosecond, 999 * time.Nanosecond},
		{1234567 * time.Nanosecond, 1230 * time.Microsecond},
		{12345 * time.Microsecond, 12300 * time.Microsecond},
		{5123 * time.Millisecond, 5120 * time.Millisecond},
	} {
		if got := round(test.in); got != test.want {
			t.Errorf("round(%v) = %v, want %v", test.in, got, test.want)
		}
	}
}
