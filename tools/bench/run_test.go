package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWholeRun(t *testing.T) {
	dir := t.TempDir()
	o, err := parseOptions([]string{"-peers", "floor,teleport-typed,teleport-slow,teleport-push", "-configs", "a1,b2", "-rounds", "1", "-window", "20ms", "-busy", "1",
		"-idle", "10", "-sizes", "-slow", "-streams", "-bulk", "-broadcast", "20", "-json", filepath.Join(dir, "all.json"), "-out", filepath.Join(dir, "out"), "-profile", filepath.Join(dir, "profile")}, io.Discard)
	require.NoError(t, err)
	o.sizes = []int{64, 1 << 16}
	var lines bytes.Buffer
	require.NoError(t, measureAll(t.Context(), o, io.Discard, &progress{w: &lines}))
	b, err := os.ReadFile(filepath.Join(dir, "all.json"))
	require.NoError(t, err)
	var d document
	require.NoError(t, json.Unmarshal(b, &d))
	tables := map[string]int{}
	for _, w := range d.Windows {
		tables[w.Table]++
		if w.Error != "" || w.Load.Calls == 0 || w.Load.P50 <= 0 || w.Load.P50 > w.Load.Max || w.Load.Min > w.Load.P50 || w.Server.CPU < 0 || w.Phase.Name == "" {
			t.Errorf("window %+v", w)
		}
	}
	if tables[tableCalls] != 4 || tables[tableSlow] != 2 || tables[tableStreams] != 9 || tables[tableBulk] != 2 || tables[tableBroadcast] != 1 || tables[tableSizes] < 4 {
		t.Errorf("windows of tables: %v", tables)
	}
	if len(d.Idle) != 4 || d.Idle[0].Error != "" || d.Idle[0].Connecting <= 0 {
		t.Errorf("idle sessions: %+v", d.Idle)
	}
	if d.Machine.Go == "" || d.Machine.CPUs == 0 || len(d.Candidates) != 4 || d.Candidates[0].Note == "" {
		t.Errorf("machine %+v, candidates %+v", d.Machine, d.Candidates)
	}
	folder := filepath.Join(dir, "out", thisMachine().slug()+"-busy-1")
	report, err := os.ReadFile(filepath.Join(folder, "report.md"))
	require.NoError(t, err)
	for _, want := range []string{"## Calls per second ÷ floor", "## a1: one connection, 1 caller", "## Idle sessions", "## Message sizes, a8", "## Slow handlers", "## Streams", "## Calls beside a bulk stream", "## Broadcast to 20 sessions", "Busy processes beside the measurement: 1 a CPU.", "teleport-typed"} {
		if !strings.Contains(string(report), want) {
			t.Errorf("the report does not have %q:\n%s", want, report)
		}
	}
	for _, name := range []string{"throughput.svg", "p99.svg"} {
		wellFormed(t, filepath.Join(folder, name))
	}
	for _, name := range []string{"floor-a1-server.cpu", "floor-a1-client.cpu", "teleport-typed-b2-server.alloc", "teleport-typed-b2-client.alloc", "teleport-push-t8-server.cpu"} {
		compressed(t, filepath.Join(dir, "profile", name+".pprof"))
	}
	if got := strings.Count(lines.String(), " left\n"); got != len(d.Windows) {
		t.Errorf("%d lines of progress for %d windows:\n%s", got, len(d.Windows), lines.String())
	}
}

func wellFormed(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for d := xml.NewDecoder(f); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("%s: %v", file, err)
			return
		}
	}
}

// compressed checks that a file is gzip with contents, as a profile is.
func compressed(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Errorf("%s: %v", file, err)
		return
	}
	if n, err := io.Copy(io.Discard, r); n == 0 || err != nil {
		t.Errorf("%s: %d bytes, %v", file, n, err)
	}
}

// A candidate that cannot be measured is reported, and does not stop the others.
func TestFailuresAreRows(t *testing.T) {
	o, err := parseOptions([]string{"-peers", "floor", "-configs", "a1", "-rounds", "1", "-window", "20ms"}, io.Discard)
	require.NoError(t, err)
	o.idle, o.sizes, o.slow = 0, nil, false
	o.list = append(o.list, candidate{name: "unbuilt", err: errors.New("unbuilt does not build: line 1\nline 2")},
		candidate{name: "no-program", program: filepath.Join(t.TempDir(), "none"), timeout: time.Second})
	var out, lines bytes.Buffer
	require.NoError(t, measureAll(t.Context(), o, &out, &progress{w: &lines}))
	for _, want := range []string{"**unbuilt has no program:** unbuilt does not build: line 1\n", "no-program", "| floor "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not have %q:\n%s", want, out.String())
		}
	}
}

func TestInterruptedRunWritesWhatItHas(t *testing.T) {
	o, err := parseOptions([]string{"-peers", "floor", "-configs", "a1", "-idle", "5"}, io.Discard)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := measureAll(ctx, o, &out, &progress{w: io.Discard}); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("error %v, want interrupted", err)
	}
	if !strings.Contains(out.String(), "5 windows were left out") {
		t.Errorf("report:\n%s", out.String())
	}
}
