package httproto

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/socket"
)

// business is the status of errors that HTTP has no word for, and of all errors
// to peers of v5 and v7, which read no other.
const business = 299

// statusText returns the reason phrase of a status, "" for one that is not in the
// registry of HTTP. (net/http has it too, and much that no peer needs.)
func statusText(status int) string {
	switch status {
	case 200:
		return "OK"
	case 201:
		return "Created"
	case 202:
		return "Accepted"
	case 204:
		return "No Content"
	case 301:
		return "Moved Permanently"
	case 302:
		return "Found"
	case 303:
		return "See Other"
	case 304:
		return "Not Modified"
	case 307:
		return "Temporary Redirect"
	case 308:
		return "Permanent Redirect"
	case business:
		return "Business Error"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 402:
		return "Payment Required"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 406:
		return "Not Acceptable"
	case 408:
		return "Request Timeout"
	case 409:
		return "Conflict"
	case 410:
		return "Gone"
	case 411:
		return "Length Required"
	case 412:
		return "Precondition Failed"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 415:
		return "Unsupported Media Type"
	case 417:
		return "Expectation Failed"
	case 422:
		return "Unprocessable Content"
	case 423:
		return "Locked"
	case 428:
		return "Precondition Required"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 451:
		return "Unavailable For Legal Reasons"
	case 499:
		return "Client Closed Request"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	case 508:
		return "Loop Detected"
	}
	return ""
}

// statusOf returns the status for the code of an error, unless Config.Status has
// another.
func statusOf(code int32) int {
	switch code {
	case socket.CodeConnClosed, socket.CodeWriteFailed, socket.CodeDialFailed:
		return 502
	}
	switch code {
	case 400, 401, 403, 404, 405, 408, 409, 413, 415, 417, 429, 431, 499, 500, 501, 502, 503, 505, 508:
		return int(code)
	}
	return business
}

// appendError appends an error in the dialect's keys.
func appendError(dst []byte, r *socket.Rerror, d Dialect) []byte {
	if d == V5 {
		return r.AppendJSON(dst)
	}
	b, _ := json.Marshal(struct { // of these fields it never fails
		Code  int32  `json:"code"`
		Msg   string `json:"msg"`
		Cause string `json:"cause"`
	}{r.Code, r.Message, r.Reason})
	return append(dst, b...)
}

// maxReason is how much of a body that is no error's becomes its reason.
const maxReason = 1 << 10

// responseError makes the error of a response that is none of success.
func responseError(status int, body []byte) *socket.Rerror {
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) > 0 && b[0] == '{' {
		r := new(socket.Rerror)
		if err := r.UnmarshalJSON(b); err == nil && r.HasError() {
			return r
		}
	}
	text := statusText(status)
	if text == "" {
		text = "HTTP status " + strconv.Itoa(status)
	}
	return socket.NewRerror(int32(status), text, cutText(body))
}

// cutText is the beginning of a body, for people.
func cutText(b []byte) string {
	b = bytes.TrimSpace(b)
	if len(b) > maxReason {
		b = b[:maxReason]
		for range utf8.UTFMax - 1 { // do not end within a character
			if r, n := utf8.DecodeLastRune(b); r == utf8.RuneError && n == 1 {
				b = b[:len(b)-1]
			}
		}
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}
