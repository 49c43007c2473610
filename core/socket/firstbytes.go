package socket

import (
	"bytes"
	"fmt"
	"strings"
)

// firstMost is the largest number of first bytes that an error shows.
const firstMost = 32

// WrongProto returns the error of a connection of the named protocol whose first
// bytes begin no frame of it. It says what they look like, as [LooksLike] does, and
// matches [ErrUnsupportedProto], or [ErrTLS] for a TLS record.
func WrongProto(name string, prefix []byte) error {
	if err := TLSRecord(prefix); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	what := "are of no protocol that is known here"
	if like := LooksLike(prefix); like != "" {
		what = "look like " + like
	}
	return fmt.Errorf("%s: the peer's first bytes %q %s: %w", name, prefix[:min(len(prefix), firstMost)], what, ErrUnsupportedProto)
}

// LooksLike names what the first bytes of a connection look like: "an HTTP request",
// "a raw frame", "text". It knows the protocols of the project, whether or not they
// are imported, and some others. It is "" for bytes that look like none of them.
//
// It is for words in errors alone: a [Protocol] recognises its frames by Recognise.
func LooksLike(prefix []byte) string {
	if TLSRecord(prefix) != nil {
		return "TLS"
	}
	if line := firstLine(prefix); len(line) >= 4 {
		switch {
		case strings.HasPrefix(line, "HTTP/"):
			return "an HTTP response"
		case strings.HasPrefix(line, "PRI * HTTP/2"):
			return "HTTP/2"
		case strings.Contains(line, " HTTP/"):
			return "an HTTP request"
		case strings.HasPrefix(line, "SSH-"):
			return "SSH"
		}
		return "text"
	}
	const filters = 4 // where the frames of the project have the number of filters
	if len(prefix) < filters+2 {
		return ""
	}
	switch n, first := prefix[filters], prefix[filters+1]; {
	case n == 'r':
		return "a raw frame"
	case n == 0x0f && first == 0xff:
		return "a thrift frame"
	case n != 0:
		return ""
	case first == '{':
		return "a json frame"
	case first == 1<<3 || first == 2<<3: // the tag of the sequence number, or of the type
		return "a protobuf frame"
	case first >= 1 && first <= 7: // the length of the sequence number
		return "a raw frame of v5 or v7"
	}
	return ""
}

// firstLine returns the first line of text, or what there is of it; "" if these bytes
// are not printable ASCII.
func firstLine(prefix []byte) string {
	line, _, _ := bytes.Cut(prefix, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	for _, c := range line {
		if (c < ' ' || c > '~') && c != '\t' {
			return ""
		}
	}
	return string(line)
}
