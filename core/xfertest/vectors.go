package xfertest

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Vector is bytes and what a filter packs them to.
type Vector struct {
	Name          string
	Plain, Packed []byte
}

// Vectors reads vectors from a file, one a line: its name, the bytes and the packed
// bytes, both in hexadecimal, separated by spaces. It skips lines that start with "#".
func Vectors(t testing.TB, file string) (list []Vector) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		v, err := parseVector(line)
		if err != nil {
			t.Fatalf("%s: line %.40q: %v", file, line, err)
		}
		list = append(list, v)
	}
	return list
}

func parseVector(line string) (v Vector, err error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return v, fmt.Errorf("%d fields; want 3", len(fields))
	}
	v.Name = fields[0]
	if v.Plain, err = hex.DecodeString(fields[1]); err != nil {
		return v, err
	}
	v.Packed, err = hex.DecodeString(fields[2])
	return v, err
}

// Panic returns what f panics with, as text, or "" if it returns.
func Panic(f func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}
