package securelegacy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// stdJSON stands in for the JSON codec.
type stdJSON struct{}

func (stdJSON) ID() byte                           { return codec.JSON }
func (stdJSON) Name() string                       { return codec.NameJSON }
func (stdJSON) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (stdJSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// stdXML stands in for the XML codec.
type stdXML struct{}

func (stdXML) ID() byte                           { return codec.XML }
func (stdXML) Name() string                       { return codec.NameXML }
func (stdXML) Marshal(v any) ([]byte, error)      { return xml.Marshal(v) }
func (stdXML) Unmarshal(data []byte, v any) error { return xml.Unmarshal(data, v) }

func init() {
	codec.Register(stdJSON{})
	codec.Register(stdXML{})
}

func TestGolden(t *testing.T) {
	p, err := New("cipherkey1234567")
	if err != nil {
		t.Fatal(err)
	}
	l := p.(*legacy)
	text, err := os.ReadFile("testdata/golden/ciphertexts.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if f[0] == "#" {
			continue
		}
		if got := l.encrypt([]byte(f[0])); got != f[1] {
			t.Errorf("encrypt(%s) = %s; want %s", f[0], got, f[1])
		}
		if got, err := l.decrypt(envelope{CipherVersion: l.version, CipherText: f[1]}); err != nil || string(got) != f[0] {
			t.Errorf("decrypt(%s) = %s, %v; want %s", f[1], got, err, f[0])
		}
	}

	text, err = os.ReadFile("testdata/golden/v5-call.hex")
	if err != nil {
		t.Fatal(err)
	}
	frame, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	m := socket.NewMessage(tp.WithBody([]int{1, 2, 3}), tp.WithBodyCodec(codec.JSON), WithSecureMeta())
	if r := l.write(m); r != nil {
		t.Fatal(r)
	}
	body, err := m.MarshalBody()
	if err != nil {
		t.Fatal(err)
	}
	if want := append(m.Meta().AppendBytes(nil), append([]byte("j"), body...)...); !bytes.HasSuffix(frame, want) {
		t.Errorf("metadata, codec and body %q are not the end of %q", want, frame)
	}
	m.SetBody(nil)
	m.UnmarshalBody(body)
	if r := l.read(m); r != nil || string(m.RawBody()) != "[1,2,3]" {
		t.Errorf("read %q, %s; want [1,2,3]", m.RawBody(), r)
	}
}

// In XML v5 and v7 have no tag for the names.
func TestXML(t *testing.T) {
	text, err := os.ReadFile("testdata/golden/envelope.xml")
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.TrimSpace(text)
	e, err := unmarshalEnvelope(codec.XML, want)
	if err != nil || e.CipherVersion != "1ba49884c59b16619f411c7c80343c9c" || e.CipherText != "a2b37762f05bf0fc18a57076ca4d4a0c" {
		t.Fatalf("decoded %+v, %v", e, err)
	}
	if got, err := marshalEnvelope(codec.XML, envelope{CipherVersion: e.CipherVersion, CipherText: e.CipherText}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("encoded %s, %v; want %s", got, err, want)
	}
}

func TestDamaged(t *testing.T) {
	p, err := New("cipherkey1234567")
	if err != nil {
		t.Fatal(err)
	}
	l := p.(*legacy)
	raw := func(last ...byte) string { // one block that ends so
		b := make([]byte, 16)
		copy(b[16-len(last):], last)
		l.block.Encrypt(b, b)
		return hex.EncodeToString(b)
	}
	for _, test := range []struct {
		name, text string
		err        error
	}{
		{"empty", "", ErrTruncated},
		{"cut short", "a2b37762f05bf0fc18a57076ca4d4a", ErrTruncated},
		{"odd", "a2b", hex.ErrLength},
		{"no hex", "zz", hex.InvalidByteError('z')},
		{"padding 0", raw(0), ErrAltered},
		{"padding over a block", raw(17), ErrAltered},
		{"padding 255", raw(255), ErrAltered},
		{"padding of different bytes", raw(1, 2, 3), ErrAltered},
	} {
		if got, err := l.decrypt(envelope{CipherVersion: l.version, CipherText: test.text}); !errors.Is(err, test.err) {
			t.Errorf("%s: %q, %v; want %v", test.name, got, err, test.err)
		}
	}
	if _, err := l.decrypt(envelope{CipherVersion: strings.Repeat("v", 64<<10)}); !errors.Is(err, ErrKey) || len(err.Error()) > 300 {
		t.Errorf("foreign version: %v; want ErrKey, in few words", err)
	}
}

func TestProtobuf(t *testing.T) {
	want := envelope{CipherVersion: strings.Repeat("v", 200), CipherText: "text"}
	b, err := marshalEnvelope(codec.Protobuf, want)
	if err != nil {
		t.Fatal(err)
	}
	if wire := "0ac801" + strings.Repeat("76", 200) + "120474657874"; hex.EncodeToString(b) != wire {
		t.Errorf("encoded %x; want %s", b, wire)
	}
	if got, err := unmarshalEnvelope(codec.Protobuf, b); err != nil || got != want {
		t.Errorf("decoded %v, %v; want %v", got, err, want)
	}
	for n := 1; n < len(b); n++ {
		if n == 203 { // the end of the first field
			continue
		}
		if got, err := unmarshalEnvelope(codec.Protobuf, b[:n]); err == nil {
			t.Errorf("cut to %d bytes: %v; want an error", n, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	p, err := New("cipherkey1234567")
	if err != nil {
		f.Fatal(err)
	}
	l := p.(*legacy)
	for _, id := range []byte{codec.JSON, codec.Protobuf} {
		b, err := marshalEnvelope(id, envelope{CipherVersion: l.version, CipherText: l.encrypt([]byte("[1,2,3]"))})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(id == codec.Protobuf, b)
		f.Add(id == codec.Protobuf, b[:len(b)-3])
	}
	f.Fuzz(func(t *testing.T, pb bool, b []byte) {
		id := codec.JSON
		if pb {
			id = codec.Protobuf
		}
		m := socket.NewMessage(tp.WithBodyCodec(id), WithSecureMeta())
		m.UnmarshalBody(b)
		if r := l.read(m); r == nil && len(m.RawBody()) >= len(b) {
			t.Errorf("%q was opened as %q", b, m.RawBody())
		}
	})
}
