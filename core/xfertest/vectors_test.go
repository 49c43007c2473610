package xfertest

import (
	"os"
	"path/filepath"
	"testing"
)

func TestVectors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vectors.txt")
	if err := os.WriteFile(file, []byte("# name, bytes, packed\none 00ff 1f\ntwo 61 62\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := Vectors(t, file)
	if len(list) != 2 || list[0].Name != "one" || string(list[0].Plain) != "\x00\xff" || string(list[0].Packed) != "\x1f" || list[1].Name != "two" {
		t.Errorf("Vectors = %q", list)
	}
	for _, line := range []string{"", "one 00", "one 00 11 22", "one 0 11", "one 00 xx"} {
		if v, err := parseVector(line); err == nil {
			t.Errorf("line %q is the vector %q", line, v)
		}
	}
}

func TestPanic(t *testing.T) {
	if got := Panic(func() { panic("words") }); got != "words" {
		t.Errorf("Panic = %q; want words", got)
	}
	if got := Panic(func() {}); got != "" {
		t.Errorf("Panic = %q of a function that returns", got)
	}
}
