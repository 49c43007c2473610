package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"

	tp "github.com/teleport-go/teleport/core"
)

// file says which file is meant: its name, and what is in it. So the bytes at an offset
// are the same in every attempt, and an attempt that the other side has not yet given up
// does no harm.
type file struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // in hex
}

// part is the rest of a file, from an offset on.
type part struct {
	file
	Offset int64 `json:"offset"`
}

// held is what the server has of a file.
type held struct {
	Offset   int64 `json:"offset"` // the bytes before it
	Complete bool  `json:"complete"`
}

// Codes of this program.
const (
	codeDamaged int32 = 1001 // what has arrived is not the file
	codeChanged int32 = 1002 // the file has changed since it was asked for
)

func failure(code int32, message, format string, args ...any) error {
	return tp.NewRerror(code, message, fmt.Sprintf(format, args...)).Err()
}

func badRequest(format string, args ...any) error {
	return failure(tp.CodeBadMessage, tp.CodeText(tp.CodeBadMessage), format, args...)
}

// check returns an error for a file that cannot be: what it says has come from outside.
func (f *file) check() error {
	sum, err := hex.DecodeString(f.SHA256)
	switch {
	case !filepath.IsLocal(f.Name) || filepath.Base(f.Name) != f.Name || f.Name == ".":
		return badRequest("%q is not the name of a file in a directory", f.Name)
	case err != nil || len(sum) != sha256.Size:
		return badRequest("the sha256 of %q is %q, not 64 digits in hex", f.Name, f.SHA256)
	case f.Size < 0:
		return badRequest("the size of %q is %d", f.Name, f.Size)
	}
	return nil
}

func (p *part) check() error {
	if err := p.file.check(); err != nil {
		return err
	}
	if p.Offset < 0 || p.Offset > p.Size {
		return badRequest("the offset is %d, and %q has %d bytes", p.Offset, p.Name, p.Size)
	}
	return nil
}

// partName is the name of the file until it is complete.
func (f *file) partName() string { return f.Name + "." + f.SHA256[:16] + ".part" }

// describe reads all of r, and says what is in it.
func describe(name string, r io.Reader) (file, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return file{name, n, hex.EncodeToString(h.Sum(nil))}, err
}
