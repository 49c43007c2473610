package guest

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// moody is a filter that does what its item says.
type moody struct{ same }

func (moody) ID() byte     { return 251 }
func (moody) Name() string { return "moody" }

func (moody) OnPack(data []byte) ([]byte, error) {
	switch string(data) {
	case "refuse":
		return nil, errors.New("refused")
	case "panic":
		panic("moody")
	case "large":
		return make([]byte, contract.MaxBundleBytes), nil
	}
	return append([]byte("+"), data...), nil
}

type bundled struct{ route, item, want string } // want "" is no result

// TestBundle: each item of a bundle has its result, or none.
func TestBundle(t *testing.T) {
	tptest.LeakCheck(t)
	s, err := newServer(Config{}, []any{twice{behind: new(int)}, moody{}, text{}})
	require.NoError(t, err)
	require.NotZero(t, s.desc.Bundle)
	call := lane(t, s)
	defer func(d time.Duration) { bundleTime = d }(bundleTime)
	for _, test := range []struct {
		name  string
		items []bundled
	}{
		{"none", nil},
		{"one", []bundled{{"/xfer/251/pack", "a", "+a"}}},
		{"of all kinds", []bundled{
			{"/xfer/251/pack", "a", "+a"}, {"/xfer/250/pack", "ab", "aabb"}, {"/xfer/250/unpack", "aabb", "ab"},
			{"/codec/106/marshal", "[1, 2]", "[1,2]"}, {"/codec/106/unmarshal", "[1, 2]", "[1,2]"},
			{"/xfer/251+250/pack", "a", "+aa"}, {"/xfer/250+251/unpack?max=1", "aa", "a"},
		}},
		{"limits", []bundled{
			{"/xfer/250/unpack?max=1", "aa", "a"}, {"/xfer/250/unpack?max=1", "aabb", ""}, {"/xfer/250/unpack?max=x", "aa", ""},
			{"/xfer/250/pack", strings.Repeat("a", 32<<10+1), ""},
		}},
		{"no such route", []bundled{{"/xfer/252/pack", "a", ""}, {"/guest/describe", "", ""}, {"", "", ""}, {"/xfer/251/pack", "a", "+a"}}},
		{"refused", []bundled{{"/xfer/251/pack", "refuse", ""}, {"/codec/106/marshal", "[", ""}, {"/xfer/251/pack", "a", "+a"}}},
		{"panic", []bundled{{"/xfer/251/pack", "panic", ""}, {"/xfer/251/pack", "a", "+a"}}},
		{"too large together", []bundled{{"/xfer/251/pack", "a", "+a"}, {"/xfer/251/pack", "large", ""}, {"/xfer/251/pack", "a", ""}}},
		{"slow", []bundled{{"/xfer/251/pack", "a", "+a"}, {"/xfer/251/pack", "b", ""}, {"/xfer/251/pack", "c", ""}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if bundleTime = time.Hour; test.name == "slow" {
				bundleTime = 0
			}
			var body []byte
			for _, i := range test.items {
				body = contract.AppendBundled(body, i.route, []byte(i.item))
			}
			f := call(contract.RouteBundle, body)
			require.NotContains(t, f.Meta, "X-Reply-Error")
			rest := f.Body
			for n, i := range test.items {
				var got []byte
				var answered bool
				got, rest, answered, err = contract.CutResult(rest)
				require.NoError(t, err)
				require.Equal(t, i.want != "", answered, "item %d, %.20q of %s", n, i.item, i.route)
				require.Equal(t, i.want, string(got), "item %d, %.20q of %s", n, i.item, i.route)
			}
			require.Empty(t, rest)
		})
	}
	t.Run("cut", func(t *testing.T) {
		body := contract.AppendBundled(nil, "/xfer/251/pack", []byte("a"))
		for n := 1; n < len(body); n++ {
			require.Contains(t, call(contract.RouteBundle, body[:n]).Meta, "X-Reply-Error", "%d bytes", n)
		}
	})
	t.Run("the host takes little", func(t *testing.T) {
		require.NotContains(t, call(contract.RouteConfigure, []byte(`{"max_item":10}`)).Meta, "X-Reply-Error")
		body := contract.AppendBundled(nil, "/xfer/251/pack", []byte("a"))
		body = contract.AppendBundled(body, "/xfer/251/pack", []byte("bc"))
		require.Equal(t, "\x00\x00\x00\x02+a\xff\xff\xff\xff", string(call(contract.RouteBundle, body).Body))
	})
}

// FuzzBundle: the body of a bundle comes from the host, which is believed, but must not end
// the guest.
func FuzzBundle(f *testing.F) {
	f.Add(contract.AppendBundled(contract.AppendBundled(nil, "/xfer/250/pack", []byte("ab")), "/xfer/250+250/unpack?max=3", []byte("aabb")))
	f.Add([]byte("\x0e/xfer/250/pack\xff\xff\xff\xfe"))
	s, err := newServer(Config{}, []any{same{}, text{}})
	require.NoError(f, err)
	lane(f, s)
	f.Fuzz(func(t *testing.T, body []byte) {
		items, rest := 0, body
		for ; err == nil && len(rest) > 0; items++ {
			_, _, rest, err = contract.CutBundled(rest)
		}
		arg, reply := bytes.Clone(body), []byte(nil)
		if got := s.bundle(nil, &arg, &reply); (got == nil) != (err == nil) {
			t.Fatalf("bundle: %v; want an error: %v", got, err)
		}
		if err == nil {
			for range items {
				_, reply, _, err = contract.CutResult(reply)
				require.NoError(t, err)
			}
			require.Empty(t, reply)
		}
		err = nil
	})
}
