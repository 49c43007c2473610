package secure

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// goldenStream returns the two sides of a stream, as their ids are in the golden messages.
func goldenStream(t *testing.T) (opener, handler *sealedStream) {
	t.Helper()
	p := EndToEnd(goldenKeys(t)).(*endToEnd)
	of := id([]byte("id is 16 bytes.."))
	opener, handler = p.openedStream(of), p.acceptedStream(of)
	handler.me = id([]byte("handler's, of 16"))
	return opener, handler
}

// What was sealed once opens for ever, in its place.
func TestStreamGolden(t *testing.T) {
	opener, handler := goldenStream(t)
	for _, test := range []struct {
		file     string
		from, to *sealedStream
		mtype    byte
		number   int64
		inner    string
	}{
		{"stream-opener.hex", opener, handler, tp.TypeData, 3, `j"hello"`},
		{"stream-handler.hex", handler, opener, tp.TypeData, 1, `j"oh"`},
		{"stream-end.hex", opener, handler, tp.TypeControl, 3, ""},
		{"stream-reply.hex", handler, opener, tp.TypeReply, 1, ""},
	} {
		t.Run(test.file, func(t *testing.T) {
			sealed := golden(t, test.file)
			open := func(what string, to *sealedStream, sealed []byte, mtype byte, number int64, want bool) {
				t.Helper()
				inner, err := to.open(sealed, mtype, number)
				if want && (err != nil || string(inner) != test.inner) {
					t.Errorf("%s: %q, %v; want %q", what, inner, err, test.inner)
				}
				if !want && err == nil {
					t.Errorf("%s: opened", what)
				}
			}
			for _, known := range []bool{false, true} { // to the opener the handler
				if known {
					open("as sent", test.to, sealed, test.mtype, test.number, true)
				}
				for _, number := range []int64{0, test.number - 1, test.number + 1, -test.number, test.number << 32} {
					if number != test.number {
						open("another number", test.to, sealed, test.mtype, number, false)
					}
				}
				for _, mtype := range []byte{0, tp.TypeCall, tp.TypeReply, tp.TypePush, tp.TypeControl, tp.TypeData} {
					if mtype != test.mtype {
						open("another type", test.to, sealed, mtype, test.number, false)
					}
				}
				open("at the sender", test.from, sealed, test.mtype, test.number, false)
				flips(sealed, func(what string, altered []byte) {
					open(what, test.to, altered, test.mtype, test.number, false)
				})
				for n := range sealed {
					open("cut short", test.to, sealed[:n], test.mtype, test.number, false)
				}
				open("lengthened", test.to, append(bytes.Clone(sealed), 0), test.mtype, test.number, false)
			}
			other := EndToEnd(goldenKeys(t)).(*endToEnd).openedStream(id([]byte("id of another...")))
			open("another stream", other, sealed, test.mtype, test.number, false)
		})
	}
}

// An end that does not say what it should is refused.
func TestStreamReplyForms(t *testing.T) {
	opener, handler := goldenStream(t)
	seal := func(number int64) string {
		sealed, err := handler.seal(tp.TypeReply, number, nil)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(sealed)
	}
	good := seal(7)
	for _, test := range []struct {
		name  string
		pairs []string
		want  error // nil: it is accepted
	}{
		{"as it is sent", []string{tp.MetaStream, "7", MetaSecureEnd, good, "k", "v"}, nil},
		{"no number", []string{MetaSecureEnd, good}, ErrTruncated},
		{"two numbers", []string{tp.MetaStream, "7", tp.MetaStream, "8", MetaSecureEnd, good}, ErrTruncated},
		{"no such number", []string{tp.MetaStream, "seven", MetaSecureEnd, good}, ErrTruncated},
		{"another number", []string{tp.MetaStream, "6", MetaSecureEnd, good}, ErrAltered},
		{"plain", []string{tp.MetaStream, "7"}, ErrPlain},
		{"the mark of a call", []string{tp.MetaStream, "7", MetaSecureEnd, "true"}, ErrTruncated},
		{"empty", []string{tp.MetaStream, "7", MetaSecureEnd, ""}, ErrTruncated},
		{"no base64", []string{tp.MetaStream, "7", MetaSecureEnd, good + "="}, ErrAltered},
		{"twice", []string{tp.MetaStream, "7", MetaSecureEnd, good, MetaSecureEnd, good}, ErrAltered},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := message(tp.TypeReply, 1, "")
			m.Meta().ParseBytes(wireMeta(test.pairs...))
			if err := opener.readReply(m); !errors.Is(err, test.want) {
				t.Errorf("%v; want %v", err, test.want)
			}
		})
	}
	m := message(tp.TypeReply, 1, "")
	m.SetBody("of a hook")
	if r := handler.writeReply(m); r == nil || r.Code != tp.CodeInternalServerError || !strings.Contains(r.Reason, "while one was sent") {
		t.Errorf("a REPLY that does not say how many messages were sent: %s; want 500", r)
	}
}

// A key that has sealed as much as it may seals no message of the stream, until another
// is switched to.
func TestStreamRotate(t *testing.T) {
	opener, _ := goldenStream(t)
	if _, err := opener.seal(tp.TypeData, 1, nil); err != nil {
		t.Fatal(err)
	}
	opener.out.key.seals.Store(maxSeals)
	if _, err := opener.seal(tp.TypeData, 2, nil); !errors.Is(err, ErrRotate) {
		t.Errorf("%v; want %v", err, ErrRotate)
	}
	if err := opener.keys.Prepare(Key{7, bytes.Repeat([]byte("x"), 16)}); err != nil {
		t.Fatal(err)
	}
	if err := opener.keys.Switch(); err != nil {
		t.Fatal(err)
	}
	if _, err := opener.seal(tp.TypeData, 2, nil); err != nil {
		t.Error(err)
	}
	if _, seals := opener.keys.Current(); seals != 0 {
		t.Errorf("the messages of the stream count for the key: %d", seals)
	}
}

// Nothing but a sealed message opens, whatever the bytes.
func FuzzStreamOpen(f *testing.F) {
	p := EndToEnd(goldenKeys(f)).(*endToEnd)
	of := id([]byte("id is 16 bytes.."))
	sealed := golden(f, "stream-opener.hex") // the same in all processes
	f.Add(sealed, int64(3))
	f.Add(sealed[:len(sealed)-1], int64(3))
	f.Add(sealed[:minStreamSealed], int64(2))
	f.Add([]byte{streamVersion, 1, 2, 3, 4}, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, number int64) {
		for _, s := range []*sealedStream{p.openedStream(of), p.acceptedStream(of)} {
			inner, err := s.open(b, tp.TypeData, number)
			if genuine := s.known && bytes.Equal(b, sealed) && number == 3; genuine != (err == nil) {
				t.Errorf("open = %q, %v of %x", inner, err, b)
			}
			m := message(tp.TypeReply, 1, "")
			m.Meta().Set(tp.MetaStream, "1")
			m.Meta().Set(MetaSecureEnd, string(b))
			if err := s.readReply(m); err == nil {
				t.Errorf("accepted the end %q", b)
			}
		}
	})
}
