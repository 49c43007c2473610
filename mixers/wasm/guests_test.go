package wasm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/codecs/cborcodec"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
	"github.com/teleport-go/teleport/core/xfertest"
	"github.com/teleport-go/teleport/mixers/wasm"
	"github.com/teleport-go/teleport/xfers/md5"
)

// goTool runs the go command.
func goTool(args, env []string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, text)
	}
	return nil
}

var forGuests = []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}

// made is the Go guest testdata/guests/parts, and a cache in which it is compiled.
type made struct {
	dir, file, cache string
	once             sync.Once
	err              error
}

var goGuest made

func (m *made) make() {
	if m.dir, m.err = os.MkdirTemp("", ""); m.err != nil {
		return
	}
	m.file, m.cache = filepath.Join(m.dir, "parts.wasm"), filepath.Join(m.dir, "cache")
	m.err = goTool([]string{"build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", m.file, "./testdata/guests/parts"}, forGuests)
	if m.err == nil {
		// Compiling takes a minute under the race detector, so a program without it does.
		m.err = goTool([]string{"run", "./testdata/precompile", m.file, m.cache}, nil)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if goGuest.dir != "" {
		os.RemoveAll(goGuest.dir)
	}
	os.Exit(code)
}

// The ids of the parts of the guest under other ids and names than in process, so that both
// can be registered.
const (
	md5ID     = 230
	cborID    = 231
	waywardID = 200
)

// loadGo loads the Go guest until the test ends.
func loadGo(t testing.TB, m wasm.Module) *wasm.Handle {
	t.Helper()
	goGuest.once.Do(goGuest.make)
	require.NoError(t, goGuest.err)
	m.Path, m.Cache = goGuest.file, goGuest.cache
	return load(t, m)
}

func cbor(t testing.TB) codec.Codec {
	t.Helper()
	c, err := codec.Get(cborID)
	require.NoError(t, err)
	return c
}

type record struct {
	ID    int64          `json:"id"`
	Big   uint64         `json:"big"`
	Name  string         `json:"name"`
	Tags  []string       `json:"tags"`
	Extra map[string]int `json:"extra,omitempty"`
	Raw   []byte         `json:"raw"`
	Ratio float64        `json:"ratio"`
}

func sample() *record {
	return &record{ID: -1 << 62, Big: 1<<64 - 1, Name: "é\x00\"", Tags: []string{"push", "call"}, Extra: map[string]int{"a": 1}, Raw: []byte{0, 255}, Ratio: 0.1}
}

func TestGoFilter(t *testing.T) {
	h := loadGo(t, wasm.Module{Timeout: time.Minute})
	require.Equal(t, "[filter md5-guest (id 230) codec cbor-guest (id 231) filter wayward (id 200)]", fmt.Sprint(h.Parts()))
	xfertest.Run(t, filter(t, md5ID))
	require.Zero(t, h.Restarts())

	data := []byte("the same bytes as in process")
	got, err := filter(t, md5ID).OnPack(data)
	require.NoError(t, err)
	want, err := md5.Filter{}.OnPack(data)
	require.NoError(t, err)
	require.Equal(t, want, got)
	got[3] ^= 1
	_, err = filter(t, md5ID).OnUnpack(got)
	require.ErrorIs(t, err, wasm.ErrRefused)
	require.ErrorContains(t, err, "wasm: guest parts: unpack with filter md5-guest (id 230): refused by the guest: md5: check failed: wrong sum of 28 bytes")
}

func TestGoCodec(t *testing.T) {
	h := loadGo(t, wasm.Module{Timeout: time.Minute})
	codectest.With(codectest.Garbage([]byte{0xff, 0xff, 0xff}, []byte{0x61}), codectest.Flat()).Run(t, cbor(t), sample(), "text é", -7, 1.5, true, []int{1, 2}, map[string]int{"a": 1, "b": 2})
	require.Zero(t, h.Restarts())

	// What the guest writes is what the codec in process writes of the value that crossed.
	got, err := cbor(t).Marshal(map[string]any{"n": int64(1 << 60), "u": uint64(1<<64 - 1), "f": 0.5, "l": []int{1}})
	require.NoError(t, err)
	want, err := cborcodec.Codec{}.Marshal(map[string]any{"n": int64(1 << 60), "u": uint64(1<<64 - 1), "f": 0.5, "l": []int{1}})
	require.NoError(t, err)
	require.Equal(t, want, got)

	_, err = cbor(t).Marshal(make(chan int))
	require.ErrorContains(t, err, "chan int")
	var v any
	require.ErrorIs(t, cbor(t).Unmarshal([]byte{0xff}, &v), wasm.ErrRefused)
}

func TestGoGuestMisbehaves(t *testing.T) {
	for _, test := range []struct {
		tell string
		kind error
		want string
	}{
		{"panic", wasm.ErrTrapped, "the guest broke down: unreachable: panic: told to panic"},
		{"spin", wasm.ErrTimeout, "more than 1s"},
		{"sleep", wasm.ErrTimeout, "more than 1s"},
		{"bomb", wasm.ErrTrapped, "out of memory"},
	} {
		t.Run(test.tell, func(t *testing.T) {
			var log logged
			m := wasm.Module{MaxMemory: 16 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil)), Timeout: time.Second}
			if test.kind != wasm.ErrTimeout {
				m.Timeout = time.Minute
			}
			h := loadGo(t, m)
			_, err := filter(t, waywardID).OnPack([]byte(test.tell))
			require.ErrorIs(t, err, test.kind)
			require.ErrorContains(t, err, test.want)
			require.EqualValues(t, 1, h.Restarts())
			out, err := filter(t, waywardID).OnPack([]byte("fine"))
			require.NoError(t, err)
			require.Equal(t, "fine", string(out))
		})
	}
	t.Run("print", func(t *testing.T) {
		var log logged
		loadGo(t, wasm.Module{Logger: slog.New(slog.NewTextHandler(&log, nil)), Timeout: time.Minute})
		_, err := filter(t, waywardID).OnPack([]byte("print"))
		require.NoError(t, err)
		require.Contains(t, log.String(), `msg="wasm: output of a guest" guest=parts output="told to print"`)
	})
}

// Some of many callers make the guest break down; all others get what is theirs.
func TestManyCallers(t *testing.T) {
	h := loadGo(t, wasm.Module{Timeout: time.Minute, Instances: 3})
	good, bad := filter(t, md5ID), filter(t, waywardID)
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			for n := range 20 {
				if n == 10 && caller%4 == 0 {
					if _, err := bad.OnPack([]byte("panic")); !errors.Is(err, wasm.ErrTrapped) {
						t.Errorf("error %v; want %v", err, wasm.ErrTrapped)
					}
				}
				data := []byte(fmt.Sprint("caller ", caller, " item ", n))
				packed, err := good.OnPack(data)
				if err == nil {
					packed, err = good.OnUnpack(packed)
				}
				if err != nil || string(packed) != string(data) {
					t.Errorf("got %q, %v; want %q", packed, err, data)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 4, h.Restarts())
}

// A guest that is not built as one says what to do.
func TestGoProgram(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o600))
	out := filepath.Join(dir, "main.wasm")
	require.NoError(t, goTool([]string{"build", "-o", out, filepath.Join(dir, "main.go")}, forGuests))
	_, err := wasm.Load(context.Background(), wasm.Module{Path: out})
	require.ErrorContains(t, err, "is a program (it exports _start and no teleport_abi): build a guest with -buildmode=c-shared")
}
