//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	for _, c := range []struct {
		name, lines string
		failed, ran int
		want        []string
	}{
		{"a reply", "begin 1,run 1,ok 1", 0, 0, nil},
		{"an error before the run", "begin 1,err 1 102 Connection Closed", 1, 0, nil},
		{"an error after the run", "run 1,begin 1,err 1 102 Connection Closed", 1, 1, nil},
		{"twice", "begin 1,run 1,run 1,ok 1", 0, 0, []string{"call 1 ran 2 times"}},
		{"twice and failed", "begin 1,run 1,run 1,err 1 102 Connection Closed", 1, 1, []string{"call 1 ran 2 times"}},
		{"a reply without a run", "begin 1,ok 1", 0, 0, []string{"call 1 has a reply and never ran"}},
		{"lost", "begin 1,run 1", 0, 0, []string{"call 1 has neither a reply nor an error"}},
		{"from nowhere", "run 1", 0, 0, []string{"call 1 ran and was never made"}},
		{"no code", "begin 1,run 1,err 1 0 the reply is that of call 2", 1, 1, []string{`call 1 failed with code 0, "the reply is that of call 2"`}},
		{"two ends", "begin 1,run 1,ok 1,err 1 102 Connection Closed", 0, 0, []string{`line "err 1 102 Connection Closed"`}},
		{"no line", "begin one", 0, 0, []string{`line "begin one"`}},
	} {
		h := newHistory()
		h.add("serves 7 127.0.0.1:1")
		for line := range strings.SplitSeq(c.lines, ",") {
			h.add(line)
		}
		got, wrong := h.check()
		if !slices.Equal(wrong, c.want) || got.failed != c.failed || got.ran != c.ran {
			t.Errorf("%s: %d failed, %d of them ran, wrong: %q; want %d, %d, %q", c.name, got.failed, got.ran, wrong, c.failed, c.ran, c.want)
		}
		if h.servers != 1 || h.pid != 7 || h.addr != "127.0.0.1:1" {
			t.Errorf("%s: server %d is process %d at %q", c.name, h.servers, h.pid, h.addr)
		}
	}
}

func TestTable(t *testing.T) {
	at := attack{proto: rawProto, what: "half frames", sends: "{10|100} connections"}
	other := at
	other.proto, other.busy = httpProto, true
	r := round{long: true, budget: budget{memory: 256 << 20, factor: 1.5, canary: 20 * time.Millisecond}}
	r.attacks = []result{
		{attack: at, peak: 10 << 20, canary: sample{P99: 3 * time.Millisecond, Max: 4 * time.Millisecond}, end: "served"},
		{attack: other, peak: 20 << 20, canary: sample{P99: 2 * time.Millisecond, Max: 5 * time.Second}, end: "2 × a | b 127.0.0.1:99", broken: []string{"x"}},
	}
	r.faults = []faultResult{{fault: fault{proto: rawProto, what: "cut", does: "the connection is reset"}, times: 10, totals: totals{calls: 400, failed: 8, ran: 7, errors: map[string]int{"102 Closed": 8}}}}
	got := r.table()
	for _, want := range []string{
		"| half frames | raw, http | 100 connections | 20 MiB | 3ms, 5s † | **1 over budget**; 2 × a \\| b … |\n",
		"| cut, 10 × | raw | the connection is reset | 400 | 8 | 7 | 102 Closed |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the table does not have %q:\n%s", want, got)
		}
	}
}

func TestPutTable(t *testing.T) {
	got, err := putTable([]byte("a\n"+tableBegin+"\nold\n"+tableEnd+"\nb\n"), "new\n")
	if want := "a\n" + tableBegin + "\nnew\n" + tableEnd + "\nb\n"; err != nil || string(got) != want {
		t.Errorf("putTable = %q, %v; want %q", got, err, want)
	}
	if _, err := putTable([]byte("a\n"+tableEnd+tableBegin), ""); err == nil {
		t.Error("no error without marks")
	}
}

func TestTail(t *testing.T) {
	var l tail
	l.Write([]byte(strings.Repeat("a", tailPart)))
	l.Write([]byte(strings.Repeat("b", tailPart)))
	l.Write([]byte("c"))
	if got, want := l.String(), strings.Repeat("a", tailPart)+strings.Repeat("b", tailPart-1)+"c"; got != want {
		t.Errorf("the tail has %d bytes that end with %q; want the first and the last %d", len(got), got[len(got)-3:], tailPart)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int]string{5: "5 bytes", 1 << 10: "1 KiB", 15 << 20: "15 MiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q; want %q", n, got, want)
		}
	}
}
