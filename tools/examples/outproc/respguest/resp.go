package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// The limits of a command.
const (
	maxLine = 4 << 10 // bytes
	maxArgs = 1024
	maxSize = 1 << 20 // bytes of all arguments
)

var errSyntax = errors.New("invalid command")

func syntax(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errSyntax, fmt.Sprintf(format, args...))
}

// readCommand reads an array of bulk strings, which is what clients send, or the words of a
// line, which is what people type.
func readCommand(r *bufio.Reader) ([]string, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(line, "*") {
		return strings.Fields(line), nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 || n > maxArgs {
		return nil, syntax("%q is no number of arguments, at most %d are allowed", line[1:], maxArgs)
	}
	var command []string
	for size := 0; len(command) < n; {
		line, err := readLine(r)
		if err != nil {
			return nil, err
		}
		digits, ok := strings.CutPrefix(line, "$")
		length, err := strconv.Atoi(digits)
		if !ok || err != nil || length < 0 || length > maxSize-size {
			return nil, syntax("%q is no length of an argument, a command has at most %d bytes", line, maxSize)
		}
		size += length
		var text strings.Builder // grows with what arrives, not by what the length claims
		if _, err := io.CopyN(&text, r, int64(length)+2); err != nil {
			return nil, err
		}
		argument, ok := strings.CutSuffix(text.String(), "\r\n")
		if !ok {
			return nil, syntax("an argument is longer than its length, %d", length)
		}
		command = append(command, argument)
	}
	return command, nil
}

// readLine returns a line without its end.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", syntax("a line has more than %d bytes", maxLine)
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

// appendReply appends what was JSON as RESP.
func appendReply(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "$-1\r\n"...)
	case bool:
		if v {
			return append(b, ":1\r\n"...)
		}
		return append(b, ":0\r\n"...)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return fmt.Appendf(b, ":%d\r\n", int64(v))
		}
		return appendReply(b, strconv.FormatFloat(v, 'g', -1, 64))
	case string:
		return fmt.Appendf(b, "$%d\r\n%s\r\n", len(v), v)
	case []any:
		b = fmt.Appendf(b, "*%d\r\n", len(v))
		for _, e := range v {
			b = appendReply(b, e)
		}
		return b
	}
	return append(b, "-ERR the reply is an object, which RESP does not have\r\n"...)
}

// oneLine returns text that cannot end a line of the protocol.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, text)
}
