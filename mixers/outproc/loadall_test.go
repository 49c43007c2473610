package outproc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
)

// listFile writes a list of guests next to the file "guest", which is this program; ROLE
// before a word in it makes it the guest of that role.
func listFile(t *testing.T, text string) string {
	dir := t.TempDir()
	require.NoError(t, os.Symlink(self(t), filepath.Join(dir, "guest")))
	file := filepath.Join(dir, "guests.yaml")
	text = strings.ReplaceAll(text, "ROLE ", "GORACE=atexit_sleep_ms=0, "+envRole+"=")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestLoadAll(t *testing.T) {
	tptest.LeakCheck(t)
	file := listFile(t, `
guests:
  - path: guest # relative to this file
    name: parts
    env: [ROLE parts]
    timeout: 30s
    replicas: 2
  - path: guest
    env: [ROLE dies]
    optional: true
`)
	handles, err := LoadAll(t.Context(), file)
	require.NoError(t, err)
	require.Len(t, handles, 2)
	require.Len(t, handles[0].Parts(), 2)
	require.Len(t, handles[0].Health().Processes, 2)
	require.Empty(t, handles[1].Parts())
	out, err := filterOf(t).OnPack([]byte("ab"))
	require.NoError(t, err)
	require.Equal(t, "ba", string(out))
	for _, h := range handles {
		require.NoError(t, h.Close())
	}
}

// If one guest cannot be loaded, none is.
func TestLoadAllOrNone(t *testing.T) {
	tptest.LeakCheck(t)
	file := listFile(t, `
guests:
  - {path: guest, env: [ROLE parts]}
  - {path: guest, env: [ROLE dies]}
`)
	handles, err := LoadAll(t.Context(), file)
	require.Nil(t, handles)
	require.ErrorContains(t, err, file+": outproc: guest "+filepath.Join(filepath.Dir(file), "guest")+": it has ended before it was ready")
	_, err = filterOf(t).OnPack([]byte("ab"))
	require.ErrorIs(t, err, ErrGuestUnavailable)
	require.Empty(t, socketDirs(t))
}

// A lock file next to the list is used, and LockAll writes it.
func TestLoadAllLocked(t *testing.T) {
	tptest.LeakCheck(t)
	file := listFile(t, "guests: [{path: guest, env: [ROLE parts]}, {connect: 'unix:///nowhere/lane', optional: true, start_timeout: 1ms}]\n")
	lock := filepath.Join(filepath.Dir(file), LockName)
	require.NoError(t, writeLock(lock, []locked{{"gone", "v1", map[string]string{platform: strings.Repeat("ab", 32)}}}))
	_, err := LoadAll(t.Context(), file)
	require.ErrorContains(t, err, "which "+lock+" does not list for "+platform+": it was not run. If it is the file to run: teleport guests lock "+file)
	require.NoError(t, LockAll(t.Context(), file))
	list, err := readLock(lock)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "parts", list[0].Name)
	handles, err := LoadAll(t.Context(), file)
	require.NoError(t, err)
	for _, h := range handles {
		require.NoError(t, h.Close())
	}
}

func TestReadGuests(t *testing.T) {
	file := listFile(t, `
base: &base [A=1, B]
`)
	_, err := ReadGuests(file)
	require.ErrorContains(t, err, file+`:2: unknown key "base": the only one outside the list is guests`)

	sum := strings.Repeat("ab", 32)
	file = listFile(t, `
guests:
  - path: a/b
    name: b
    sha256: `+sum+`
    args: [-v, "1"]
    env: &env [A=1, B]
    config: {level: 3, names: [x]}
    max_rss: 1000000
    start_timeout: 1m
    max_item: 1024
    max_in_flight: 2
    lock: b.lock
  - path: /c
    env: *env
  - connect: unix:///run/d.sock
    token: secret
`)
	guests, err := ReadGuests(file)
	require.NoError(t, err)
	dir := filepath.Dir(file)
	require.Equal(t, []Guest{
		{Path: filepath.Join(dir, "a/b"), Name: "b", SHA256: sum, Args: []string{"-v", "1"}, Env: []string{"A=1", "B"},
			Config: map[string]any{"level": 3, "names": []any{"x"}}, MaxRSS: 1000000, StartTimeout: time.Minute, MaxItem: 1024, MaxInFlight: 2,
			Lock: filepath.Join(dir, "b.lock")},
		{Path: "/c", Env: []string{"A=1", "B"}},
		{Connect: "unix:///run/d.sock", Token: "secret"},
	}, guests)
}

// What is wrong with a list names the key, the file and the line.
func TestReadGuestsRefuses(t *testing.T) {
	for _, test := range []struct{ name, text, words string }{
		{"empty", "", "FILE: it has no list of guests; it begins with guests:"},
		{"a list alone", "- path: a", "FILE: it has no list of guests"},
		{"no YAML", "guests: [", "FILE: yaml: "},
		{"no list", "guests: a", "FILE:1: guests is not a list"},
		{"two documents", "guests: []\n---\nguests: []\n", "FILE: there is text behind its first document"},
		{"a word", "guests: [a]", "FILE:1: guest 1 is not a mapping like path: md5guest"},
		{"unknown key", "guests:\n  - path: a\n    pathh: b\n", `FILE:3: guest 1: unknown key "pathh"; the keys are args, config, connect, env, `},
		{"a key twice", "guests:\n  - path: a\n    path: b\n", `FILE:3: key "path" is there already, in line 2`},
		{"no value", "guests:\n  - path: a\n  - path:\n", "FILE:3: guest 2: path has no value"},
		{"another type", "guests:\n  - path: a\n    replicas: two\n", "FILE:3: guest 1: replicas: cannot unmarshal !!str `two` into int"},
		{"no duration", "guests:\n  - path: a\n    timeout: soon\n", "FILE:3: guest 1: timeout: "},
		{"path and connect", "guests:\n  - path: a\n    connect: unix:///b\n", "FILE:2: guest 1: with Connect the host starts no process"},
		{"lock and connect", "guests:\n  - lock: a\n    connect: unix:///b\n", "FILE:2: guest 1: with Connect the host starts no process"},
		{"neither", "guests:\n  - name: a\n", "FILE:2: guest 1: set Path to the file of the guest"},
		{"TLS", "guests:\n  - connect: tcp+tls://a:1\n", "FILE:2: guest 1: tcp+tls://a:1 needs Guest.TLS, which the file cannot give"},
		{"too long", "guests: []\n#" + strings.Repeat("x", maxConfigFile), "FILE has more than 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "guests.yaml")
			require.NoError(t, os.WriteFile(file, []byte(test.text), 0o600))
			_, err := ReadGuests(file)
			require.ErrorContains(t, err, strings.ReplaceAll(test.words, "FILE", file))
			_, err = LoadAll(t.Context(), file)
			require.Error(t, err)
		})
	}
	_, err := LoadAll(t.Context(), "/nowhere/guests.yaml")
	require.ErrorContains(t, err, "outproc: read the list of guests: open /nowhere/guests.yaml: no such file")
}

func FuzzParseGuests(f *testing.F) {
	f.Add([]byte("guests:\n  - path: a\n    env: &x [A]\n    config: {a: 1}\n  - connect: unix:///b\n"))
	f.Add([]byte("guests: &a [*a]"))
	f.Add([]byte("guests: [{path: a, config: &c {b: *c}}]"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		guests, err := parseGuests("f", text)
		if err == nil {
			for _, g := range guests {
				require.NoError(t, g.check())
			}
		} else {
			require.True(t, strings.HasPrefix(err.Error(), "f:"), err)
		}
	})
}
