package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The memory of tables is not part of an instance's linear memory, so MaxMemory does not
// bound it. Without reference types (see newEngine) a module has one table, which cannot
// grow; checkTables bounds the size that it begins with.
const (
	tableSection = 4
	mostElements = 1 << 20 // of 8 bytes each
)

// checkTables returns an error if a module begins with a table that is too large. A file that
// is not well formed is left to the compiler. The format is that of section 5.5 of the
// WebAssembly core specification, https://www.w3.org/TR/wasm-core-2/#binary-modules.
func checkTables(file []byte) error {
	const header = 8 // "\0asm" and a version
	for rest := file[min(header, len(file)):]; len(rest) > 0; {
		id := rest[0]
		section, after, err := cutVector(rest[1:])
		if err != nil {
			return nil
		}
		if id == tableSection {
			return checkTableSection(section)
		}
		rest = after
	}
	return nil
}

func checkTableSection(b []byte) error {
	count, b, err := cutUvarint(b)
	if err != nil || count == 0 || len(b) < 2 {
		return nil
	}
	// One byte is the type of the elements, one says whether there is a maximum.
	size, _, err := cutUvarint(b[2:])
	if err != nil {
		return nil
	}
	if size > mostElements {
		return fmt.Errorf("a table of %d elements, the limit is %d", size, mostElements)
	}
	return nil
}

var errShort = errors.New("cut short")

// cutVector returns the bytes behind a size, and what follows them.
func cutVector(b []byte) (vector, rest []byte, err error) {
	n, b, err := cutUvarint(b)
	if err != nil || n > uint64(len(b)) {
		return nil, nil, errShort
	}
	return b[:n], b[n:], nil
}

func cutUvarint(b []byte) (uint64, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil, errShort
	}
	return n, b[size:], nil
}
