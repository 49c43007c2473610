package wasm_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/wasm"
)

// filter returns the registered filter.
func filter(t testing.TB, id byte) xfer.Appender {
	t.Helper()
	f, err := xfer.Get(id)
	require.NoError(t, err)
	return f.(xfer.Appender)
}

// logged collects log lines.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What a guest does wrong is the error of its item, never the bytes; the next item finds an
// instance that works.
func TestItemFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		pack   []byte
		kind   error
		want   string
		broken bool
	}{
		{"trap", unreachable, wasm.ErrTrapped, "the guest broke down: unreachable", true},
		{"endless loop", append(forever, i64(0)...), wasm.ErrTimeout, "the guest took too long: more than 1s", true},
		{"memory bomb", grab, wasm.ErrTrapped, "unreachable", true},
		{"result outside", result(1<<31, 0, 8), wasm.ErrTrapped, "it returned 8 bytes at 0x80000000, its memory has 131072", true},
		{"result half outside", result(2<<16-4, 0, 8), wasm.ErrTrapped, "it returned 8 bytes at 0x1fffc", true},
		{"unknown status", result(0, 3, 8), wasm.ErrTrapped, "it returned the status 3", true},
		{"message outside", result(1<<31, 1, 8), wasm.ErrTrapped, "it returned 8 bytes at 0x80000000", true},
		{"over the limit", result(0, 0, 2000), xfer.ErrTooLarge, "too large: 2000 bytes, the limit is 1000", false},
		{"1 GiB", result(0, 0, 1<<30-1), xfer.ErrTooLarge, "too large: 1073741823 bytes, the limit is 1000", false},
		{"refused", result(dataAt, 1, 8), wasm.ErrRefused, `refused by the guest: {"name":`, false},
		{"said to be too large", result(dataAt, 2, 8), xfer.ErrTooLarge, `{"name":`, false},
		{"a long message of zeros", result(0, 1, 50_000), wasm.ErrRefused, "refused by the guest:    ", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log logged
			limit := time.Minute
			if test.kind == wasm.ErrTimeout {
				limit = time.Second // also for the items behind it
			}
			h := load(t, wasm.Module{
				Bytes: tiny(code("teleport_pack", test.pack)), MaxMemory: 1 << 20, MaxOutput: 1000, Timeout: limit, Instances: 1,
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			f, begun := filter(t, 240), time.Now()
			for range 3 {
				out, err := f.AppendPack([]byte("head"), []byte("secret"))
				require.ErrorIs(t, err, test.kind)
				require.ErrorContains(t, err, "wasm: guest tiny: pack with filter tiny (id 240): ")
				require.ErrorContains(t, err, test.want)
				if test.broken {
					require.Equal(t, wasm.CodeGuestUnavailable, tp.Code(err))
				}
				require.Equal(t, "head", string(out))
				require.Less(t, len(err.Error()), 1500)
				require.NotContains(t, err.Error(), "\n")
			}
			out, err := f.OnUnpack([]byte("next"))
			require.NoError(t, err)
			require.Equal(t, "next", string(out))
			if !test.broken {
				require.Zero(t, h.Restarts())
				return
			}
			require.EqualValues(t, 3, h.Restarts())
			lines := strings.Count(log.String(), "an instance of a guest was thrown away")
			require.NotZero(t, lines)
			require.LessOrEqual(t, lines, 1+int(time.Since(begun)/time.Second), "one a second: %s", &log)
			require.Contains(t, log.String(), "guest=tiny")
		})
	}
}

// The call stack is bounded, by wazero.
func TestRecursion(t *testing.T) {
	load(t, wasm.Module{Bytes: tiny(code("teleport_pack", []byte{0x20, 0, 0x20, 1, 0x20, 2, 0x20, 3, 0x10, 3})), Timeout: time.Minute})
	_, err := filter(t, 240).OnPack([]byte("x"))
	require.ErrorIs(t, err, wasm.ErrTrapped)
	require.ErrorContains(t, err, "stack overflow")
}

func TestAllocFails(t *testing.T) {
	for _, test := range []struct {
		name, want string
		alloc      []byte
	}{
		{"outside", "teleport_alloc returned the address 0xfffffff0 for 4096 bytes, its memory has 131072", i32(-16)},
		{"trap", "the guest broke down: unreachable", unreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			load(t, wasm.Module{Bytes: tiny(code("teleport_alloc", test.alloc))})
			_, err := filter(t, 240).OnPack([]byte("x"))
			require.ErrorIs(t, err, wasm.ErrTrapped)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestInputTooLarge(t *testing.T) {
	h := load(t, wasm.Module{Bytes: tiny(), MaxMemory: 1 << 20})
	_, err := filter(t, 240).OnPack(make([]byte, 1<<20+1))
	require.ErrorIs(t, err, xfer.ErrTooLarge)
	require.ErrorContains(t, err, "1048577 bytes, the guest has a memory of 1048576")
	require.Zero(t, h.Restarts())
}

func TestUnpackLimit(t *testing.T) {
	load(t, wasm.Module{Bytes: tiny()})
	f := filter(t, 240)
	out, err := f.AppendUnpack([]byte("a"), []byte("bcd"), 3)
	require.NoError(t, err)
	require.Equal(t, "abcd", string(out))
	out, err = f.AppendUnpack([]byte("a"), []byte("bcde"), 3)
	require.ErrorIs(t, err, xfer.ErrTooLarge)
	require.Equal(t, "a", string(out))
}

// All instances are busy for longer than an item waits.
func TestBusy(t *testing.T) {
	load(t, wasm.Module{Bytes: tiny(code("teleport_pack", append(forever, i64(0)...))), Instances: 1, Timeout: 300 * time.Millisecond})
	f := filter(t, 240)
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := f.OnPack([]byte("x"))
			errs <- err
		}()
	}
	var busy, late int
	for range 8 {
		err := <-errs
		switch {
		case strings.Contains(err.Error(), "all 1 instances were busy for 300ms"):
			require.ErrorIs(t, err, wasm.ErrUnavailable)
			busy++
		default:
			require.ErrorIs(t, err, wasm.ErrTimeout)
			late++
		}
	}
	require.NotZero(t, busy)
	require.NotZero(t, late)
}

func TestClash(t *testing.T) {
	first := load(t, wasm.Module{Bytes: tiny()})
	for _, test := range []struct{ name, parts, want string }{
		{"id", `{"kind":"filter","id":240,"name":"other"}`, "filter other (id 240) cannot be registered: guest tiny has tiny (id 240); load it under another id and name, or do not import or load the other"},
		{"name", `{"kind":"filter","id":241,"name":"tiny"}`, "filter tiny (id 241) cannot be registered: guest tiny has tiny (id 240)"},
		{"imported", `{"kind":"filter","id":109,"name":"md6"}`, "filter md6 (id 109) cannot be registered: md5.Filter has md5 (id 109)"},
		{"second part", `{"kind":"filter","id":242,"name":"fine"},{"kind":"filter","id":240,"name":"x"}`, "guest second: filter x (id 240)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := wasm.Load(t.Context(), wasm.Module{Name: "second", Bytes: tiny(describe(`{"parts":[` + test.parts + `]}`))})
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := xfer.Get(242)
	require.ErrorIs(t, err, xfer.ErrUnsupported, "all or none")

	t.Run("after Close", func(t *testing.T) {
		require.NoError(t, first.Close())
		require.NoError(t, first.Close())
		_, err := filter(t, 240).OnPack([]byte("secret"))
		require.ErrorIs(t, err, wasm.ErrUnavailable)
		require.ErrorContains(t, err, "closed")
		require.ErrorIs(t, first.Health(), wasm.ErrUnavailable)
		require.ErrorIs(t, first.Reload(t.Context()), wasm.ErrUnavailable)
		second := load(t, wasm.Module{Bytes: tiny()})
		require.NoError(t, second.Health())
		out, err := filter(t, 240).OnPack([]byte("again"))
		require.NoError(t, err)
		require.Equal(t, "again", string(out))
	})
}

// Items that are in work while a guest is reloaded end well, and so do those that begin.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.wasm")
	write := func(b []byte) { require.NoError(t, os.WriteFile(path, b, 0o600)) }
	write(tiny())
	h := load(t, wasm.Module{Path: path, Instances: 2})
	f := filter(t, 240)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := f.OnPack([]byte("x")); err != nil {
					t.Errorf("an item failed: %v", err)
					return
				}
			}
		})
	}
	for range 10 {
		require.NoError(t, h.Reload(t.Context()))
	}
	close(stop)
	wg.Wait()

	write(tiny(code("teleport_pack", result(dataAt, 0, 3)), func(m *module) { m.data = "new" + m.data },
		code("teleport_describe", result(dataAt+3, 0, uint64(len(`{"name":"tiny","parts":[{"kind":"filter","id":240,"name":"tiny"}]}`))))))
	require.NoError(t, h.Reload(t.Context()))
	out, err := f.OnPack([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, "new", string(out))

	for _, bad := range []struct {
		file []byte
		want string
	}{
		{[]byte("rubbish"), "is no WebAssembly file"},
		{tiny(describe(`{"parts":[{"kind":"filter","id":241,"name":"tiny"}]}`)), "now has the parts [filter tiny (id 241)]; [filter tiny (id 240)] are registered: close the handle and load it"},
	} {
		write(bad.file)
		err := h.Reload(t.Context())
		require.ErrorIs(t, err, wasm.ErrModule)
		require.ErrorContains(t, err, bad.want)
		out, err = f.OnPack([]byte("x"))
		require.NoError(t, err)
		require.Equal(t, "new", string(out))
	}
	require.ErrorContains(t, load(t, wasm.Module{Bytes: tiny(describe(`{"parts":[{"kind":"filter","id":243,"name":"b"}]}`))}).Reload(t.Context()), "only a file can be read again")
}

// Large input takes memory of the guest only while it is needed.
func TestInputBuffer(t *testing.T) {
	// alloc returns the address 8192 for 4 KiB and traps for 8 KiB: local.get 0, i32.const
	// 8192, i32.ge_u, if unreachable end.
	alloc := slices.Concat([]byte{0x20, 0}, i32(8192), []byte{0x4f, 0x04, 0x40, 0x00, 0x0b}, i32(8192))
	load(t, wasm.Module{Bytes: tiny(code("teleport_alloc", alloc))})
	f := filter(t, 240)
	for _, n := range []int{0, 1, 4096, 10} {
		out, err := f.OnPack(make([]byte, n))
		require.NoError(t, err, fmt.Sprint(n))
		require.Len(t, out, n)
	}
	_, err := f.OnPack(make([]byte, 4097))
	require.ErrorIs(t, err, wasm.ErrTrapped)
}
