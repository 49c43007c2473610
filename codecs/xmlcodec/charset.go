package xmlcodec

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// charsetError reports a character set that cannot be read, or that is declared
// twice, and why.
type charsetError struct{ name, why string }

func (e *charsetError) Error() string {
	return fmt.Sprintf("character set %s: %s", quote(e.name), e.why)
}

// charsetReader returns a reader of UTF-8. A declaration after one of another character
// set is an error, or a document could pile up readers.
func charsetReader(name string, in io.Reader) (io.Reader, error) {
	if _, ok := in.(*byteReader); ok {
		return nil, &charsetError{name, "it is the second declaration"}
	}
	switch strings.ToLower(name) {
	case "utf8":
		return in, nil
	case "us-ascii", "ascii":
		return &byteReader{in: byteSource(in), ascii: true, name: name}, nil
	case "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1":
		return &byteReader{in: byteSource(in)}, nil
	}
	return nil, &charsetError{name, "want UTF-8, US-ASCII or ISO-8859-1"}
}

func byteSource(in io.Reader) io.ByteReader {
	if b, ok := in.(io.ByteReader); ok {
		return b
	}
	return bufio.NewReader(in)
}

// byteReader reads bytes of ISO-8859-1 or US-ASCII as UTF-8.
type byteReader struct {
	in    io.ByteReader
	ascii bool
	name  string
	low   byte // second byte of a character, 0 if there is none
}

func (r *byteReader) ReadByte() (byte, error) {
	if b := r.low; b != 0 {
		r.low = 0
		return b, nil
	}
	b, err := r.in.ReadByte()
	if err != nil || b < 0x80 {
		return b, err
	}
	if r.ascii {
		return 0, &charsetError{r.name, fmt.Sprintf("it has no byte 0x%x", b)}
	}
	r.low = 0x80 | b&0x3f
	return 0xc0 | b>>6, nil
}

func (r *byteReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}
