package main

import (
	"bufio"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadCommand(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     []string
		err      string
	}{
		{"words of a line", "SET k  v\r\n", []string{"SET", "k", "v"}, ""},
		{"empty line", "\n", []string{}, ""},
		{"array", "*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n", []string{"GET", "a\r\n"}, ""},
		{"empty array", "*0\r\n", nil, ""},
		{"cut", "*1\r\n$3\r\nGE", nil, "EOF"},
		{"many arguments", "*1025\r\n", nil, "at most 1024"},
		{"negative", "*-1\r\n", nil, "no number of arguments"},
		{"no bulk string", "*1\r\n:1\r\n", nil, "no length of an argument"},
		{"large argument", "*1\r\n$1048577\r\n", nil, "at most 1048576 bytes"},
		{"large arguments", "*2\r\n$1\r\nx\r\n$1048576\r\n", nil, "at most 1048576 bytes"},
		{"long argument", "*1\r\n$1\r\nxyz\r\n", nil, "longer than its length, 1"},
		{"long line", strings.Repeat("x", maxLine+1) + "\n", nil, "more than 4096 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readCommand(bufio.NewReaderSize(strings.NewReader(test.in), maxLine))
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

// A length of which nothing has arrived takes no memory.
func TestLengthWithoutBytes(t *testing.T) {
	const commands = 100
	in := bufio.NewReaderSize(nil, maxLine)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range commands {
		in.Reset(strings.NewReader("*1\r\n$1048576\r\n"))
		_, err := readCommand(in)
		require.ErrorIs(t, err, io.EOF)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(commands*maxSize/4))
}

// AUTH without a password is refused, and leaves the token as it was.
func TestAuthWithoutPassword(t *testing.T) {
	client, conn := net.Pipe()
	ended := make(chan struct{})
	go func() { defer close(ended); new(resp).Serve(conn, nil) }()
	require.NoError(t, client.SetDeadline(time.Now().Add(time.Minute)))
	io.WriteString(client, "AUTH\r\n")
	reply, err := bufio.NewReader(client).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "-ERR wrong number of arguments for AUTH\r\n", reply)
	client.Close()
	<-ended
}

func TestAppendReply(t *testing.T) {
	reply := appendReply(nil, []any{nil, true, 12.0, 0.5, "text", []any{}, map[string]any{}})
	require.Equal(t, "*7\r\n$-1\r\n:1\r\n:12\r\n$3\r\n0.5\r\n$4\r\ntext\r\n*0\r\n-ERR the reply is an object, which RESP does not have\r\n", string(reply))
}

// FuzzReadCommand: a command is within the limits, whatever comes.
func FuzzReadCommand(f *testing.F) {
	for _, text := range []string{"GET k\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "*1\r\n$-1\r\n", "*99999999999999999999\r\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in := bufio.NewReaderSize(strings.NewReader(text), maxLine)
		for {
			command, err := readCommand(in)
			if err != nil {
				return
			}
			size := 0
			for _, argument := range command {
				size += len(argument)
			}
			if size > maxSize {
				t.Fatalf("a command of %d bytes", size)
			}
			if _, err := in.Peek(1); err == io.EOF {
				return
			}
		}
	})
}
