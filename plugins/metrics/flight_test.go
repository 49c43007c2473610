package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

type fakeSession struct {
	tp.Session
	_ int // an address of its own
}

type fakeCall struct {
	tp.WriteCtx
	sess *fakeSession
	out  tp.Message
}

func (c *fakeCall) Session() tp.CtxSession { return c.sess }
func (c *fakeCall) Output() tp.Message     { return c.out }

// held is how many calls and endings are remembered.
func (m *Metrics) held() (calls, endings int) {
	for i := range m.flights.shards {
		calls += len(m.flights.shards[i].m)
	}
	return calls, len(m.gone)
}

// A plugin that nobody scrapes does not remember calls and sessions for ever.
func TestNobodyScrapes(t *testing.T) {
	m, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var keep []any // nothing may get the address of another one
	for range 3 * maxGone {
		c := &fakeCall{sess: new(fakeSession), out: socket.NewMessage(tp.WithServiceMethod("/x"))}
		keep = append(keep, c)
		m.PreWriteCall(c)
		m.end(c.sess, false)
	}
	if calls, endings := m.held(); calls > maxGone+1 || endings > maxGone+1 {
		t.Errorf("%d calls and %d endings are remembered; want at most %d", calls, endings, maxGone+1)
	}
	m.settle()
	calls, endings := m.held()
	if got := testutil.ToFloat64(m.calls); got != 3*maxGone || calls != 0 || endings != 0 {
		t.Errorf("%v calls without a reply, %d calls and %d endings remembered; want %d, 0, 0", got, calls, endings, 3*maxGone)
	}
	_ = keep
}

// A call at the address of another one is not taken for it.
func TestSameAddress(t *testing.T) {
	m, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := m.in.rest
	for _, test := range []struct {
		name      string
		sess      uintptr
		seq       int32
		took      bool
		lost      float64
		putBefore bool
	}{
		{"itself", 1, 1, true, 0, false},
		{"another session", 2, 1, false, 1, false},
		{"another message", 1, 2, false, 2, false},
		{"put over it", 1, 1, true, 3, true},
	} {
		if test.putBefore {
			m.flights.put(64, flight{series: s, sess: 1, seq: 7})
		}
		m.flights.put(64, flight{series: s, sess: 1, seq: 1})
		_, took := m.flights.take(64, test.sess, test.seq)
		if _, again := m.flights.take(64, 1, 1); again {
			t.Errorf("%s: the call is still there", test.name)
		}
		if lost := testutil.ToFloat64(s.counter(codeNone)); took != test.took || lost != test.lost {
			t.Errorf("%s: took %t, %v counted as lost; want %t, %v", test.name, took, lost, test.took, test.lost)
		}
	}
}
