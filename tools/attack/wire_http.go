//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strings"
)

// post is a request with these header lines and this body.
func post(body string, lines ...string) []byte {
	return []byte("POST /echo HTTP/1.1\r\nHost: v\r\nContent-Type: text/plain\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n" + body)
}

// httpForeign are bytes of other protocols, and first lines that are none.
func httpForeign() []probe {
	return []probe{
		{"nothing", nil, waits},
		{"half a line", []byte("POST /ec"), waits},
		{"half a header", []byte("POST /echo HTTP/1.1\r\nHo"), waits},
		{"half a body", post("12345", "Content-Length: 10"), waits},
		{"TLS ClientHello", clientHello, ends},
		{"SSH", []byte("SSH-2.0-OpenSSH_9.9\r\n"), ends},
		{"HTTP/2", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"), ends},
		{"HTTP/0.9", []byte("GET /echo\r\n"), ends},
		{"HTTP/9.9", []byte("GET /echo HTTP/9.9\r\nHost: v\r\n\r\n"), ends},
		{"a raw frame", append(rawProto.call(1, "/echo", 's', []byte("x\n")), "\r\n\r\n"...), ends},
		{"no Host", []byte("GET /echo HTTP/1.1\r\n\r\n"), ends},
		{"NUL bytes", bytes.Repeat([]byte{0, '\n'}, 1000), ends},
	}
}

// smuggling are requests whose end two readers would see in two places.
func smuggling() (list []probe) {
	second := "GET /echo HTTP/1.1\r\nHost: v\r\n\r\n"
	for _, c := range []struct {
		name, body string
		lines      []string
	}{
		{"length and chunks", "0\r\n\r\n" + second, []string{"Content-Length: 5", "Transfer-Encoding: chunked"}},
		{"two lengths", "12345", []string{"Content-Length: 5", "Content-Length: 6"}},
		{"a list of lengths", "12345", []string{"Content-Length: 5, 6"}},
		{"length +5", "12345", []string{"Content-Length: +5"}},
		{"length -1", "12345", []string{"Content-Length: -1"}},
		{"length 0x5", "12345", []string{"Content-Length: 0x5"}},
		{"length 2^64+5", "12345", []string{"Content-Length: 18446744073709551621"}},
		{"length 1 GiB", "12345", []string{"Content-Length: 1073741824"}},
		{"chunks that are not last", "12345", []string{"Transfer-Encoding: chunked, identity"}},
		{"chunks twice", "0\r\n\r\n" + second, []string{"Transfer-Encoding: chunked", "Transfer-Encoding: chunked"}},
		{"an unknown encoding", "12345", []string{"Transfer-Encoding: xchunked"}},
		{"blank before the colon", "0\r\n\r\n", []string{"Transfer-Encoding : chunked"}},
		{"a folded header", "12345", []string{"Content-Length: 5", "X-A: a", " Transfer-Encoding: chunked"}},
		{"a bare CR", "12345", []string{"Content-Length: 5", "X-A: a\rTransfer-Encoding: chunked"}},
		{"a bare LF", "12345", []string{"Content-Length: 5", "X-A: a\nTransfer-Encoding: chunked"}},
		{"NUL in a header", "12345", []string{"Content-Length: 5", "X-A: a\x00b"}},
		{"two Hosts", "12345", []string{"Content-Length: 5", "Host: other"}},
		{"chunk of -1", "-1\r\n", []string{"Transfer-Encoding: chunked"}},
		{"chunk of 2^64", "10000000000000001\r\nx\r\n0\r\n\r\n", []string{"Transfer-Encoding: chunked"}},
		{"chunk without CRLF", "1\r\nxx\r\n0\r\n\r\n", []string{"Transfer-Encoding: chunked"}},
		{"chunk behind 1 MiB of extension", "1;" + strings.Repeat("e", 1<<20) + "\r\nx\r\n0\r\n\r\n", []string{"Transfer-Encoding: chunked"}},
	} {
		list = append(list, probe{c.name, post(c.body, c.lines...), ends})
	}
	return list
}

// httpFloods are requests that are large where nothing large belongs.
func httpFloods() []probe {
	var lines []string
	for i := range 1100 {
		lines = append(lines, fmt.Sprintf("X-%d: v", i))
	}
	return []probe{
		{"1100 headers", post("", lines...), ends},
		{"a header of 1 MiB", post("", "X-A: "+strings.Repeat("a", 1<<20)), ends},
		{"headers without end", bytes.TrimSuffix(post("", strings.Repeat("X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 100000)), []byte("\r\n")), ends},
		{"a first line of 1 MiB", []byte("GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: v\r\n\r\n"), ends},
		{"a trailer of 1 MiB", post("0\r\nX-A: "+strings.Repeat("a", 1<<20)+"\r\n\r\n", "Transfer-Encoding: chunked"), ends},
		{"900 requests at once", bytes.Repeat(post("x", "Content-Length: 1"), 900), lives},
		{"2000 blank lines", bytes.Repeat([]byte("\r\n"), 2000), ends},
	}
}
