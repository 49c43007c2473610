package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// The tables have the rates, their ratios to the best peer, and why a row has none.
func TestOtherTables(t *testing.T) {
	measured := func(table, candidate, config string, calls int64, p99 time.Duration) window {
		return window{Table: table, Candidate: candidate, Config: config,
			Load:   harness.Load{Calls: calls, Elapsed: time.Second, P50: p99 / 2, P99: p99, Bulk: 250e6, Usage: harness.Usage{CPU: time.Second}},
			Server: harness.Usage{CPU: time.Second, Allocs: 2000}}
	}
	lost := window{Table: tableStreams, Candidate: "arpc", Config: "t8", Error: "the server has received\n8 messages of 9"}
	d := &document{
		Candidates: []described{{Name: "teleport-typed"}, {Name: "grpc"}, {Name: "arpc"}},
		Windows: []window{
			measured(tableStreams, "teleport-typed", "t8", 500e3, 0), measured(tableStreams, "grpc", "t8", 250e3, 0), lost,
			measured(tableStreams, "teleport-typed", "p1", 20e3, 30*time.Microsecond),
			measured(tableBulk, "grpc", "a1", 10e3, time.Millisecond), measured(tableBulk, "grpc", "l1", 2e3, 3*time.Millisecond),
			measured(tableBroadcast, "arpc", "g1000", 20, 0),
		},
	}
	d.classify()
	var b strings.Builder
	require.NoError(t, d.report(&b))
	var rows []string
	for line := range strings.Lines(b.String()) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{
		"| teleport-typed | – | – | 500k | 2.00 | 20.0k | – | 15 µs | 30 µs |",
		"| grpc | – | – | 250k | 1.00 | – | – | – | – |",
		"| arpc | – | – | failed | – | – | – | – | – |",
		"The best peers: t8 grpc.",
		"| teleport-typed | 2.00 | 2.00 | 0.0 | 0.0 | 0 | 0 | 0.0 | 0.0 |",
		"**t8 arpc: the server has received; 8 messages of 9**",
		"| grpc | 10.0k | 500 µs | 1 ms | 2.00k | 1.5 ms | 3 ms | 3.00 | 250 |",
		"## Broadcast to 1000 sessions",
		"| arpc | 20 | 20.0k | 1.00 | 50.00 | 50.00 | 100 | 0 |",
	} {
		require.Contains(t, rows, want)
	}
}

// Each candidate is planned where it has a configuration, and those of calls nowhere else.
func TestPlansOfOtherTables(t *testing.T) {
	list := []candidate{{name: "all", also: "tplg"}, {name: "calls"}, {name: "streams", noCalls: true, also: "tp"}}
	names := func(turns []turn) (text string) {
		for _, t := range turns {
			text += t.config.Name + " " + t.candidate.name + " "
		}
		return strings.TrimSpace(text)
	}
	for _, test := range []struct {
		name, got, want string
	}{
		{"calls", names(plan(list, []harness.Config{{Name: "a1"}}, 1)), "a1 all a1 calls"},
		{"streams", names(planStreams(list, 1)), "t1 all t1 streams t8 streams t8 all p1 all p1 streams"},
		{"bulk", names(planBulk(list, 1)), "a1 all l1 all"},
		{"broadcast", names(planBroadcast(list, 50, 1)), "g50 all"},
	} {
		require.Equal(t, test.want, test.got, test.name)
	}
}

// Before a peer's program is built, its line in the list tells the tables in which it has a row.
func TestLettersOfPeers(t *testing.T) {
	for _, p := range peers {
		require.Empty(t, strings.Trim(p.also, "tplg"), p.folder)
	}
	for name, letters := range map[string]string{"teleport-typed": "tpl", "teleport-push": "tpg", "floor": "tp", "teleport-seed": ""} {
		for _, letter := range "tplg" {
			require.Equal(t, strings.ContainsRune(letters, letter), mayHave(name, string(letter)), "%s %c", name, letter)
		}
	}
	require.True(t, mayHave("grpc", "t"))
	require.False(t, mayHave("grpc", "g"))
}
