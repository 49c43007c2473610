package wasm_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/wasm"
)

// Each file that is no guest is refused, with words that say what, which and what to do.
func TestLoadRefuses(t *testing.T) {
	old := module{pages: 1, funcs: []function{{"_start", "", "", nil}}}.bytes()
	part := func(fields string) string { return `{"parts":[` + fields + `]}` }
	for _, test := range []struct {
		name string
		file []byte
		want string
	}{
		{"text", []byte("#!/bin/sh\n"), `is no WebAssembly file: it begins with "#!/bin/s", not with "\x00asm"`},
		{"nothing", []byte{}, `it begins with "", not with`},
		{"cut short", tiny()[:100], "unexpected EOF"},
		{"the beginning alone", []byte("\x00asm"), "invalid version header"},
		{"a program", old, "is a program (it exports _start and no teleport_abi): build a guest with -buildmode=c-shared, and call guest.Serve in init"},
		{"another module", module{pages: 1}.bytes(), "exports no teleport_abi: it is no guest of Teleport (ABI.md, package guest)"},
		{"no memory", module{funcs: []function{{"teleport_abi", "", "i", i32(1)}}}.bytes(), `exports no "memory"`},
		{"too much memory", tiny(func(m *module) { m.pages = 100 }), "with a MaxMemory of 2097152 bytes: section memory: min 100 pages (6 Mi) over limit of 32 pages (2 Mi)"},
		{"a table of 32 GiB", tiny(func(m *module) { m.table = 1<<32 - 1 }), "has a table of 4294967295 elements, the limit is 1048576"},
		{"a foreign import", tiny(func(m *module) { m.imports = []string{"system"} }), "imports env.system; a guest may import wasi_snapshot_preview1 alone"},
		{"another version", tiny(code("teleport_abi", i32(7))), "has version 7 of the ABI, this program has 1: build both with the same release of mixers/wasm"},
		{"no alloc", tiny(without("teleport_alloc")), "exports no teleport_alloc, which version 1 of the ABI needs"},
		{"no unpack", tiny(without("teleport_unpack")), "exports no teleport_unpack"},
		{"another type", tiny(without("teleport_alloc"), with(function{"teleport_alloc", "l", "l", i64(1)})), "exports teleport_alloc with the type (i64) -> (i64); want (i32) -> (i32)"},
		{"a codec without encode", tiny(describe(part(`{"kind":"codec","id":240,"name":"c"}`))), "exports no teleport_encode"},
		{"trap in init", tiny(with(function{"_initialize", "", "", unreachable})), "start an instance: the guest broke down: unreachable"},
		{"endless init", tiny(with(function{"_initialize", "", "", forever})), "an instance did not start within 1s"},
		{"trap in describe", tiny(code("teleport_describe", unreachable)), "teleport_describe: the guest broke down: unreachable"},
		{"endless describe", tiny(code("teleport_describe", append(forever, i64(0)...))), "teleport_describe: the guest took too long: more than 1s"},
		{"description outside", tiny(code("teleport_describe", result(1<<20, 0, 10))), "it returned 10 bytes at 0x100000, its memory has 131072"},
		{"description of 1 GiB", tiny(code("teleport_describe", result(0, 0, 1<<30-1))), "1073741823 bytes, the limit is 65536"},
		{"refused description", tiny(describe("no disk"), code("teleport_describe", result(dataAt, 1, 7))), "refused by the guest: no disk"},
		{"description of zeros", tiny(code("teleport_describe", result(0, 0, 3))), `"\x00\x00\x00" is not the JSON of one`},
		{"no parts", tiny(describe(`{}`)), "0 parts; a guest has 1 to 255"},
		{"unknown kind", tiny(describe(part(`{"kind":"proto","id":240,"name":"x"}`))), `part 0 is of the kind "proto"; "filter" and "codec" are known`},
		{"id 0", tiny(describe(part(`{"kind":"filter","id":0,"name":"x"}`))), "the id 0 means none: choose one from 128 to 239"},
		{"id 300", tiny(describe(part(`{"kind":"filter","id":300,"name":"x"}`))), "cannot unmarshal number 300"},
		{"no name", tiny(describe(part(`{"kind":"filter","id":240}`))), "part 0, filter with id 240: name: 0 bytes; it has 1 to 255"},
		{"a name of control characters", tiny(describe(part(`{"kind":"filter","id":240,"name":"a\u001b[2J"}`))), `has the character U+001B`},
		{"two of one id", tiny(describe(part(`{"kind":"filter","id":240,"name":"x"},{"kind":"filter","id":240,"name":"y"}`))), "parts 0 and 1 are both filter y (id 240)"},
		{"two of one name", tiny(describe(part(`{"kind":"filter","id":240,"name":"x"},{"kind":"filter","id":241,"name":"x"}`))), "parts 0 and 1 are both filter x (id 241)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.wasm")
			require.NoError(t, os.WriteFile(path, test.file, 0o600))
			m := wasm.Module{Path: path, MaxMemory: 2 << 20, Timeout: time.Minute, StartTimeout: time.Minute}
			switch test.name {
			case "endless init":
				m.StartTimeout = time.Second
			case "endless describe":
				m.Timeout = time.Second
			}
			h, err := wasm.Load(t.Context(), m)
			require.Nil(t, h)
			require.ErrorIs(t, err, wasm.ErrModule)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestLoadRefusesModule(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tiny.wasm")
	require.NoError(t, os.WriteFile(file, tiny(), 0o600))
	sum := sha256.Sum256(tiny())
	hash := hex.EncodeToString(sum[:])
	for _, test := range []struct {
		name, want string
		module     wasm.Module
	}{
		{"no file", "neither Path nor Bytes is set: name the .wasm file", wasm.Module{}},
		{"two files", "both Path (" + file + ") and Bytes are set", wasm.Module{Path: file, Bytes: tiny()}},
		{"a file that is missing", "no such file", wasm.Module{Path: filepath.Join(dir, "none.wasm")}},
		{"a directory", "a guest is a regular file", wasm.Module{Path: dir}},
		{"wrong hash", file + " has the SHA-256 " + hash + "; 00ff is expected: take the file that was checked, or change Module.SHA256", wasm.Module{Path: file, SHA256: "00ff"}},
		{"wrong hash of bytes", "module t has the SHA-256 " + hash, wasm.Module{Name: "t", Bytes: tiny(), SHA256: "00ff"}},
		{"less than a page", "MaxMemory of 1 bytes is less than a page of 65536", wasm.Module{Path: file, MaxMemory: 1}},
		{"more than there is", "MaxMemory of 4294967297 bytes: it is from 65536 to 4294967296", wasm.Module{Path: file, MaxMemory: 4<<30 + 1}},
		{"output", "MaxOutput of -1 bytes", wasm.Module{Path: file, MaxOutput: -1}},
		{"time", "Timeout -1ns", wasm.Module{Path: file, Timeout: -1}},
		{"instances", "-1 Instances: at least one is needed", wasm.Module{Path: file, Instances: -1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, err := wasm.Load(t.Context(), test.module)
			require.Nil(t, h)
			require.ErrorContains(t, err, test.want)
		})
	}
	t.Run("ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := wasm.Load(ctx, wasm.Module{Path: file})
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("right hash", func(t *testing.T) {
		h := load(t, wasm.Module{Path: file, SHA256: strings.ToUpper(hash)})
		require.Equal(t, "tiny", h.Name())
		require.Equal(t, "[filter tiny (id 240)]", fmt.Sprint(h.Parts()))
	})
}

// A table.grow would take memory of the host that MaxMemory does not count.
func TestTablesCannotGrow(t *testing.T) {
	grow := slices.Concat([]byte{0xd0, 0x70}, i32(1<<30), []byte{0xfc, 15, 0}, drop, echo)
	_, err := wasm.Load(t.Context(), wasm.Module{Bytes: tiny(func(m *module) { m.table = 1 }, code("teleport_pack", grow))})
	require.ErrorIs(t, err, wasm.ErrModule)
	require.ErrorContains(t, err, `feature "reference-types" is disabled`)
}

// load loads a guest until the test ends.
func load(t testing.TB, m wasm.Module) *wasm.Handle {
	t.Helper()
	h, err := wasm.Load(t.Context(), m)
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}
