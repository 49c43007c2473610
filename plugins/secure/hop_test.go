package secure

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
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

func init() { codec.Register(stdJSON{}) }

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
	if want := minSealed + len("body"); len(sealed) != want || !bytes.HasPrefix(sealed, []byte{version, 0, 0, 0, 7}) {
		t.Errorf("sealed %x; want %d bytes that begin with the version, key 7", sealed, want)
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
	f.Add([]byte{version, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		if body, _, err := acceptor.open(m, b); err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("opened %x as %x", b, body)
		}
	})
}
