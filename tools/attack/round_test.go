//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be started as a victim, a canary, or a side of a fault.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestShortRound plays the short round, in a program that is built without the race
// detector, which takes memory and time that the budgets do not have. The budget of memory
// is that of a round by hand, so ci/test.sh runs this test alone: beside others the garbage
// collector is behind. On a machine that is busy how soon the canary is answered says nothing.
func TestShortRound(t *testing.T) {
	program := filepath.Join(t.TempDir(), "attack")
	if out, err := exec.Command("go", "build", "-race=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), program, "-canary=20s", "-settle=60s").CombinedOutput()
	t.Logf("\n%s", out)
	if err != nil {
		t.Errorf("attack: %v", err)
	}
	for _, name := range shortRound {
		if !strings.Contains(string(out), " "+name+":") && !strings.Contains(string(out), " "+name+",") {
			t.Errorf("%s was not played", name)
		}
	}
}

func TestNames(t *testing.T) {
	names := map[string]int{}
	for _, at := range attacks() {
		names[at.name()]++
	}
	for _, f := range faults() {
		names[f.name()]++
	}
	for name, n := range names {
		if n > 1 {
			t.Errorf("%d attacks have the name %q", n, name)
		}
	}
	for _, name := range shortRound {
		if names[name] == 0 {
			t.Errorf("the short round has %q, which is none of the attacks", name)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // in the error
	}{
		{[]string{"-table=x", "-only=y"}, "-table needs a whole round"},
		{[]string{"-only=("}, "-only: error parsing regexp"},
		{[]string{"-only=no such attack"}, `no attack or fault matches "no such attack"`},
	} {
		if err := runRound(t.Context(), "", c.args, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v; want %q in it", c.args, err, c.want)
		}
	}
	var out bytes.Buffer
	if err := runRound(t.Context(), "", []string{"-list", "-long", "-only=raw: half"}, &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "raw: half-arrived frames: 100 connections × 60 MiB of a frame, its last byte missing\n"; got != want {
		t.Errorf("-list prints %q; want %q", got, want)
	}
}

// TestJudge breaks each budget.
func TestJudge(t *testing.T) {
	r := round{budget: budget{memory: 100 << 20, factor: 1.5, canary: 20 * time.Millisecond}}
	held := result{peak: 150 << 20, canary: sample{Calls: 100, P99: 20 * time.Millisecond, Max: time.Second}}
	for _, c := range []struct {
		name   string
		change func(*result)
		left   string
		want   []string
	}{
		{"all held", func(*result) {}, "", nil},
		{"memory", func(r *result) { r.peak = 151 << 20 }, "", []string{"memory 151 MiB, over 150 MiB"}},
		{"canary", func(r *result) { r.canary.P99 = 21 * time.Millisecond }, "", []string{"canary p99 21ms, over 20ms"}},
		{"canary of a busy attack", func(r *result) { r.canary.P99, r.busy = time.Second, true }, "", nil},
		{"canary failed", func(r *result) { r.canary.Failed, r.canary.Error, r.busy = 2, "gone", true }, "", []string{"2 calls of the canary failed: gone"}},
		{"goroutines", func(*result) {}, "20 goroutines more", []string{"20 goroutines more"}},
	} {
		res := held
		c.change(&res)
		if r.judge(&res, c.left); !slices.Equal(res.broken, c.want) {
			t.Errorf("%s: broken %q; want %q", c.name, res.broken, c.want)
		}
	}
}

// playOne plays an attack on a victim with the race detector.
func playOne(t *testing.T, at attack) result {
	t.Helper()
	r := round{program: os.Args[0], out: new(bytes.Buffer), budget: budget{memory: 256 << 20, factor: 100, canary: time.Minute, slack: 10, settle: 10 * time.Second}}
	res, err := r.attack(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestAttackHeld(t *testing.T) {
	res := playOne(t, probes(rawProto, "one", "", func() []probe {
		return []probe{{"half", []byte{0, 0}, waits}, {"length 2^32-1", []byte("\xff\xff\xff\xff\x72\x00\x00\x00"), ends}, {"good", rawProto.call(1, "/echo", rawProto.codec, rawProto.echo), lives}}
	}))
	if len(res.broken) > 0 || res.end != "2 connections ended, 1 served on" || res.canary.Calls == 0 || res.peak == 0 {
		t.Errorf("result %+v", res)
	}
}

// TestAttackBroken plays attacks that have to be found out.
func TestAttackBroken(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(*arena) error
		want string
	}{
		{"the victim dies", func(a *arena) error { return a.victim.cmd.Process.Kill() }, "the process of the victim has ended"},
		{"the canary's session ends", func(a *arena) error { return a.canary.cmd.Process.Kill() }, "the process of the canary has ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := playOne(t, attack{proto: rawProto, what: c.name, play: c.play})
			if len(res.broken) != 1 || !strings.Contains(res.broken[0], c.want) {
				t.Errorf("broken %q; want %q in it", res.broken, c.want)
			}
		})
	}
	res := playOne(t, probes(rawProto, "wrong", "", func() []probe {
		return []probe{{"noise", bytes.Repeat([]byte{0xff}, 100), lives}}
	}))
	if len(res.broken) != 1 || !strings.HasPrefix(res.broken[0], "noise: the call behind it: ") {
		t.Errorf("broken %q", res.broken)
	}
}

func TestGuard(t *testing.T) {
	c, err := start(os.Args[0], "victim")
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	g := guardMemory(c, 1)
	defer g.stop()
	var h hello
	for err == nil { // until it is killed
		err = c.ask(&h, "levels")
	}
	if g.killed.Load() <= 1 {
		t.Errorf("killed at %d bytes; the error is %v", g.killed.Load(), err)
	}
}

func TestFault(t *testing.T) {
	at := func(name string) fault {
		for _, f := range faults() {
			if f.name() == name {
				return f
			}
		}
		t.Fatalf("no fault %q", name)
		return fault{}
	}
	res, err := playFault(t.Context(), os.Args[0], at("raw: kill -9"), 1)
	if err != nil || len(res.broken) > 0 || res.totals.calls < 2*goodCalls {
		t.Errorf("kill -9: %+v, error %v", res, err)
	}

	f := at("raw: cut")
	f.free = true // which it is not: the calls that were under way fail
	res, err = playFault(t.Context(), os.Args[0], f, 1)
	if err != nil || len(res.broken) != 1 || !strings.Contains(res.broken[0], " calls failed, ") {
		t.Errorf("cut: broken %q, error %v", res.broken, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	f.do = func(*faultRound) error { cancel(); return ctx.Err() }
	if _, err := playFault(ctx, os.Args[0], f, 1); err != context.Canceled {
		t.Errorf("after an interrupt the error is %v", err)
	}
}

func TestRelay(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	r, err := newRelay(lis.Addr().String)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	near, err := net.Dial("tcp", r.lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	b := make([]byte, 3)
	near.Write([]byte("to"))
	if n, err := io.ReadFull(far, b[:2]); string(b[:n]) != "to" {
		t.Errorf("the server gets %q, error %v", b[:n], err)
	}
	far.Write([]byte("fro"))
	if n, err := io.ReadFull(near, b); string(b[:n]) != "fro" {
		t.Errorf("the client gets %q, error %v", b[:n], err)
	}
	r.cutAt.Store(3)
	near.Write([]byte("12345"))
	got, _ := awaitEnd(far, time.Minute)
	if len(got) > 3 {
		t.Errorf("the server gets %q of 12345; the connection was to end after 3 bytes", got)
	}
	if _, ended := awaitEnd(near, time.Minute); !ended {
		t.Error("the client's connection has not ended")
	}
}
