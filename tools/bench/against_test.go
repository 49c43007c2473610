package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// repository makes one with a program that prints a text: "old" in the first
// commit, "new" in the second, "uncommitted" in the work tree.
func repository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write := func(text string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Join(root, "program"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, "program", "main.go"), []byte("package main\n\nfunc main() { print(\""+text+"\") }\n"), 0o644))
	}
	git := func(args ...string) { t.Helper(); gitOutput(t, root, args...) }
	git("init", "--quiet")
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte("module example.org/x\n\ngo 1.25\n"), 0o644))
	for _, text := range []string{"old", "new"} {
		write(text)
		git("add", "--all")
		git("-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--message", text)
	}
	git("rm", "--quiet", "--cached", "go.mod") // a change of the index, to be kept
	write("uncommitted")
	return root
}

func gitOutput(t *testing.T, root string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %q: %s", args, out)
	return string(out)
}

func TestBothSidesAreBuilt(t *testing.T) {
	root, dir := repository(t), t.TempDir()
	status := func() string {
		return gitOutput(t, root, "status", "--porcelain") + gitOutput(t, root, "worktree", "list")
	}
	was := status()
	for revision, want := range map[string]string{"HEAD": "new", "HEAD~1": "old"} {
		b, err := buildBoth(t.Context(), root, "program", revision, dir, 2)
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(gitOutput(t, root, "rev-parse", revision)), b.commit)
		for want, programs := range map[string][]string{want: b.before, "uncommitted": b.after} {
			require.Len(t, programs, 2)
			for _, program := range programs {
				out, err := exec.Command(program).CombinedOutput()
				require.NoError(t, err)
				require.Equal(t, want, string(out), "%s of %s", filepath.Base(program), revision)
			}
		}
		require.Equal(t, was, status(), "the repository has changed")
		require.NoDirExists(t, filepath.Join(dir, "tree"))
	}
}

// The same source gives the same bytes on both sides, and others in each layout.
func TestSameSourceIsTheSameProgram(t *testing.T) {
	root, dir := repository(t), t.TempDir()
	gitOutput(t, root, "checkout", "--quiet", "--", ".")
	b, err := buildBoth(t.Context(), root, "program", "HEAD", dir, 3)
	require.NoError(t, err)
	known := map[string]bool{}
	for i := range 3 {
		old, err := os.ReadFile(b.before[i])
		require.NoError(t, err)
		now, err := os.ReadFile(b.after[i])
		require.NoError(t, err)
		require.True(t, bytes.Equal(old, now), "the programs differ")
		require.False(t, known[string(old)], "layout %d is that of another round", i)
		known[string(old)] = true
	}
}

func TestWhatCannotBeBuilt(t *testing.T) {
	root := repository(t)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name          string
		ctx           context.Context
		pkg, revision string
		want          string
	}{
		{"no such revision", t.Context(), "program", "nothing", `revision "nothing" is not a commit`},
		{"an option", t.Context(), "program", "--all", `revision "--all" is not a commit`},
		{"no such program", t.Context(), "missing", "HEAD", "missing"},
		{"interrupted", canceled, "program", "HEAD", "context canceled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := buildBoth(test.ctx, root, test.pkg, test.revision, dir, 2)
			require.ErrorContains(t, err, test.want)
			require.NoDirExists(t, filepath.Join(dir, "tree"))
		})
	}
}

// The windows of a pair follow each other, the side that is first alternates, and both have
// the layout of the round.
func TestPairsAlternate(t *testing.T) {
	b := &builds{before: []string{"old 0", "old 1", "old 2"}, after: []string{"new 0", "new 1", "new 2"}}
	var cfgs []harness.Config
	for _, name := range []string{"a1", "b100"} {
		cfg, err := harness.ParseConfig(name)
		require.NoError(t, err)
		cfgs = append(cfgs, cfg)
	}
	turns := b.pairs(plan([]candidate{{name: "teleport-seed"}, {name: "teleport-typed"}}, cfgs, 4))
	require.Len(t, turns, 4*2*2*2)
	first := map[cellKey]string{}
	for i := 0; i < len(turns); i += 2 {
		one, two := turns[i], turns[i+1]
		layout := fmt.Sprint(one.round % 3)
		require.ElementsMatch(t, []string{"old " + layout, "new " + layout}, []string{one.candidate.program, two.candidate.program})
		require.NotEqual(t, one.candidate.side, two.candidate.side)
		one.candidate, two.candidate = candidate{name: one.candidate.name}, candidate{name: two.candidate.name}
		require.Equal(t, one, two, "a pair differs in more than the side")
		k := cellKey{candidate: one.candidate.name, config: one.config.Name}
		require.NotEqual(t, first[k], turns[i].candidate.side, "%v begins with the same side twice in a row", k)
		first[k] = turns[i].candidate.side
	}
	var none *builds
	require.Equal(t, turns, none.pairs(turns))
}

// comparison has a row whose ratios are 0.9, 1 and 1.2, and one that has failed.
func comparison() *document {
	d := &document{Against: "0123456789abcdef", Machine: machine{CPU: "AMD EPYC"}}
	add := func(candidate, side string, round int, rate int64, err string) {
		d.Windows = append(d.Windows, window{Table: tableCalls, Candidate: candidate, Side: side, Config: "a1", Round: round, Error: err,
			Load: harness.Load{Calls: rate, Elapsed: time.Second}})
	}
	for round, rate := range []int64{90, 200, 360} {
		add("teleport-seed", before, round, int64(100*(round+1)), "")
		add("teleport-seed", after, round, rate, "")
	}
	d.Candidates = []described{{Name: "teleport-seed"}, {Name: "teleport-typed"}}
	add("teleport-typed", before, 0, 0, "it has failed")
	add("teleport-typed", after, 0, 100, "")
	d.Idle = []idle{{Candidate: "teleport-typed", Side: before, Sessions: 10, RSS: 3700}, {Candidate: "teleport-typed", Side: after, Sessions: 10, RSS: 4000}}
	d.classify()
	return d
}

func TestCompare(t *testing.T) {
	var out strings.Builder
	err := comparison().compare(&out, 1.01)
	require.EqualError(t, err, "a1 teleport-seed is at 1.000, below 1.01; "+
		"a1 teleport-typed has no figure (before: it has failed; after: 100 calls/s); "+
		"10 idle teleport-typed is at 0.925, below 1.01")
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"work tree ÷ 0123456789ab (AMD EPYC)",
		"| a1 teleport-seed | 200 | 200 | 1.000 | 0.900 | 1.200 | – | 0.0 | 0.0 | below |",
		"| a1 teleport-typed | – | 100 | – | – | – | – | 0.0 | 0.0 | no figure |",
		"| 10 idle teleport-typed | 3.61 | 3.91 | 0.925 | below |",
	} {
		require.Contains(t, text, want)
	}

	d := comparison()
	d.Windows = d.Windows[:6]
	require.NoError(t, d.compare(io.Discard, 0.925))
}

// A whole comparison of this program with itself, whose exit depends on -floor alone.
func TestWholeComparison(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for _, floor := range []float64{0, math.Inf(1)} {
		o, err := parseOptions([]string{"-against", "HEAD", "-peers", "teleport-seed,teleport-bytes", "-configs", "a1", "-rounds", "1", "-window", "20ms",
			"-busy", "1", "-json", filepath.Join(t.TempDir(), "all.json")}, io.Discard)
		require.NoError(t, err)
		o.floor, o.builds = floor, &builds{commit: "0123456789abcdef", before: []string{self}, after: []string{self}}
		var out bytes.Buffer
		err = measureAll(t.Context(), o, &out, &progress{w: io.Discard})
		if floor == 0 {
			require.NoError(t, err, out.String())
		} else {
			require.ErrorContains(t, err, "a1 teleport-seed is at")
		}
		for _, name := range []string{"teleport-seed", "teleport-bytes"} {
			require.Contains(t, out.String(), "| a1 "+name)
		}
		require.Contains(t, out.String(), "Busy processes beside the measurement: 1 a CPU.")
	}
}

func TestWrongComparison(t *testing.T) {
	for args, want := range map[string]string{
		"-against HEAD -peers arpc":  `candidate "arpc" is no part`,
		"-against HEAD -out results": "-out",
		"-against HEAD -floor -1":    "-floor: want a ratio of 0 to 10",
		"-peers floor -slow":         "nothing to measure",
		"-floor 0.9":                 "-floor is for a comparison",
		"-busy 101":                  "-busy: want a number of 0 to 100",
	} {
		_, err := parseOptions(strings.Fields(args), io.Discard)
		require.ErrorContains(t, err, want, args)
	}
	o, err := parseOptions([]string{"-peers", "floor", "-configs", "s1"}, io.Discard)
	require.NoError(t, err)
	require.ErrorContains(t, measureAll(t.Context(), o, io.Discard, &progress{w: io.Discard}), "nothing to measure")
}
