package benchmsg_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
)

func TestTally(t *testing.T) {
	var tally benchmsg.Tally
	next := func(change func(m *std.Message)) (int, bool) {
		m := benchmsg.New[std.Message]()
		change(m)
		answer, wanted := tally.Next(m)
		if !wanted {
			return 0, false
		}
		m.Int2 = answer
		n, err := benchmsg.Count(m)
		require.NoError(t, err)
		return n, true
	}
	plain, marked := func(*std.Message) {}, func(m *std.Message) { m.Int2 = benchmsg.Marked }
	for _, test := range []struct {
		name   string
		change func(m *std.Message)
		n      int
		wanted bool
	}{
		{"the first wants none", plain, 0, false},
		{"damaged", func(m *std.Message) { m.Text18 = "" }, 0, false},
		{"the answer counts both", marked, 2, true},
		{"the next counts itself", marked, 1, true},
	} {
		n, wanted := next(test.change)
		if n != test.n || wanted != test.wanted {
			t.Errorf("%s: %d, %v; want %d, %v", test.name, n, wanted, test.n, test.wanted)
		}
	}
	if _, err := benchmsg.Count(benchmsg.New[std.Message]()); err != nil {
		t.Errorf("an answer of no message: %v", err)
	}
	if _, err := benchmsg.Count(&std.Message{Int2: benchmsg.Answered}); err == nil {
		t.Error("a damaged answer has a count")
	}
}
