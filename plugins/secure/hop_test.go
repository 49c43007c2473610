package secure

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"math/rand/v2"
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

func TestLegacyGolden(t *testing.T) {
	p, err := Legacy("cipherkey1234567")
	if err != nil {
		t.Fatal(err)
	}
	l := p.(*legacy)
	text, err := os.ReadFile("testdata/golden/legacy.txt")
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

	text, err = os.ReadFile("testdata/golden/legacy-v5-call.hex")
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

// In XML the older ages have no tag for the names.
func TestLegacyXML(t *testing.T) {
	text, err := os.ReadFile("testdata/golden/legacy.xml")
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

func TestLegacyDamaged(t *testing.T) {
	p, err := Legacy("cipherkey1234567")
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

func TestLegacyProtobuf(t *testing.T) {
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

// ends are the two ends of a connection, and a message of each kind.
func ends(t testing.TB) (dialler, acceptor *hop) {
	keys, err := NewKeys(Key{7, bytes.Repeat([]byte("k"), 16)})
	if err != nil {
		t.Fatal(err)
	}
	return &hop{keys: keys, out: fromDialler, in: fromAcceptor}, &hop{keys: keys, out: fromAcceptor, in: fromDialler}
}

func message(mtype byte, seq int32, method string) tp.Message {
	return socket.NewMessage(tp.WithMtype(mtype), socket.WithSeq(seq), tp.WithServiceMethod(method), tp.WithBodyCodec('j'))
}

func TestSealOpen(t *testing.T) {
	dialler, acceptor := ends(t)
	sent := message(tp.TypeCall, 3, "/a?b")
	sealed, err := dialler.seal(nil, sent, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	if want := minSealed + len("body"); len(sealed) != want || !bytes.HasPrefix(sealed, []byte{1, 0, 0, 0, 7}) {
		t.Errorf("sealed %x; want %d bytes that begin with version 1, key 7", sealed, want)
	}
	got := message(tp.TypeCall, 3, "/a?b")
	got.SetBodyCodec('x') // altered: the sealed one counts
	for n := range sealed {
		_, _, err := acceptor.open(got, sealed[:n])
		if want := map[bool]error{true: ErrTruncated, false: ErrAltered}[n < minSealed]; !errors.Is(err, want) {
			t.Errorf("cut to %d bytes: %v; want %v", n, err, want)
		}
		b := bytes.Clone(sealed)
		b[n] ^= 0x10
		_, _, err = acceptor.open(got, b)
		if want := map[bool]error{n == 0: ErrVersion, 1 <= n && n < 5: ErrKey, n >= 5: ErrAltered}[true]; !errors.Is(err, want) {
			t.Errorf("byte %d altered: %v; want %v", n, err, want)
		}
	}
	for _, test := range []struct {
		name string
		m    tp.Message
		by   *hop
	}{
		{"other type", message(tp.TypePush, 3, "/a?b"), acceptor},
		{"other number", message(tp.TypeCall, 4, "/a?b"), acceptor},
		{"other method", message(tp.TypeCall, 3, "/a"), acceptor},
		{"other direction", got, dialler},
		{"other connection", got, &hop{keys: acceptor.keys, in: fromDialler, nonce: [16]byte{1}}},
	} {
		if _, _, err := test.by.open(test.m, sealed); !errors.Is(err, ErrAltered) {
			t.Errorf("%s: %v; want %v", test.name, err, ErrAltered)
		}
	}
	body, id, err := acceptor.open(got, sealed)
	if err != nil || string(body) != "body" || id != 'j' {
		t.Errorf("open = %q, %c, %v; want body, j", body, id, err)
	}
	if _, _, err := acceptor.open(got, sealed); !errors.Is(err, ErrReplayed) {
		t.Errorf("opened again: %v; want %v", err, ErrReplayed)
	}
}

func TestSealLimit(t *testing.T) {
	dialler, acceptor := ends(t)
	live := (*dialler.keys.live.Load())[0]
	live.seals.Store(maxSeals - 1)
	m := message(tp.TypePush, 1, "/a")
	sealed, err := dialler.seal(nil, m, nil)
	if err != nil {
		t.Fatalf("seal number 2^32: %v", err)
	}
	for range 3 {
		if b, err := dialler.seal(nil, m, nil); !errors.Is(err, ErrRotate) || b != nil {
			t.Errorf("one seal more: %x, %v; want %v", b, err, ErrRotate)
		}
	}
	if _, _, err := acceptor.open(m, sealed); err != nil {
		t.Errorf("the key is still to open with: %v", err)
	}
	if err := dialler.keys.Prepare(Key{8, make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	if err := dialler.keys.Switch(); err != nil {
		t.Fatal(err)
	}
	if _, err := dialler.seal(nil, m, nil); err != nil {
		t.Errorf("with the next key: %v", err)
	}
}

func TestWindow(t *testing.T) {
	for _, test := range []struct {
		name string
		n    []uint64
		want string // y or n each
	}{
		{"in order", []uint64{1, 2, 3, 3, 2, 1}, "yyynnn"},
		{"zero", []uint64{0, 1, 0}, "nyn"},
		{"out of order", []uint64{5, 3, 4, 3, 1, 2, 6, 5}, "yyynyyyn"},
		{"oldest", []uint64{1025, 2, 1, 2}, "yynn"},
		{"too old", []uint64{2000, 976, 977, 977}, "ynyn"},
		{"a jump forgets", []uint64{7, 7 + 1024, 8, 7, 7 + 2048, 8 + 1024}, "yyynyy"},
		{"a far jump", []uint64{9, 1 << 40, 9, 1<<40 - 1023, 1<<40 - 1024, 1 << 40}, "yynynn"},
		{"the last", []uint64{1<<64 - 1, 1<<64 - 1, 1<<64 - 1024, 1<<64 - 1025}, "ynyn"},
	} {
		var w window
		got := ""
		for _, n := range test.n {
			got += map[bool]string{true: "y", false: "n"}[w.take(n)]
		}
		if got != test.want {
			t.Errorf("%s: %v: %s; want %s", test.name, test.n, got, test.want)
		}
	}
}

func TestWindowModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var w window
	seen, highest := map[uint64]bool{}, uint64(0)
	for range 100_000 {
		n := uint64(max(int64(highest)+rng.Int64N(3000)-2500, 0))
		if rng.IntN(5) == 0 {
			n = highest + 1
		}
		want := n > 0 && !seen[n] && n+windowSize > highest
		if got := w.take(n); got != want {
			t.Fatalf("take(%d) = %t with highest %d; want %t", n, got, highest, want)
		}
		if want {
			seen[n], highest = true, max(highest, n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	dialler, acceptor := ends(f)
	m := message(tp.TypeCall, 3, "/a")
	sealed, err := dialler.seal(nil, m, []byte("body"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed[:minSealed])
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		if body, _, err := acceptor.open(m, b); err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("opened %x as %x", b, body)
		}
	})
}

func FuzzLegacy(f *testing.F) {
	p, err := Legacy("cipherkey1234567")
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
