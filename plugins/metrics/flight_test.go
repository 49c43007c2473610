package metrics

import (
	"testing"
	"time"

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
	s := m.in.Rest()
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

// fakeServed is a call that is served, or the reply to one that was made.
type fakeServed struct {
	tp.ReadCtx
	fakeCall
	in tp.Message
}

func (c *fakeServed) Peer() tp.Peer          { return nil }
func (c *fakeServed) Session() tp.CtxSession { return c.sess }
func (c *fakeServed) Input() tp.Message      { return c.in }
func (c *fakeServed) Path() string           { return "/x" }
func (c *fakeServed) Rerror() *tp.Rerror     { return nil }

// A call whose time is over is counted once, whatever comes later; one that was
// made here is not remembered, since no reply to it can come.
func TestOverTime(t *testing.T) {
	m, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := &fakeServed{fakeCall: fakeCall{sess: new(fakeSession), out: socket.NewMessage()}, in: socket.NewMessage()}
	late := flight{start: 1, until: 2, sess: address(c.sess)}
	m.base = m.base.Add(-time.Hour)
	late.series = m.in.Rest()
	m.flights.put(address(c.in), late)
	late.series = m.out.Rest()
	m.flights.put(address(c.out), late)
	for range 2 {
		m.settle()
	}
	if calls, _ := m.held(); calls != 1 {
		t.Errorf("%d calls are remembered; want the one served", calls)
	}
	m.PostWriteReply(c)
	in, out := m.in.Rest(), m.out.Rest()
	if ok, none := testutil.ToFloat64(in.counter(codeOK)), testutil.ToFloat64(in.counter(codeNone)); ok != 0 || none != 1 {
		t.Errorf("in: %v calls, %v without a reply; want 0, 1", ok, none)
	}
	if none := testutil.ToFloat64(out.counter(codeNone)); none != 1 {
		t.Errorf("out: %v calls without a reply; want 1", none)
	}
}
