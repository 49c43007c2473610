//go:build unix

package outproc

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/mixers/outproc/internal/rawlane"
)

const bundleDescription = `{"contract":1,"name":"raw","version":"1","bundle":16,"parts":[{"kind":"filter","id":200,"name":"reverse"}]}`

// badBundles are the replies of guests that break the rules of bundles. nil is none.
var badBundles = map[string]func(f rawlane.Frame) []byte{
	"nothing":    func(rawlane.Frame) []byte { return []byte{} },
	"one result": func(rawlane.Frame) []byte { return []byte("\x00\x00\x00\x05tsrif") },
	"cut":        func(rawlane.Frame) []byte { return []byte("\x00\x00\x00") },
	"a size":     func(rawlane.Frame) []byte { return []byte("\x7f\xff\xff\xff") },
	"unanswered": func(rawlane.Frame) []byte { return []byte(strings.Repeat("\xff", 4*contract.MaxBundle)) },
	"silent":     func(rawlane.Frame) []byte { return nil },
}

func init() {
	for name, reply := range badBundles {
		roles["raw bundle "+name] = func() {
			rawMain(bundleDescription, func(_ net.Conn, f rawlane.Frame, _ []byte) ([]byte, error) {
				body := reply(f)
				if body == nil {
					return nil, nil
				}
				return rawlane.Frame{Seq: f.Seq, Type: rawlane.Reply, Body: body}.Append(nil), nil
			})
		}
	}
	roles["raw bundle error"] = func() {
		rawMain(bundleDescription, func(_ net.Conn, f rawlane.Frame, _ []byte) ([]byte, error) {
			return rawlane.Frame{Seq: f.Seq, Type: rawlane.Reply, Meta: "X-Reply-Error=%7B%22code%22%3A500%7D"}.Append(nil), nil
		})
	}
}

// inBundle sends the items in one bundle, to h's filter, and returns what their callers get.
// sending is called when it is on its way.
func inBundle(t *testing.T, h *Handle, sending func(), items ...string) (out []string, errs []error) {
	t.Helper()
	f := filterOf(t).(*filter)
	out, errs = make([]string, len(items)), make([]error, len(items))
	h.slots <- struct{}{} // a caller that is alone sends its item by itself
	h.slots <- struct{}{}
	defer func() { <-h.slots; <-h.slots }()
	inst := h.active.Load()
	first := exchanges.Get().(*exchange)
	first.route, first.item = f.pack, []byte("first")
	o := inst.bundler.join(first)
	require.NotNil(t, o)
	var wg sync.WaitGroup
	for n, item := range items {
		wg.Go(func() {
			b, err := f.AppendPack(nil, []byte(item))
			out[n], errs[n] = string(b), err
		})
		require.Eventually(t, func() bool {
			inst.bundler.mu.Lock()
			defer inst.bundler.mu.Unlock()
			return len(o.exchanges) == n+2
		}, 30*time.Second, time.Millisecond, "an item is not in the bundle")
	}
	inst.bundler.take(o)
	wg.Go(sending)
	err := inst.sendBundle(o, first)
	if err == nil {
		require.Equal(t, "tsrif", string(first.reply))
	} else {
		require.Equal(t, errNoResult, err)
	}
	wg.Wait()
	return out, errs
}

// Each item of a bundle has its own result or error.
func TestBundle(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts")
	out, errs := inBundle(t, h, func() {}, "ab", "!refuse!", "", "!panic!", "cd", "!large!", strings.Repeat("xy", 2000))
	require.Equal(t, []string{"ba", "", "", "", "dc"}, out[:5])
	for _, n := range []int{0, 2, 4, 5, 6} {
		require.NoError(t, errs[n], "item %d", n)
	}
	require.ErrorIs(t, errs[1], ErrRefused)
	require.ErrorContains(t, errs[1], errRefuse.Error())
	require.ErrorContains(t, errs[3], "in a filter")
	require.Len(t, out[5], 2<<20, "a result that has no room in a reply")
	require.Equal(t, strings.Repeat("yx", 2000), out[6])
	require.Zero(t, h.Restarts())
}

// An item that hangs holds up the others of its bundle for a moment, and then there are no
// bundles for another one.
func TestBundleHangs(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts", func(g *Guest) { g.Timeout = 3 * time.Second })
	out, errs := inBundle(t, h, func() {}, "!hang!", "ab", "cd")
	require.ErrorIs(t, errs[0], ErrGuestUnavailable)
	require.ErrorContains(t, errs[0], "it has not answered within 3s")
	require.NoError(t, errors.Join(errs[1:]...))
	require.Equal(t, []string{"ba", "dc"}, out[1:])
	b := &h.active.Load().bundler
	require.Equal(t, int64(minBundlePause), b.pause.Load())
	b.note(true)
	require.Equal(t, int64(2*minBundlePause), b.pause.Load())
	for b.pause.Load() < int64(maxBundlePause) { // which is long enough to be seen
		b.note(true)
	}
	require.False(t, b.takes(&exchange{}))
	b.note(false)
	require.True(t, b.takes(&exchange{}))
}

// The items of a bundle that is lost with its process are sent to the next one.
func TestBundleIsLost(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts")
	await(t, h, Ready)
	h.active.Load().bundler.wait = time.Hour
	pid := activePID(h)
	stop(t, pid)
	out, errs := inBundle(t, h, func() { require.NoError(t, syscall.Kill(pid, syscall.SIGKILL)) }, "ab", "cd")
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, []string{"ba", "dc"}, out)
	await(t, h, Ready)
	require.Equal(t, 1, h.Restarts())
}

// A guest that breaks the rules of bundles gets the items by themselves.
func TestBadBundles(t *testing.T) {
	for _, name := range append([]string{"error"}, sortedKeys(badBundles)...) {
		t.Run(name, func(t *testing.T) {
			tptest.LeakCheck(t)
			h := loadRole(t, "raw bundle "+name)
			out, errs := inBundle(t, h, func() {}, "ab", "cd", "ef")
			require.NoError(t, errors.Join(errs...))
			require.Equal(t, []string{"ba", "dc", "fe"}, out)
			require.NotZero(t, h.active.Load().bundler.pause.Load())
			require.Zero(t, h.Restarts())
		})
	}
}

func sortedKeys[V any](m map[string]V) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// What a bundle takes, and where the next one begins.
func TestBundleLimits(t *testing.T) {
	g := Guest{MaxItem: 64 << 20, Timeout: time.Second}
	item := func(n int) *exchange { return &exchange{route: "/xfer/200/pack", item: make([]byte, n)} }
	var b bundler
	require.False(t, b.takes(item(1)), "the guest takes no bundles")
	b.init(&g, 1)
	require.False(t, b.takes(item(1)))
	b.init(&g, -1)
	require.False(t, b.takes(item(1)))
	b.init(&g, 1000)
	require.Equal(t, contract.MaxBundle, b.items)
	require.Equal(t, bundleWait, b.wait)
	require.True(t, b.takes(item(contract.MaxBundleItem)))
	require.False(t, b.takes(item(contract.MaxBundleItem+1)))

	b.init(&g, 3)
	require.NotNil(t, b.join(item(1)))
	require.Nil(t, b.join(item(1)))
	require.Nil(t, b.join(item(1)))
	full := b.join(item(1))
	require.NotNil(t, full, "the fourth item is in a bundle of its own")
	b.take(full)
	require.NotNil(t, b.join(item(1)), "a bundle that was taken gets no more")

	g.MaxItem, g.Timeout = 1000, 20*time.Millisecond
	b = bundler{}
	b.init(&g, 16)
	require.Equal(t, 5*time.Millisecond, b.wait)
	require.False(t, b.takes(item(990)), "it has no room with its route")
	require.True(t, b.takes(item(900)))
	first := b.join(item(900))
	second := b.join(item(900))
	require.NotNil(t, second)
	require.LessOrEqual(t, len(first.body), 1000)
	require.Len(t, first.exchanges, 1)
}

// Many callers at once get the right results, whatever joins them.
func TestCrowd(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts")
	f := filterOf(t).(xfer.Appender)
	var wg sync.WaitGroup
	for caller := range 64 {
		wg.Go(func() {
			for n := range 50 {
				want := strings.Repeat(fmt.Sprint(caller, " ", n, " "), 1+n*n/8)
				packed, err := f.AppendPack([]byte("in front"), []byte(want))
				var got []byte
				if err == nil {
					got, err = f.AppendUnpack(nil, packed[len("in front"):], len(want))
				}
				if err != nil || string(got) != want {
					t.Errorf("%.50q came back as %.50q, %v", want, got, err)
					return
				}
				if _, err := f.AppendUnpack(nil, packed[len("in front"):], len(want)-1); !errors.Is(err, xfer.ErrTooLarge) {
					t.Errorf("a result over the limit: %v", err)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, h.Restarts())
}
