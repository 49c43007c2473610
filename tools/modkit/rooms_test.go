package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseRooms(t *testing.T) {
	const good = "# a list\n\npackage b\nb.go # first\npackage . max 3\na.go\nc.go\n"
	l, err := parseRooms(strings.NewReader(good))
	require.NoError(t, err)
	require.Equal(t, roomList{{"b", 0, []string{"b.go"}}, {".", 3, []string{"a.go", "c.go"}}}, l)
	for _, test := range []struct{ name, in, err string }{
		{"max is no number", "package . max many\n", "line 1: max many"},
		{"max below 0", "package . max -1\n", "line 1: max -1"},
		{"package twice", "package .\npackage .\n", "line 2: package . is listed twice"},
		{"file twice", "package b\na.go\na.go\n", "line 3: b/a.go is listed twice"},
		{"file without a package", "a.go\n", "line 1"},
		{"no Go file", "package .\na.txt\n", `line 2: "a.txt"`},
		{"two files in a line", "package .\na.go b.go\n", "line 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseRooms(strings.NewReader(test.in))
			wantErr(t, err, test.err)
		})
	}
}

// rooms4 returns a module of two packages. The uses between the files of its root are
//
//	a.go → b.go        B, B.high, counter
//	a.go → c_linux.go  onLinux
//	b.go → a.go        A, A.Low, Box, Box.Get, lower
func rooms4() map[string]string {
	return map[string]string{
		modulesFile:       "core yes\n",
		"core/go.mod":     gomod("core"),
		"core/rooms.txt":  roomsText,
		"core/low/low.go": "package low\n\nfunc Low() {}\n",
		"core/a.go": `package tp

type A struct{ B }

func (a *A) Low() { a.high(); a.field = onLinux + onLinux; counter++; counter++ }

type Box[T any] struct{ v T }

func (b *Box[T]) Get() T { return b.v }

type lower interface{ Low() }
`,
		"core/b.go": `package tp

import "` + house + `core/low"

var counter int

type B struct{ field int }

func (b B) high() {
	low.Low()
	var a A
	a.Low()
	a.Low()
	var l lower = &a
	l.Low()
	var x Box[int]
	_ = x.Get()
}
`,
		"core/c_linux.go":   "package tp\n\nconst onLinux = 1\n",
		"core/c_windows.go": "package tp\n\nconst onLinux = 2\n",
		"core/a_test.go":    "package tp\n\nvar _ = counter\n",
	}
}

const roomsText = "package low\nlow.go\npackage . max 4\na.go\nb.go\nc_linux.go\nc_windows.go\n"

func TestRooms(t *testing.T) {
	edited := func(old, new string) map[string]string {
		return with(rooms4(), "core/rooms.txt", strings.Replace(roomsText, old, new, 1))
	}
	for _, test := range []struct {
		name  string
		files map[string]string
		cmd   roomsCmd
		err   string
		want  []string
	}{
		{"as listed", rooms4(), roomsCmd{Max: -1}, "", []string{
			"core: 4 of 9 run back up",
			"core: 4 of 9 uses run back up\n",
			"5     4        4  a.go\n",
			"1     0        0  low.go\n",
		}},
		{"uses listed", rooms4(), roomsCmd{Max: -1, Verbose: true}, "", []string{
			"core/a.go:3 uses B of b.go\ncore/a.go:5 uses B.high of b.go\ncore/a.go:5 uses counter of b.go\ncore/a.go:5 uses onLinux of c_linux.go\n",
		}},
		{"names", rooms4(), roomsCmd{Max: -1, Names: true}, "", []string{
			"core/a.go defines A A.Low Box Box.Get lower\n",
			"core/a.go uses of b.go: B B.high counter\ncore/a.go uses of c_linux.go: onLinux\n",
			"core/b.go uses of a.go: A A.Low Box Box.Get lower\n",
		}},
		{"another order", edited("a.go\nb.go", "b.go\na.go"), roomsCmd{Max: 6}, "", []string{"core: 6 of 9 uses"}},
		{"proposed order", edited("a.go\nb.go\nc_linux.go", "b.go\na.go\nc_linux.go"), roomsCmd{Max: 9, Propose: true}, "", []string{
			"package core # 3 run back up instead of 6\nc_linux.go\na.go\nb.go\nc_windows.go\n",
		}},
		{"proposed order of a file that is not listed", edited("a.go\n", "d.go\n"), roomsCmd{Max: 9, Propose: true}, "a.go is not listed", []string{
			"package core # 3 run back up instead of 5\nc_linux.go\nc_windows.go\na.go\nb.go\n",
		}},
		{"more than the list allows", edited("max 4", "max 3"), roomsCmd{Max: -1}, "4 uses run back up, more than the 3 of core/rooms.txt", nil},
		{"more than the flag allows", rooms4(), roomsCmd{Max: 0}, "more than 0", nil},
		{"fewer than the list allows", edited("max 4", "max 7"), roomsCmd{Max: -1}, "", []string{"core/rooms.txt can say: package . max 4"}},
		{"package above one it imports", edited("package low\nlow.go\npackage . max 4\na.go\nb.go\nc_linux.go\nc_windows.go\n", "package .\na.go\nb.go\nc_linux.go\nc_windows.go\npackage low\nlow.go\n"),
			roomsCmd{Max: 99}, "teleport/core imports github.com/teleport-go/teleport/core/low, which is below it", nil},
		{"package not listed", edited("package low\nlow.go\n", ""), roomsCmd{Max: -1}, "package low is not listed", nil},
		{"package gone", edited("package low", "package lower\nx.go\npackage low"), roomsCmd{Max: -1}, "package lower has no Go files", nil},
		{"file not listed", edited("b.go\n", ""), roomsCmd{Max: -1}, "b.go is not listed", nil},
		{"file of another system not listed", edited("c_windows.go\n", ""), roomsCmd{Max: -1}, "c_windows.go is not listed", nil},
		{"file gone", edited("b.go\n", "b.go\nd.go\n"), roomsCmd{Max: -1}, "d.go does not exist", nil},
		{"does not compile", with(rooms4(), "core/c_linux.go", "package tp\n"), roomsCmd{Max: -1}, "undefined: onLinux", nil},
		{"no list", map[string]string{"core/go.mod": gomod("core")}, roomsCmd{}, "rooms.txt", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			test.cmd.Tree = "core"
			err := test.cmd.Run(&env{root: tree(t, test.files), out: &out})
			wantErr(t, err, test.err)
			for _, want := range test.want {
				require.Contains(t, out.String(), want)
			}
		})
	}
}
