package harness

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeStreams makes streams to a server that has received all messages but lost ones.
func fakeStreams(lost int, ends error) func(string, int) ([]Stream, error) {
	return func(_ string, n int) (list []Stream, err error) {
		for range n {
			sent, asked := 0, 0
			list = append(list, Stream{
				Send: func() error { sent++; return nil },
				Ask: func() (int, error) {
					n := sent + 1
					sent = 0
					if asked++; asked > 1 {
						return n - lost, ends
					}
					return n, nil
				},
			})
		}
		return list, nil
	}
}

// The messages of a window count if all of them have been received.
func TestStreamsOfAWindow(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name, config string
		lost         int
		ends         error
		want         string
	}{
		{"one way", "t8", 0, nil, ""},
		{"one way, a message is lost", "t8", 1, nil, "8 of 8 callers failed: the server has received"},
		{"one way, the answer fails", "t2", 0, broken, "2 of 2 callers failed: broken"},
		{"ping-pong", "p1", 0, nil, ""},
		{"ping-pong, a message is lost", "p1", 1, nil, "the server has received 0 messages of 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := ParseConfig(test.config)
			require.NoError(t, err)
			c := Candidate{Name: "x", Streams: fakeStreams(test.lost, test.ends)}
			require.NoError(t, c.can(cfg, 0))
			crew, err := c.crew(cfg, "", 0, true)
			require.NoError(t, err)
			require.Len(t, crew.callers, cfg.Callers)
			l, err := drive(crew.callers, time.Millisecond)
			if test.want != "" {
				require.ErrorContains(t, err, test.want)
				return
			}
			require.NoError(t, err)
			require.GreaterOrEqual(t, l.Calls, int64(cfg.Callers))
		})
	}
}

func TestWithoutSuchCallers(t *testing.T) {
	for _, test := range []struct {
		config, want string
		size         int
	}{
		{"a1", "x has no calls", 0},
		{"a1", "x has no bodies of a given size", 5},
		{"t8", "x has no streams", 0},
		{"p1", "x has no streams", 0},
		{"l1", "x has no calls beside a bulk stream", 0},
		{"g8", "x has no broadcast", 0},
	} {
		cfg, err := ParseConfig(test.config)
		require.NoError(t, err)
		if err := (Candidate{Name: "x"}).can(cfg, test.size); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.config, err, test.want)
		}
	}
}

func TestInfo(t *testing.T) {
	require.Equal(t, Info{NoCalls: true}, Candidate{}.Info())
	require.Equal(t, Info{NoCalls: true, Also: "tplg"}, Candidate{
		Streams:   fakeStreams(0, nil),
		Beside:    func(string) (func() error, Stream, error) { return nil, Stream{}, nil },
		Broadcast: func(string, int) (func() error, error) { return nil, nil },
	}.Info())
}
