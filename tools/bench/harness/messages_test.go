package harness

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"google.golang.org/protobuf/proto"

	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
)

// lane is one direction of a stream in memory. Its functions are those of a library: they
// copy, and receive returns io.EOF when the lane is closed.
type lane[T any] struct {
	c    chan T
	copy func(T) T
}

func (l lane[T]) send(v T) error { l.c <- l.copy(v); return nil }

func (l lane[T]) receive() (v T, err error) {
	v, ok := <-l.c
	if !ok {
		return v, io.EOF
	}
	return v, nil
}

func newLane[T any](copy func(T) T) lane[T] { return lane[T]{make(chan T, 16), copy} }

func copyBytes(b []byte) []byte { return append([]byte(nil), b...) }

func copyMessage(m *vt.Message) *vt.Message { return proto.Clone(m).(*vt.Message) }

// testSides connects both sides, and asks for the number of messages three times.
func testSides(t *testing.T, s Stream, ended <-chan error, end func()) {
	t.Helper()
	for _, sent := range []int{0, 5, 0} {
		for range sent {
			require.NoError(t, s.Send())
		}
		n, err := s.Ask()
		require.NoError(t, err)
		require.Equal(t, sent+1, n)
	}
	end()
	require.NoError(t, <-ended)
}

func TestMessageStream(t *testing.T) {
	there, back, ended := newLane(copyMessage), newLane(copyMessage), make(chan error, 1)
	go func() { ended <- ServeStream(there.receive, back.send) }()
	testSides(t, MessageStream(there.send, back.receive), ended, func() { close(there.c) })
}

func TestBytesStream(t *testing.T) {
	there, back, ended := newLane(copyBytes), newLane(copyBytes), make(chan error, 1)
	go func() { ended <- ServeBytes(there.receive, back.send) }()
	testSides(t, BytesStream(100, there.send, back.receive), ended, func() { close(there.c) })
}

// A message that is damaged or lost on its way is missing in the count.
func TestBytesThatAreDamaged(t *testing.T) {
	back := newLane(copyBytes)
	damage := true
	there := newLane(func(b []byte) []byte {
		b = copyBytes(b)
		if damage {
			b[len(b)-1], damage = '?', false
		}
		return b
	})
	go ServeBytes(there.receive, back.send)
	defer close(there.c)
	s := BytesStream(100, there.send, back.receive)
	require.NoError(t, s.Send())
	n, err := s.Ask()
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func TestStreamsThatFail(t *testing.T) {
	broken := errors.New("broken")
	message := func() (*vt.Message, error) { return nil, broken }
	chunk := func() ([]byte, error) { return nil, broken }
	require.ErrorIs(t, ServeStream(message, nil), broken)
	require.ErrorIs(t, ServeBytes(chunk, nil), broken)
	_, err := MessageStream(func(*vt.Message) error { return nil }, message).Ask()
	require.ErrorIs(t, err, broken)
	_, err = BytesStream(10, func([]byte) error { return broken }, chunk).Ask()
	require.ErrorIs(t, err, broken)
	_, err = BytesStream(10, func([]byte) error { return nil }, func() ([]byte, error) { return []byte("xx"), nil }).Ask()
	require.ErrorContains(t, err, "answer of 2 bytes")
}

// Callers beside a bulk stream call while it moves, and fail with it.
func TestBesideBulk(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name string
		ends int // asks of the bulk stream before it breaks; 0: never
	}{{"moves", 0}, {"breaks", 2}} {
		t.Run(test.name, func(t *testing.T) {
			c := Candidate{Name: "x", Beside: func(string) (func() error, Stream, error) {
				sent, asked := 0, 0
				return func() error { time.Sleep(10 * time.Microsecond); return nil }, Stream{
					Send: func() error { sent++; return nil },
					Ask: func() (int, error) {
						n := sent + 1
						sent = 0
						if asked++; asked == test.ends || t.Context().Err() != nil {
							return 0, broken
						}
						time.Sleep(time.Millisecond)
						return n, nil
					},
				}, nil
			}}
			cfg, err := ParseConfig("l2")
			require.NoError(t, err)
			crew, err := c.crew(cfg, "", 0, true)
			require.NoError(t, err)
			require.Len(t, crew.callers, 2)
			if test.ends > 0 {
				require.Eventually(t, func() bool { return errors.Is(crew.callers[0].call(), broken) }, time.Minute, time.Microsecond)
				return
			}
			require.Eventually(t, func() bool { return crew.bulk.moved() >= bulkSize }, time.Minute, time.Microsecond)
			_, err = drive(crew.callers, time.Millisecond)
			require.NoError(t, err)
		})
	}
}
