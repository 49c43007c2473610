package outproc

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
)

// roleGuest is the guest of a role, as loadRole loads it.
func roleGuest(t testing.TB, role string) Guest {
	return Guest{Path: self(t), Env: []string{envRole + "=" + role, "GORACE=atexit_sleep_ms=0"}, Logger: tptest.Logger(t), StartTimeout: time.Minute}
}

// lockOf returns a lock file with the guest of a role.
func lockOf(t *testing.T, role string) string {
	file := filepath.Join(t.TempDir(), LockName)
	require.NoError(t, Lock(t.Context(), file, roleGuest(t, role)))
	return file
}

func replaceIn(t *testing.T, file, old, new string) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), old)
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, new)), 0o600))
}

// A lock file has the same bytes whenever it is written for the same guests.
func TestLockFile(t *testing.T) {
	file := lockOf(t, "parts")
	first, err := os.ReadFile(file)
	require.NoError(t, err)
	d, err := Describe(t.Context(), roleGuest(t, "parts"))
	require.NoError(t, err)
	require.Equal(t, "parts", d.Name)
	require.Equal(t, []Part{{"filter", 200, "reverse"}, {"codec", 200, "boxed"}}, d.Parts)
	require.Equal(t, `{
  "guests": [
    {
      "name": "parts",
      "version": "v1.2.3",
      "sha256": {
        "`+platform+`": "`+d.SHA256+`"
      }
    }
  ]
}
`, string(first))

	// Other guests stay, and so do other platforms of the same version.
	sum := strings.Repeat("ab", 32)
	require.NoError(t, writeLock(file, []locked{
		{"zstd", "v1", map[string]string{platform: sum}},
		{"parts", "v1.2.3", map[string]string{"plan9/mips": sum, platform: sum}},
	}))
	require.NoError(t, Lock(t.Context(), file, roleGuest(t, "parts")))
	list, err := readLock(file)
	require.NoError(t, err)
	require.Equal(t, []locked{
		{"parts", "v1.2.3", map[string]string{"plan9/mips": sum, platform: d.SHA256}},
		{"zstd", "v1", map[string]string{platform: sum}},
	}, list)

	replaceIn(t, file, "v1.2.3", "v1.2.2")
	require.NoError(t, Lock(t.Context(), file, roleGuest(t, "parts")))
	list, err = readLock(file)
	require.NoError(t, err)
	require.Equal(t, locked{"parts", "v1.2.3", map[string]string{platform: d.SHA256}}, list[0], "a hash of another version stays")
}

// A guest that the lock file has otherwise is refused, with the command that mends it.
func TestLockRefuses(t *testing.T) {
	other := strings.Repeat("ab", 32)
	for _, test := range []struct {
		name   string
		change func(t *testing.T, lock string, g *Guest)
		words  string
	}{
		{"another hash", func(t *testing.T, lock string, g *Guest) {
			d, err := Describe(t.Context(), *g)
			require.NoError(t, err)
			replaceIn(t, lock, d.SHA256, other)
		}, "which LOCK does not list for " + platform + ": it was not run. If it is the file to run: MEND"},
		{"another hash of a guest whose name is known", func(t *testing.T, lock string, g *Guest) {
			d, err := Describe(t.Context(), *g)
			require.NoError(t, err)
			replaceIn(t, lock, d.SHA256, other)
			g.Name = "parts"
		}, "not " + other + " as LOCK has it for parts on " + platform},
		{"another platform", func(t *testing.T, lock string, g *Guest) {
			replaceIn(t, lock, platform, "plan9/mips")
		}, "does not list for " + platform},
		{"another name", func(t *testing.T, lock string, g *Guest) {
			replaceIn(t, lock, `"parts"`, `"md5"`)
		}, "LOCK does not list parts. If it is the guest to run: MEND"},
		{"the name of another file", func(t *testing.T, lock string, g *Guest) {
			d, err := Describe(t.Context(), *g)
			require.NoError(t, err)
			require.NoError(t, writeLock(lock, []locked{{"md5", "v1", map[string]string{platform: d.SHA256}}, {"parts", "v1.2.3", map[string]string{platform: other}}}))
		}, "LOCK lists another file for that name"},
		{"another version", func(t *testing.T, lock string, g *Guest) {
			replaceIn(t, lock, "v1.2.3", "v1.2.4")
		}, "parts says that its version is v1.2.3, LOCK has v1.2.4. If it is the guest to run: MEND"},
		{"no lock file", func(t *testing.T, lock string, g *Guest) { require.NoError(t, os.Remove(lock)) }, "read the lock file: open LOCK: no such file or directory; to make one: MEND"},
		{"a lock file that is broken", func(t *testing.T, lock string, g *Guest) {
			replaceIn(t, lock, `"version"`, `"vers"`)
		}, `the lock file LOCK: json: unknown field "vers"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			g, lock := roleGuest(t, "parts"), lockOf(t, "parts")
			test.change(t, lock, &g)
			g.Lock = lock
			h, err := Load(t.Context(), g)
			if err == nil {
				h.Close()
			}
			words := strings.NewReplacer("LOCK", lock, "MEND", "teleport guests lock --lock "+lock+" "+g.Path).Replace(test.words)
			require.ErrorContains(t, err, words)
			require.Empty(t, socketDirs(t))
		})
	}
}

// A file that is not in the lock file is not run, not even to ask what it is.
func TestLockBeforeStart(t *testing.T) {
	lock, dir := lockOf(t, "parts"), t.TempDir()
	file := filepath.Join(dir, "guest")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\ntouch "+dir+"/ran\n"), 0o700))
	_, err := Load(t.Context(), Guest{Path: file, Lock: lock, Logger: tptest.Logger(t)})
	require.ErrorContains(t, err, "it was not run")
	require.NoFileExists(t, filepath.Join(dir, "ran"))
}

// Reload takes what the lock file has then.
func TestLockReload(t *testing.T) {
	tptest.LeakCheck(t)
	lock := lockOf(t, "parts")
	h := loadRole(t, "parts", func(g *Guest) { g.Lock = lock })
	require.NoError(t, h.Reload(t.Context()))
	replaceIn(t, lock, "v1.2.3", "v1.2.4")
	require.ErrorContains(t, h.Reload(t.Context()), "says that its version is v1.2.3")
	require.Equal(t, Ready, h.Health().State)
	out, err := filterOf(t).OnPack([]byte("ab"))
	require.NoError(t, err)
	require.Equal(t, "ba", string(out))
}

// A name without a slash is that of the file in the directory, not of one in $PATH.
func TestDescribeName(t *testing.T) {
	g := roleGuest(t, "parts")
	dir, name := filepath.Split(g.Path)
	t.Chdir(dir)
	g.Path = name
	d, err := Describe(t.Context(), g)
	require.NoError(t, err)
	require.Equal(t, "parts", d.Name)
}

func TestDescribeRefuses(t *testing.T) {
	for _, test := range []struct{ role, words string }{
		{"hangs", "it has not described itself within 1s: it is no guest of Teleport, or it hangs"},
		{"dies", "exit status 3; its last lines:\n\tno such table: users"},
		{"version", "its description is not the JSON that CONTRACT.md describes"},
		{"binary", "its description has more than 1048576 bytes: it is no guest of Teleport"},
		{"nothing", "Serve needs at least one part"},
	} {
		t.Run(test.role, func(t *testing.T) {
			tptest.LeakCheck(t)
			g := roleGuest(t, test.role)
			if test.role == "hangs" {
				g.StartTimeout = time.Second
			}
			_, err := Describe(t.Context(), g)
			require.ErrorContains(t, err, "outproc: describe guest "+g.Path)
			require.ErrorContains(t, err, test.words)
			require.ErrorContains(t, Lock(t.Context(), filepath.Join(t.TempDir(), LockName), g), "describe guest")
		})
	}
	_, err := Describe(t.Context(), Guest{Connect: "unix:///nowhere"})
	require.ErrorContains(t, err, "it has no file here")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Describe(ctx, roleGuest(t, "hangs"))
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzParseLock(f *testing.F) {
	f.Add([]byte(`{"guests":[{"name":"md5","version":"v1","sha256":{"linux/amd64":"` + strings.Repeat("ab", 32) + `"}}]}`))
	f.Add([]byte(`{"guests":[{"name":"md5"},{"name":"md5"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseLock(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(lockFile{list})
		require.NoError(t, err)
		_, err = parseLock(again)
		require.NoError(t, err)
	})
}
