package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

// asGuest makes the test program a guest of that name.
const asGuest = "TELEPORT_TEST_AS_GUEST"

func init() {
	if name := os.Getenv(asGuest); name != "" {
		guest.Config{Name: name, Version: "v1.2.3"}.Serve(reverse{}, text{})
	}
}

type reverse struct{}

func (reverse) ID() byte     { return 210 }
func (reverse) Name() string { return "reverse" }

func (reverse) OnPack(data []byte) ([]byte, error) {
	data = slices.Clone(data)
	slices.Reverse(data)
	return data, nil
}

func (r reverse) OnUnpack(data []byte) ([]byte, error) { return r.OnPack(data) }

type text struct{}

func (text) ID() byte                           { return 210 }
func (text) Name() string                       { return "text" }
func (text) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (text) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// guestList writes a list of one guest, and returns its path and that of the guest.
func guestList(t *testing.T, more string) (list, program string) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	list, program = filepath.Join(dir, "guests.yaml"), filepath.Join(dir, "guest")
	require.NoError(t, os.Symlink(self, program))
	require.NoError(t, os.WriteFile(list, []byte("guests:\n  - path: guest\n    env: ["+asGuest+"=one]\n"+more), 0o600))
	return list, program
}

// guests runs the command, and returns what it prints.
func guests(t *testing.T, args ...string) (string, error) {
	out, err := command(t, append([]string{"guests"}, args...)...).CombinedOutput()
	return string(out), err
}

func TestGuests(t *testing.T) {
	list, program := guestList(t, "")
	run := func(args ...string) string {
		t.Helper()
		out, err := guests(t, args...)
		require.NoError(t, err, out)
		return out
	}
	require.Regexp(t, `(?m)^one +v1\.2\.3 +no +filter reverse \(210\), codec text \(210\) +`+program+`$`, run("list", list))
	require.Equal(t, "wrote "+filepath.Join(filepath.Dir(list), "teleport-guests.lock")+"\n", run("lock", list))
	require.Regexp(t, `(?m)^one +v1\.2\.3 +yes +filter`, run("list", list))
	require.Regexp(t, `(?m)^ok +`+program+`: filter reverse \(210\), codec text \(210\), ready after .*\n1 guest, 0 missing$`, run("check", list))
	require.Regexp(t, `FROM +WAY +PART +SERIALLY +4 CALLERS +ITEMS/S\n`+
		program+` +spawn +filter reverse \(210\) +[\d.]+ µs +[\d.]+ µs +[1-9]\d*\n`+
		program+` +spawn +codec text \(210\) +[\d.]+ µs +[\d.]+ µs +[1-9]\d*\n$`, run("bench", list, "--duration", "20ms", "--callers", "4"))

	var d struct{ Name, Version, SHA256 string }
	require.NoError(t, json.Unmarshal([]byte(run("describe", program, "--env", asGuest+"=two")), &d))
	require.Equal(t, "two", d.Name)
	require.Len(t, d.SHA256, 64)

	lock := filepath.Join(t.TempDir(), "mine.lock")
	run("lock", "--lock", lock, program, "--env", asGuest+"=two")
	text, err := os.ReadFile(lock)
	require.NoError(t, err)
	require.Contains(t, string(text), runtime.GOOS+"/"+runtime.GOARCH+`": "`+d.SHA256)
}

// What is wrong with a guest is in the output, and the exit code is not 0.
func TestGuestsRefuse(t *testing.T) {
	list, _ := guestList(t, "  - path: missing\n    optional: true\n")
	lock := filepath.Join(filepath.Dir(list), "teleport-guests.lock")
	out, err := guests(t, "check", list)
	require.NoError(t, err, out)
	require.Contains(t, out, "missing: open ")
	require.Contains(t, out, "2 guests, 1 missing")
	require.NoError(t, os.WriteFile(lock, []byte(`{"guests":[]}`), 0o600))
	for _, test := range []struct {
		args  []string
		words string
	}{
		{[]string{"check", list}, "If it is the file to run: teleport guests lock " + list},
		{[]string{"list", list}, "If it is the file to run: teleport guests lock " + list},
		{[]string{"lock", list}, "missing: open "},
		{[]string{"describe", "/nowhere/guest"}, "no such file"},
		{[]string{"check", list, "x"}, "arguments and --env are for a program"},
		{[]string{"lock", list, "--lock", "x"}, "are for a program"},
		{[]string{"bench", list, "--callers", "0"}, "--callers"},
		{[]string{"bench", "/nowhere/guest"}, "no such file"},
		{[]string{"check", "/nowhere/guests.yaml"}, "read the list of guests"},
	} {
		t.Run(strings.Join(test.args[:1], " "), func(t *testing.T) {
			out, err := guests(t, test.args...)
			require.Error(t, err, out)
			require.Contains(t, out, test.words)
		})
	}
}
