// Package quickstart has the two programs that the project was specified with.
package quickstart

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

var programs = []string{"server", "client"}

// The two imports that take the place of one.
const (
	oldImport  = "\ttp \"github.com/henrylee2cn/teleport\"\n"
	newImports = "\ttp \"github.com/teleport-go/teleport/core\"\n\t_ \"github.com/teleport-go/teleport/mixers/standard\"\n"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

func TestOnlyTheImportsDiffer(t *testing.T) {
	for _, name := range programs {
		t.Run(name, func(t *testing.T) {
			want := strings.Replace(read(t, "testdata/"+name+".txt"), oldImport, newImports, 1)
			if got := read(t, name+"/main.go"); got != want {
				t.Errorf("%s/main.go is not the text in testdata with other imports:\n%s", name, got)
			}
		})
	}
}

func TestUnchangedProgramsBuild(t *testing.T) {
	for _, name := range programs {
		t.Run(name, func(t *testing.T) { build(t, "./"+name) })
	}
}

func build(t *testing.T, what string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "program")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, what).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", what, err, out)
	}
	return program
}

// rewritten builds a copy of a program with other texts in it.
func rewritten(t *testing.T, name string, oldNew ...string) *exec.Cmd {
	t.Helper()
	text := read(t, name+"/main.go")
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			t.Fatalf("%s/main.go has no %q", name, oldNew[i])
		}
		text = strings.Replace(text, oldNew[i], oldNew[i+1], 1)
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), build(t, file))
}

// TestTalk runs the two programs, on a free port and in less time.
func TestTalk(t *testing.T) {
	server := rewritten(t, "server", "9090", "0", "time.Second * 5", "time.Millisecond * 20")
	stderr, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Process.Kill()
	var all strings.Builder
	log := bufio.NewReader(io.TeeReader(stderr, &all))
	port := waitForLine(t, log, `listen and serve \(network:tcp, addr:.*:(\d+)\)`)[1]

	client := rewritten(t, "client", ":9090", ":"+port, "time.Second * 10", "time.Second * 2")
	out, err := client.CombinedOutput()
	if err != nil {
		t.Errorf("client: %v", err)
	}
	for _, want := range []string{"result: 15", "wait for 10s...", "this is a broadcast, server time: "} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the client does not say %q:\n%s", want, out)
		}
	}
	waitForLine(t, log, `author: henrylee2cn`)
	waitForLine(t, log, `PUSH->.*this is a broadcast`)
	waitForLine(t, log, `connection over`) // else the signal may be noticed before

	if runtime.GOOS == "windows" {
		return // no signal to send
	}
	server.Process.Signal(os.Interrupt)
	rest, _ := io.ReadAll(log)
	if err := server.Wait(); err != nil {
		t.Errorf("server after an interrupt: %v, want an exit code 0\n%s", err, rest)
	}
	wantServerLines(t, all.String())
}

// wantServerLines compares the kinds of lines that the server has written, in order, but
// for that of the accepted session, whose reader runs beside it. The server sets no level,
// and PrintDetail, so all lines are there.
func wantServerLines(t *testing.T, log string) {
	t.Helper()
	stamp := `^\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{3}\] `
	accepted := regexp.MustCompile(stamp + `\[INFO\] accept ok \(network:tcp, addr:.*, id:.*\)`)
	accepts := 0
	patterns := []string{
		`\[PRIN\] The current process PID: \d+`,
		`\[DEBU\] register CALL handler: /math/add`,
		`\[PRIN\] listen and serve \(network:tcp, addr:.*\)`,
		`\[INFO\] author: henrylee2cn`,
		`\[INFO\] CALL<- addr=\S+ real=same cost=\S+ mark=\w+ method="/math/add\?author=henrylee2cn" recv.size=\d+ recv.body=\[1,2,3,4,5\] send.size=\d+ send.body=15`,
		`\[INFO\] PUSH-> addr=\S+ real=- cost=\S+ mark=\w+ method=/push/status send.size=\d+ send.body=".*this is a broadcast.*"`,
		`\[DEBU\] connection over \(network:tcp, .*`,
		`\[NOTI\] tp: got signal: interrupt`,
		`\[NOTI\] tp: shutting down`,
		`\[NOTI\] tp: process \d+ ends`,
	}
	for line := range strings.Lines(log) {
		switch {
		case len(patterns) > 0 && regexp.MustCompile(stamp+patterns[0]).MatchString(line):
			patterns = patterns[1:]
		case accepted.MatchString(line):
			accepts++
		case strings.Contains(line, "PUSH->"): // one more broadcast
		default:
			t.Fatalf("the server has written\n  %s; want\n  %s\nin\n%s", line, strings.Join(patterns, "\n  "), log)
		}
	}
	if len(patterns) > 0 {
		t.Errorf("no line of the server is like\n  %s\nin\n%s", strings.Join(patterns, "\n  "), log)
	}
	if accepts != 1 {
		t.Errorf("%d lines of the server are like\n  %v; want 1 in\n%s", accepts, accepted, log)
	}
}

// A server that cannot listen says so, though its main drops the error.
func TestServerWhosePortIsTaken(t *testing.T) {
	lis, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	_, port, _ := net.SplitHostPort(lis.Addr().String())
	server := rewritten(t, "server", "9090", port)
	out, err := server.CombinedOutput()
	if err != nil {
		t.Errorf("server: %v", err)
	}
	if !regexp.MustCompile(`\[ERRO\] tp: listen tcp .*` + port + `: address already in use`).Match(out) {
		t.Errorf("the server says\n%s; want an ERROR with the port", out)
	}
}

// waitForLine reads until a line matches, and returns the match.
func waitForLine(t *testing.T, r *bufio.Reader, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.Now().Add(time.Minute)
	var seen strings.Builder
	for time.Now().Before(deadline) {
		line, err := r.ReadString('\n')
		seen.WriteString(line)
		if m := re.FindStringSubmatch(line); m != nil {
			return m
		}
		if err != nil {
			t.Fatalf("no line like %q, but %v:\n%s", pattern, err, seen.String())
		}
	}
	t.Fatalf("no line like %q in a minute:\n%s", pattern, seen.String())
	return nil
}
