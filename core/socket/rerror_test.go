package socket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/internal/suite"
)

func TestCodeText(t *testing.T) {
	for _, test := range []struct {
		code, number int32
		text         string
		sentinel     error
	}{
		{CodeUnknownError, -1, "Unknown Error", nil},
		{CodeNoError, 0, "", nil},
		{CodeOK, 0, "", nil},
		{CodeInvalidOp, 1, "Invalid Operation", ErrInvalidOp},
		{CodeWrongConn, 100, "Wrong Connection", ErrWrongConn},
		{CodeConnClosed, 102, "Connection Closed", ErrConnClosed},
		{CodeWriteFailed, 104, "Write Failed", ErrWriteFailed},
		{CodeDialFailed, 105, "Dial Failed", ErrDialFailed},
		{CodeBadMessage, 400, "Bad Message", ErrBadMessage},
		{CodeUnauthorized, 401, "Unauthorized", ErrUnauthorized},
		{CodeNotFound, 404, "Not Found", ErrNotFound},
		{CodeMtypeNotAllowed, 405, "Message Type Not Allowed", ErrMtypeNotAllowed},
		{CodeHandleTimeout, 408, "Handle Timeout", ErrHandleTimeout},
		{CodeTooManyRequests, 429, "Too Many Requests", ErrTooManyRequests},
		{CodeCanceled, 499, "Canceled", ErrCanceled},
		{CodeInternalServerError, 500, "Internal Server Error", ErrInternalServerError},
		{CodeNotImplemented, 501, "Not Implemented", ErrNotImplemented},
		{CodeBadGateway, 502, "Bad Gateway", ErrBadGateway},
		{CodeBusy, 503, "Busy", ErrBusy},
		{CodeLoopDetected, 508, "Loop Detected", ErrLoopDetected},
		{2001, 2001, "Unknown Error", nil},
	} {
		if test.code != test.number || CodeText(test.code) != test.text {
			t.Errorf("code %d has text %q; want %d, %q", test.code, CodeText(test.code), test.number, test.text)
		}
		if test.sentinel == nil {
			continue
		}
		if got, want := test.sentinel.Error(), fmt.Sprintf("%d %s", test.number, test.text); got != want || Code(test.sentinel) != test.code {
			t.Errorf("sentinel %q has code %d; want %q, %d", got, Code(test.sentinel), want, test.code)
		}
		if err := NewRerror(test.code, "own message", "why").Err(); !errors.Is(err, test.sentinel) {
			t.Errorf("%v is not %v", err, test.sentinel)
		}
	}
}

func TestRerrorJSON(t *testing.T) {
	for _, test := range []struct {
		name string
		r    *Rerror
		want string
	}{
		{"not found", NewRerror(404, "Not Found", ""), `{"code":404,"message":"Not Found"}`},
		{"with reason", NewRerror(404, "Not Found", "no /math/add"), `{"code":404,"message":"Not Found","reason":"no /math/add"}`},
		{"reason alone", NewRerror(-1, "", "why"), `{"code":-1,"reason":"why"}`},
		{"code alone", NewRerror(2147483647, "", ""), `{"code":2147483647}`},
		{"no error", NewRerror(0, "", ""), `{"code":0}`},
		{"cause stays here", NewRerror(102, "", "").WithCause(io.EOF), `{"code":102}`},
		{"escapes", NewRerror(1, `a"b\c/d`, "\n\r\t\x00\x1f\x7f<>&"), `{"code":1,"message":"a\"b\\c/d","reason":"\n\r\t\u0000\u001f` + "\x7f" + `<>&"}`},
		{"beyond ASCII", NewRerror(1, "é 世界 😀 \ufffd", ""), `{"code":1,"message":"é 世界 😀 ` + "\ufffd" + `"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.r.String(); got != test.want {
				t.Errorf("String() = %s, want %s", got, test.want)
			}
			if got := string(test.r.AppendJSON([]byte("dst"))); got != "dst"+test.want {
				t.Errorf("AppendJSON = %s, want dst%s", got, test.want)
			}
			b, err := test.r.MarshalJSON()
			if string(b) != test.want || err != nil {
				t.Errorf("MarshalJSON = %s, %v; want %s", b, err, test.want)
			}
			for what, v := range map[string]any{"pointer": test.r, "value": *test.r} {
				var back Rerror
				b, err := json.Marshal(v)
				if err == nil {
					err = json.Unmarshal(b, &back)
				}
				if err != nil || !rerrorSame(&back, test.r) {
					t.Errorf("%s: %s reads as %v, %v; want %v", what, b, &back, err, test.r)
				}
			}
			m := new(Meta)
			test.r.SetToMeta(m)
			if got := string(m.Peek(MetaReplyError)); test.r.HasError() && got != test.want {
				t.Errorf("in the metadata: %s, want %s", got, test.want)
			}
			if got := NewRerrorFromMeta(m); test.r.HasError() && !rerrorSame(got, test.r) || !test.r.HasError() && got != nil {
				t.Errorf("from the metadata: %v, want %v", got, test.r)
			}
		})
	}
	t.Run("not UTF-8", func(t *testing.T) {
		if got, want := NewRerror(1, "a\xffb\xc3", "").String(), `{"code":1,"message":"a\ufffdb\ufffd"}`; got != want {
			t.Errorf("String() = %s, want %s", got, want)
		}
	})
}

// rerrorSame compares what is on the wire.
func rerrorSame(a, b *Rerror) bool {
	return a != nil && b != nil && a.Code == b.Code && a.Message == b.Message && a.Reason == b.Reason
}

// anyError is an error of encoding/json, whose words are its own.
const anyError = "any"

func TestRerrorUnmarshal(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     Rerror
		err      string // a part of its text; "" for none
	}{
		{"all", `{"code":404,"message":"m","reason":"r"}`, Rerror{Code: 404, Message: "m", Reason: "r"}, ""},
		{"any order, spaces, unknown keys", ` {"reason" : "r", "x":[{"code":1}], "code" : -7 } `, Rerror{Code: -7, Reason: "r"}, ""},
		{"any letter case", `{"Code":1,"MESSAGE":"m"}`, Rerror{Code: 1, Message: "m"}, ""},
		{"keys of v7", `{"code":404,"msg":"Not Found","cause":"why"}`, Rerror{Code: 404, Message: "Not Found", Reason: "why"}, ""},
		{"own keys win", `{"code":1,"msg":"x","message":"m","cause":"y","reason":"r"}`, Rerror{Code: 1, Message: "m", Reason: "r"}, ""},
		{"escapes", `{"code":1,"message":"\u00e9\ud83d\ude00\ud800\/\n"}`, Rerror{Code: 1, Message: "é😀\ufffd/\n"}, ""},
		{"code as text", `{"code":"404"}`, Rerror{Code: 404}, ""},
		{"code as float", `{"code":4.04e2}`, Rerror{Code: 404}, ""},
		{"code null", `{"code":null,"message":null}`, Rerror{}, ""},
		{"text of another type", `{"code":1,"message":12,"reason":{"a":[1]}}`, Rerror{Code: 1, Message: "12", Reason: `{"a":[1]}`}, ""},
		{"text of another type, not UTF-8", `{"code":1,"message":["` + "\xff" + `"]}`, Rerror{Code: 1, Message: "[\"\ufffd\"]"}, ""},
		{"nothing in it", `{}`, Rerror{}, ""},
		{"greatest code", `{"code":2147483647}`, Rerror{Code: 2147483647}, ""},
		{"least code", `{"code":-2147483648}`, Rerror{Code: -2147483648}, ""},
		{"code too great", `{"code":2147483648}`, Rerror{}, "32-bit"},
		{"code too small", `{"code":-2147483649}`, Rerror{}, "32-bit"},
		{"code with a fraction", `{"code":1.5}`, Rerror{}, "32-bit"},
		{"code is no number", `{"code":"NaN"}`, Rerror{}, "32-bit"},
		{"code is infinite", `{"code":"inf"}`, Rerror{}, "32-bit"},
		{"code is an object", `{"code":{}}`, Rerror{}, "32-bit"},
		{"empty", ``, Rerror{}, anyError},
		{"cut short", `{"code":404`, Rerror{}, anyError},
		{"more behind", `{"code":404}{`, Rerror{}, anyError},
		{"no object", `[404]`, Rerror{}, anyError},
		{"too deep", `{"x":` + strings.Repeat("[", 20000), Rerror{}, anyError},
		{"too long", `{"code":1,"reason":"` + strings.Repeat("x", maxRerrorJSON) + `"}`, Rerror{}, "over the limit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := Rerror{Code: 7, Message: "before", Reason: "before", cause: io.EOF}
			r := before
			err := r.UnmarshalJSON([]byte(test.in))
			if test.err != "" {
				if err == nil || test.err != anyError && !strings.Contains(err.Error(), test.err) || r != before {
					t.Errorf("UnmarshalJSON = %v, %v; want an error with %q and no change", &r, err, test.err)
				}
				m := new(Meta)
				m.Set(MetaReplyError, test.in)
				if r := NewRerrorFromMeta(m); r.HasError() != (test.in != "") {
					t.Errorf("NewRerrorFromMeta = %v: what cannot be read must stay an error", r)
				}
				return
			}
			if err != nil || r != test.want {
				t.Errorf("UnmarshalJSON = %v, %v; want %v without a cause", &r, err, &test.want)
			}
		})
	}
	t.Run("null changes nothing", func(t *testing.T) {
		r := Rerror{Code: 7}
		if err := r.UnmarshalJSON([]byte("null")); err != nil || r.Code != 7 {
			t.Errorf("UnmarshalJSON = %v, %v; want code 7", &r, err)
		}
	})
}

func TestRerrorMeta(t *testing.T) {
	m := metaOf("k", "v")
	if got := NewRerrorFromMeta(m); got != nil {
		t.Errorf("without the key: %v, want nil", got)
	}
	NewRerror(404, "Not Found", "").SetToMeta(m)
	NewRerror(500, "", "").SetToMeta(m)
	if got, want := m.String(), "k=v&X-Reply-Error=%7B%22code%22%3A500%7D"; got != want {
		t.Errorf("set twice: %q, want %q", got, want)
	}
	for _, none := range []*Rerror{nil, NewRerror(0, "fine", "")} {
		NewRerror(500, "", "").SetToMeta(m)
		if none.SetToMeta(m); m.String() != "k=v" {
			t.Errorf("%v leaves %q, want no error there", none, m)
		}
	}
	for _, none := range []string{"", "null", "{}", `{"code":0,"message":"fine"}`} {
		m.Set(MetaReplyError, none)
		if got := NewRerrorFromMeta(m); got != nil {
			t.Errorf("from %q: %v, want nil", none, got)
		}
	}
	m.Set(MetaReplyError, `{"code":`)
	r := NewRerrorFromMeta(m)
	if r == nil || r.Code != CodeUnknownError || r.Reason == "" || r.Cause() == nil {
		t.Errorf("unreadable: %v, want code -1 with a reason and a cause", r)
	}
	if got := NewRerrorFromMeta(nil); got != nil {
		t.Errorf("from nil: %v, want nil", got)
	}
	NewRerror(500, "", "").SetToMeta(nil)
}

func TestRerrorNil(t *testing.T) {
	var r *Rerror
	if r.HasError() || r.Copy() != nil || r.SetMessage("m") != nil || r.SetReason("r") != nil ||
		r.WithCause(io.EOF) != nil || r.Cause() != nil || r.Err() != nil || IsConnRerror(r) {
		t.Error("a method takes nil for an error")
	}
	if b, err := r.MarshalJSON(); r.String() != "<nil>" || string(b) != "null" || err != nil {
		t.Errorf("String() = %s, MarshalJSON = %s, %v; want <nil>, null", r, b, err)
	}
	if err := r.UnmarshalJSON([]byte(`{"code":1}`)); err == nil {
		t.Error("UnmarshalJSON into nil succeeded")
	}
	if got := fmt.Sprint(r); got != "<nil>" {
		t.Errorf("printed as %q, want <nil>", got)
	}
}

func TestRerrorChange(t *testing.T) {
	r := NewRerror(400, "m", "r")
	c := r.Copy()
	if r.SetMessage("m2").SetReason("r2") != r || r.Message != "m2" || r.Reason != "r2" {
		t.Errorf("after the setters: %v, want m2, r2", r)
	}
	if *c != *NewRerror(400, "m", "r") {
		t.Errorf("the copy changed to %v", c)
	}
	if d := r.WithCause(io.EOF); d == r || r.Cause() != nil || d.Cause() != io.EOF || d.Copy().Cause() != io.EOF {
		t.Error("WithCause must return a copy that has the cause, and leave r alone")
	}
	if _, ok := any(r).(error); ok {
		t.Error("a *Rerror is an error; it must not be")
	}
}

func TestRerrorErr(t *testing.T) {
	for _, test := range []struct {
		name   string
		r      *Rerror
		text   string // "" for no error
		is     []error
		not    []error
		unwrap error
	}{
		{name: "nil"},
		{name: "code 0", r: NewRerror(0, "fine", "why")},
		{name: "not found", r: NewRerror(404, "Not Found", "reason"), text: "404 Not Found: reason",
			is: []error{ErrNotFound}, not: []error{ErrBusy, io.EOF, context.Canceled}},
		{name: "without a reason", r: NewRerror(404, "Nothing Here", ""), text: "404 Nothing Here"},
		{name: "without a message", r: NewRerror(503, "", "full"), text: "503 Busy: full"},
		{name: "own code", r: NewRerror(2001, "", ""), text: "2001 Unknown Error", is: []error{NewRerror(2001, "x", "y").Err()}},
		{name: "deadline", r: NewRerror(408, "", ""), text: "408 Handle Timeout",
			is: []error{ErrHandleTimeout, context.DeadlineExceeded}, not: []error{context.Canceled, ErrCanceled}},
		{name: "cancelled", r: NewRerror(499, "", ""), text: "499 Canceled",
			is: []error{ErrCanceled, context.Canceled}, not: []error{context.DeadlineExceeded, ErrHandleTimeout}},
		{name: "with a cause", r: NewRerror(102, "", "").WithCause(io.ErrUnexpectedEOF), text: "102 Connection Closed",
			is: []error{ErrConnClosed, io.ErrUnexpectedEOF}, not: []error{io.EOF}, unwrap: io.ErrUnexpectedEOF},
		{name: "caused by another", r: NewRerror(502, "", "").WithCause(ErrConnClosed), text: "502 Bad Gateway",
			is: []error{ErrBadGateway, ErrConnClosed}, unwrap: ErrConnClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.r.Err()
			if test.text == "" {
				if err != nil {
					t.Errorf("Err() = %v, want nil", err)
				}
				return
			}
			if err == nil || err.Error() != test.text {
				t.Fatalf("Err() = %v, want %s", err, test.text)
			}
			if got := errors.Unwrap(err); got != test.unwrap {
				t.Errorf("Unwrap = %v, want %v", got, test.unwrap)
			}
			for depth, err := range []error{err, fmt.Errorf("tp: call /a: %w", err), errors.Join(io.ErrNoProgress, err)} {
				for _, target := range test.is {
					if !errors.Is(err, target) {
						t.Errorf("depth %d: %v is not %v", depth, err, target)
					}
				}
				for _, target := range test.not {
					if errors.Is(err, target) {
						t.Errorf("depth %d: %v is %v", depth, err, target)
					}
				}
				back := ToRerror(err)
				if back == nil || *back != *test.r || Code(err) != test.r.Code {
					t.Errorf("depth %d: ToRerror = %v, Code = %d; want %v", depth, back, Code(err), test.r)
				}
				if back == test.r {
					t.Errorf("depth %d: ToRerror gave the shared Rerror, want a copy", depth)
				}
			}
		})
	}
	t.Run("sentinels do not change", func(t *testing.T) {
		ToRerror(ErrNotFound).SetMessage("changed").SetReason("changed").Code = 1
		if got, want := ErrNotFound.Error(), "404 Not Found"; got != want {
			t.Errorf("ErrNotFound is now %q, want %q", got, want)
		}
	})
}

func TestToRerrorForeign(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"any", io.EOF, `{"code":-1,"message":"Unknown Error","reason":"EOF"}`},
		{"deadline", context.DeadlineExceeded, `{"code":408,"message":"Handle Timeout","reason":"context deadline exceeded"}`},
		{"cancelled", fmt.Errorf("read: %w", context.Canceled), `{"code":499,"message":"Canceled","reason":"read: context canceled"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := ToRerror(test.err)
			if r.String() != test.want || r.Cause() != test.err || Code(test.err) != r.Code {
				t.Errorf("ToRerror(%v) = %v, cause %v, Code %d; want %s", test.err, r, r.Cause(), Code(test.err), test.want)
			}
			if !errors.Is(r.Err(), test.err) {
				t.Errorf("%v is not %v", r.Err(), test.err)
			}
		})
	}
	if r := ToRerror(nil); r != nil || Code(nil) != 0 {
		t.Errorf("ToRerror(nil) = %v, Code(nil) = %d; want nil, 0", r, Code(nil))
	}
}

func TestIsConnRerror(t *testing.T) {
	for code, want := range map[int32]bool{0: false, 100: false, 102: true, 104: false, 105: true, 404: false, 502: false} {
		if got := IsConnRerror(NewRerror(code, "", "")); got != want {
			t.Errorf("IsConnRerror of %d = %t, want %t", code, got, want)
		}
	}
}

func TestRerrorMemory(t *testing.T) {
	var keep *Rerror
	var out error
	r, dst, m := NewRerror(404, "Not Found", "no handler for /a"), make([]byte, 0, 256), new(Meta)
	for name, test := range map[string]struct {
		want float64
		f    func()
	}{
		"new":       {1, func() { keep = NewRerror(404, "m", "r") }},
		"err":       {0, func() { out = r.Err() }},
		"code":      {0, func() { Code(r.Err()) }},
		"is":        {0, func() { errors.Is(r.Err(), ErrNotFound) }},
		"to rerror": {1, func() { keep = ToRerror(ErrNotFound) }},
		"append":    {0, func() { dst = r.AppendJSON(dst[:0]) }},
		"to meta":   {0, func() { m.Reset(); r.SetToMeta(m) }},
	} {
		if got := suite.Allocs(test.want, test.f); got != test.want {
			t.Errorf("%s: %v allocations, want %v", name, got, test.want)
		}
	}
	_, _ = keep, out
}

func FuzzRerrorWrite(f *testing.F) {
	f.Add(int32(404), "Not Found", "")
	f.Add(int32(-1), "\"\\\x00\u2028", "\xff\xc3\xa9")
	f.Fuzz(func(t *testing.T, code int32, message, reason string) {
		r := NewRerror(code, message, reason)
		b := r.AppendJSON(nil)
		if !json.Valid(b) || !utf8.Valid(b) {
			t.Fatalf("%q is not JSON", b)
		}
		var back Rerror
		if err := back.UnmarshalJSON(b); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		// Damaged bytes become one U+FFFD each, as in a conversion to runes.
		want := NewRerror(code, string([]rune(message)), string([]rune(reason)))
		if !rerrorSame(&back, want) {
			t.Fatalf("%s reads as %q %q, want %q %q", b, back.Message, back.Reason, want.Message, want.Reason)
		}
	})
}

func FuzzRerrorRead(f *testing.F) {
	for _, in := range []string{`{"code":404,"message":"Not Found","reason":"r"}`, `{"code":"1e3","msg":1,"cause":{}}`, `{"Code":null}`, `null`, `[`, `{"code":1e999}`, `"\ud800"`} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		original := bytes.Clone(in)
		var r Rerror
		err := r.UnmarshalJSON(in)
		if !bytes.Equal(in, original) {
			t.Fatalf("the input was changed to %q", in)
		}
		if err != nil {
			if r != (Rerror{}) {
				t.Fatalf("%q: %v, yet the Rerror is %v", in, err, &r)
			}
			return
		}
		var again Rerror
		if err := again.UnmarshalJSON(r.AppendJSON(nil)); err != nil || again != r {
			t.Fatalf("%q is %v, but written and read again %v, %v", in, &r, &again, err)
		}
	})
}
