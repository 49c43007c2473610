package socket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/internal/suite"
)

// metaOf makes a Meta of key, value, key, value …
func metaOf(kv ...string) *Meta {
	m := new(Meta)
	for i := 0; i+1 < len(kv); i += 2 {
		m.Add(kv[i], kv[i+1])
	}
	return m
}

// metaPairs is the inverse of metaOf, through both ways to visit.
func metaPairs(t testing.TB, m *Meta) []string {
	t.Helper()
	kv, visited := []string{}, []string{}
	for k, v := range m.All() {
		kv = append(kv, string(k), string(v))
	}
	m.VisitAll(func(k, v []byte) { visited = append(visited, string(k), string(v)) })
	if !slices.Equal(kv, visited) || len(kv) != 2*m.Len() {
		t.Errorf("All gives %q, VisitAll %q, Len %d", kv, visited, m.Len())
	}
	return kv
}

func TestMetaEncode(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	for _, test := range []struct {
		name string
		kv   []string
		want string
	}{
		{"nothing", nil, ""},
		{"value", []string{"k", "v 1/é"}, "k=v%201%2F%C3%A9"},
		{"reply", []string{"who", "srv 1"}, "who=srv%201"},
		{"empty value", []string{"a", ""}, "a"},
		{"empty key", []string{"", "x"}, "=x"},
		{"empty pair", []string{"", ""}, "="},
		{"empty pairs between", []string{"a", "1", "", "", "b", "", "", ""}, "a=1&=&b&="},
		{"literal bytes", []string{"AZaz09*-._", "AZaz09*-._"}, "AZaz09*-._=AZaz09*-._"},
		{"separators", []string{"a=&+%", "a=&+%"}, "a%3D%26%2B%25=a%3D%26%2B%25"},
		{"order and repetition", []string{"b", "1", "a", "2", "b", "3"}, "b=1&a=2&b=3"},
		{"not found", []string{"X-Reply-Error", `{"code":404,"message":"Not Found"}`},
			"X-Reply-Error=%7B%22code%22%3A404%2C%22message%22%3A%22Not%20Found%22%7D"},
		{"every byte", []string{string(all), ""}, "" +
			"%00%01%02%03%04%05%06%07%08%09%0A%0B%0C%0D%0E%0F%10%11%12%13%14%15%16%17%18%19%1A%1B%1C%1D%1E%1F" +
			"%20%21%22%23%24%25%26%27%28%29*%2B%2C-.%2F0123456789%3A%3B%3C%3D%3E%3F" +
			"%40ABCDEFGHIJKLMNOPQRSTUVWXYZ%5B%5C%5D%5E_%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D%7E%7F" +
			"%80%81%82%83%84%85%86%87%88%89%8A%8B%8C%8D%8E%8F%90%91%92%93%94%95%96%97%98%99%9A%9B%9C%9D%9E%9F" +
			"%A0%A1%A2%A3%A4%A5%A6%A7%A8%A9%AA%AB%AC%AD%AE%AF%B0%B1%B2%B3%B4%B5%B6%B7%B8%B9%BA%BB%BC%BD%BE%BF" +
			"%C0%C1%C2%C3%C4%C5%C6%C7%C8%C9%CA%CB%CC%CD%CE%CF%D0%D1%D2%D3%D4%D5%D6%D7%D8%D9%DA%DB%DC%DD%DE%DF" +
			"%E0%E1%E2%E3%E4%E5%E6%E7%E8%E9%EA%EB%EC%ED%EE%EF%F0%F1%F2%F3%F4%F5%F6%F7%F8%F9%FA%FB%FC%FD%FE%FF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := metaOf(test.kv...)
			if got := m.String(); got != test.want {
				t.Errorf("String() = %q, want %q", got, test.want)
			}
			if got := string(m.QueryString()); got != test.want {
				t.Errorf("QueryString() = %q, want %q", got, test.want)
			}
			if got := string(m.AppendBytes([]byte("dst"))); got != "dst"+test.want {
				t.Errorf("AppendBytes = %q, want %q", got, "dst"+test.want)
			}
			if got := m.EncodedLen(); got != len(test.want) {
				t.Errorf("EncodedLen() = %d, want %d", got, len(test.want))
			}
			var w bytes.Buffer
			if n, err := m.WriteTo(&w); n != int64(len(test.want)) || err != nil || w.String() != test.want {
				t.Errorf("WriteTo = %d, %v, wrote %q; want %q", n, err, &w, test.want)
			}
			back := new(Meta)
			back.Parse(test.want)
			if got := metaPairs(t, back); !slices.Equal(got, metaPairs(t, m)) {
				t.Errorf("Parse(%q) = %q, want %q", test.want, got, test.kv)
			}
		})
	}
}

func TestMetaDecode(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"with equals sign", "a=", []string{"a", ""}},
		{"without equals sign", "a", []string{"a", ""}},
		{"empty key", "=x", []string{"", "x"}},
		{"empty pair", "=", []string{"", ""}},
		{"empty segments", "&&a=1&", []string{"a", "1"}},
		{"only empty segments", "&&&", nil},
		{"plus is a space", "a+b=c+d", []string{"a b", "c d"}},
		{"not hexadecimal", "a=%zz", []string{"a", "%zz"}},
		{"half hexadecimal", "a=%4z&b=%z4", []string{"a", "%4z", "b", "%z4"}},
		{"cut short", "a=%4", []string{"a", "%4"}},
		{"cut short by a separator", "a=%4&b=%&%=%1", []string{"a", "%4", "b", "%", "%", "%1"}},
		{"percent before an escape", "a=%%41%%", []string{"a", "%A%%"}},
		{"either letter case", "a=%c3%A9%aF", []string{"a", "\xc3\xa9\xaf"}},
		{"two equals signs", "a==b", []string{"a", "=b"}},
		{"equals sign in the value", "k=v=w", []string{"k", "v=w"}},
		{"escaped separators", "%61%3d%26=%3D%26&b", []string{"a=&", "=&", "b", ""}},
		{"decoded once", "a=%2541", []string{"a", "%41"}},
		{"not escaped", "k=é /\x00", []string{"k", "é /\x00"}},
		{"repetition", "a=1&b=2&a=3", []string{"a", "1", "b", "2", "a", "3"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := metaOf("old", "pair")
			m.Parse(test.in)
			if got := metaPairs(t, m); !slices.Equal(got, test.want) {
				t.Errorf("Parse(%q) = %q, want %q", test.in, got, test.want)
			}
			in := []byte(test.in)
			m.ParseBytes(in)
			for i := range in {
				in[i] = '!' // must not be seen
			}
			if got := metaPairs(t, m); !slices.Equal(got, test.want) {
				t.Errorf("ParseBytes(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}

func TestMetaChange(t *testing.T) {
	for _, test := range []struct {
		name     string
		do       func(m *Meta)
		in, want string
	}{
		{"add", func(m *Meta) { m.Add("a", "3"); m.Add("", "4") }, "a=1&b=2", "a=1&b=2&a=3&=4"},
		{"add bytes", func(m *Meta) {
			m.AddBytesK([]byte("a"), "1")
			m.AddBytesV("b", []byte("2"))
			m.AddBytesKV([]byte("c"), []byte("3"))
		}, "", "a=1&b=2&c=3"},
		{"set same length", func(m *Meta) { m.Set("b", "9") }, "a=1&b=2&c=3", "a=1&b=9&c=3"},
		{"set longer", func(m *Meta) { m.Set("b", "987654321") }, "a=1&b=2&c=3&d=4", "a=1&b=987654321&c=3&d=4"},
		{"set shorter", func(m *Meta) { m.Set("b", "9") }, "a=1&b=2222222&c=3&d=4", "a=1&b=9&c=3&d=4"},
		{"set empty", func(m *Meta) { m.Set("b", "") }, "a=1&b=2&c=3", "a=1&b&c=3"},
		{"set last", func(m *Meta) { m.Set("b", "22") }, "a=1&b=2", "a=1&b=22"},
		{"set absent", func(m *Meta) { m.Set("c", "3") }, "a=1&b=2", "a=1&b=2&c=3"},
		{"set first match only", func(m *Meta) { m.Set("b", "99") }, "a=1&b=2&b=3&c=4&b=5", "a=1&b=99&b=3&c=4&b=5"},
		{"set bytes", func(m *Meta) {
			m.SetBytesK([]byte("a"), "11")
			m.SetBytesV("b", []byte("22"))
			m.SetBytesKV([]byte("c"), []byte("33"))
		}, "a=1&b=2&c=3&d=4", "a=11&b=22&c=33&d=4"},
		{"set uint", func(m *Meta) { m.SetUint("b", 1234); m.SetUint("d", 0); m.SetUint("e", -5) }, "a=1&b=2&c=3", "a=1&b=1234&c=3&d=0&e=-5"},
		{"delete", func(m *Meta) { m.Del("b") }, "a=1&b=2&c=3", "a=1&c=3"},
		{"delete absent", func(m *Meta) { m.Del("x"); m.Del("") }, "a=1&b=2", "a=1&b=2"},
		{"delete adjacent", func(m *Meta) { m.Del("b") }, "b=1&b=2&b=3&a=4&b=5&b=6&c=77&b", "a=4&c=77"},
		{"delete all", func(m *Meta) { m.DelBytes([]byte("b")) }, "b=1&b=2&b", ""},
		{"delete only whole keys", func(m *Meta) { m.Del("b") }, "bb=1&b=2&B=3&ab=4", "bb=1&B=3&ab=4"},
		{"delete empty key", func(m *Meta) { m.Del("") }, "=1&a=2&=&b", "a=2&b"},
		{"change after delete", func(m *Meta) { m.Del("a"); m.Set("b", "22"); m.Add("a", "9") }, "a=1&b=2&a=3&c=4", "b=22&c=4&a=9"},
		{"reset", func(m *Meta) { m.Reset(); m.Add("x", "y") }, "a=1&b=2", "x=y"},

		// What a Meta has returned may be an argument of its methods.
		{"add own", func(m *Meta) { m.AddBytesKV(m.Peek("a"), m.Peek("b")) }, "a=one&b=two", "a=one&b=two&one=two"},
		{"set own, longer", func(m *Meta) { m.SetBytesV("a", m.Peek("b")) }, "a=1&b=22222&c=3", "a=22222&b=22222&c=3"},
		{"set own, shorter", func(m *Meta) { m.SetBytesV("a", m.Peek("c")) }, "a=11111&b=2&c=3", "a=3&b=2&c=3"},
		{"set own, earlier", func(m *Meta) { m.SetBytesV("c", m.Peek("a")) }, "a=11111&b=2&c=3&d=4", "a=11111&b=2&c=11111&d=4"},
		{"set own key", func(m *Meta) { m.SetBytesK(m.Peek("k"), "9") }, "x&b=1&k=b", "x&b=9&k=b"},
		{"delete own", func(m *Meta) { m.DelBytes(m.Peek("b")) }, "b=b&a=1&b=b&b=2&c=3", "a=1&c=3"},
		{"delete own, later", func(m *Meta) { m.DelBytes(m.Peek("z")) }, "b=b&a=1&b=2&z=b&b=3&c=3", "a=1&z=b&c=3"},
		{"parse own", func(m *Meta) { m.ParseBytes(m.Peek("b")) }, "a=1&b=x%3D%2541%26y%3D+%26&c", "x=A&y=%20"},
		{"parse own query", func(m *Meta) { m.ParseBytes(m.QueryString()) }, "a=%20&b", "a=%20&b"},
		{"copy to itself", func(m *Meta) { m.CopyTo(m) }, "a=1&b=2", "a=1&b=2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := new(Meta)
			for _, room := range []string{"tight", "wide"} { // the second time the memory is there
				m.Parse(test.in)
				test.do(m)
				if got := m.String(); got != test.want {
					t.Errorf("%s: %q became %q, want %q", room, test.in, got, test.want)
				}
				m.Parse(strings.Repeat("room=for+more&", 20))
			}
		})
	}
}

func TestMetaPeek(t *testing.T) {
	m := metaOf("a", "1", "", "no key", "b", "", "a", "2")
	for _, test := range []struct {
		key   string
		want  []byte
		multi []string
	}{
		{"a", []byte("1"), []string{"1", "2"}},
		{"b", []byte{}, []string{""}},
		{"", []byte("no key"), []string{"no key"}},
		{"A", nil, nil},
		{"absent", nil, nil},
	} {
		t.Run(fmt.Sprintf("key %q", test.key), func(t *testing.T) {
			for _, got := range [][]byte{m.Peek(test.key), m.PeekBytes([]byte(test.key))} {
				if !bytes.Equal(got, test.want) || (got == nil) != (test.want == nil) {
					t.Errorf("Peek = %#v, want %#v", got, test.want)
				}
			}
			for _, got := range [][][]byte{m.PeekMulti(test.key), m.PeekMultiBytes([]byte(test.key))} {
				if !slices.EqualFunc(got, test.multi, func(b []byte, s string) bool { return b != nil && string(b) == s }) {
					t.Errorf("PeekMulti = %q, want %q", got, test.multi)
				}
			}
			if want := test.want != nil; m.Has(test.key) != want || m.HasBytes([]byte(test.key)) != want {
				t.Errorf("Has = %t, HasBytes = %t, want %t", m.Has(test.key), m.HasBytes([]byte(test.key)), want)
			}
		})
	}

	if got := metaOf("", "").Peek(""); got == nil {
		t.Error("the value of an empty pair is nil, want empty: it is present")
	}
	_ = append(m.Peek("a"), "scribble"...)
	if got, want := m.String(), "a=1&=no%20key&b&a=2"; got != want {
		t.Errorf("an append to a peeked value changed the pairs to %q, want %q", got, want)
	}
	for range m.All() {
		break // All must stop here
	}
}

func TestMetaNumbers(t *testing.T) {
	const whole, part = 1, 2 // GetUint accepts; GetUfloat accepts
	for _, test := range []struct {
		name, value string
		accepts     int
		number      float64
		uintErr     error
		ufloatErr   error
	}{
		{"zero", "0", whole | part, 0, nil, nil},
		{"digits", "12345", whole | part, 12345, nil, nil},
		{"leading zeros", "007", whole | part, 7, nil, nil},
		{"fraction", "1.5", part, 1.5, strconv.ErrSyntax, nil},
		{"fraction alone", ".5", part, .5, strconv.ErrSyntax, nil},
		{"exponent", "2e3", part, 2000, strconv.ErrSyntax, nil},
		{"empty", "", 0, 0, strconv.ErrSyntax, strconv.ErrSyntax},
		{"negative", "-1", 0, 0, strconv.ErrSyntax, strconv.ErrSyntax},
		{"plus", "+1", 0, 0, strconv.ErrSyntax, strconv.ErrSyntax},
		{"space", " 1", 0, 0, strconv.ErrSyntax, strconv.ErrSyntax},
		{"underscore", "1_0", 0, 0, strconv.ErrSyntax, strconv.ErrSyntax},
		{"hexadecimal", "0x10", 0, 0, strconv.ErrSyntax, strconv.ErrSyntax},
		{"hexadecimal float", "0x1p4", 0, 0, strconv.ErrSyntax, strconv.ErrSyntax},
		{"infinite", "inf", 0, 0, strconv.ErrSyntax, strconv.ErrSyntax},
		{"not a number", "NaN", 0, 0, strconv.ErrSyntax, strconv.ErrSyntax},
		{"over int", "9223372036854775808", part, 9223372036854775808, strconv.ErrRange, nil},
		{"over float", "1e999", 0, 0, strconv.ErrSyntax, strconv.ErrRange},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := metaOf("n", test.value)
			want := 0
			if test.accepts&whole != 0 {
				want = int(test.number)
			}
			if got, err := m.GetUint("n"); got != want || !errors.Is(err, test.uintErr) {
				t.Errorf("GetUint(%q) = %d, %v; want %d, %v", test.value, got, err, want, test.uintErr)
			}
			if got := m.GetUintOrZero("n"); got != want {
				t.Errorf("GetUintOrZero(%q) = %d, want %d", test.value, got, want)
			}
			if got, err := m.GetUfloat("n"); got != test.number || !errors.Is(err, test.ufloatErr) {
				t.Errorf("GetUfloat(%q) = %v, %v; want %v, %v", test.value, got, err, test.number, test.ufloatErr)
			}
			if got := m.GetUfloatOrZero("n"); got != test.number {
				t.Errorf("GetUfloatOrZero(%q) = %v, want %v", test.value, got, test.number)
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		_, uintErr := new(Meta).GetUint("x")
		_, ufloatErr := new(Meta).GetUfloat("x")
		if !errors.Is(uintErr, ErrNoMeta) || !errors.Is(ufloatErr, ErrNoMeta) {
			t.Errorf("GetUint: %v, GetUfloat: %v; want %v", uintErr, ufloatErr, ErrNoMeta)
		}
	})
	t.Run("the error does not quote the value", func(t *testing.T) {
		_, err := metaOf("n", strings.Repeat("x", 1<<16)).GetUint("n")
		if got, want := err.Error(), `socket: meta "n": invalid syntax`; got != want {
			t.Errorf("error of %d bytes, want %q", len(got), want)
		}
	})
}

func TestMetaGetBool(t *testing.T) {
	for value, want := range map[string]bool{
		"1": true, "t": true, "T": true, "true": true, "TRUE": true, "True": true, "y": true, "Y": true,
		"yes": true, "Yes": true, "on": true, "ON": true,
		"": false, "0": false, "f": false, "false": false, "no": false, "off": false, "2": false, " 1": false,
		"true ": false, "11": false,
	} {
		if got := metaOf("b", value).GetBool("b"); got != want {
			t.Errorf("GetBool of %q = %t, want %t", value, got, want)
		}
	}
	if metaOf("b", "1").GetBool("absent") {
		t.Error("GetBool of an absent key = true, want false")
	}
}

func TestMetaCopyTo(t *testing.T) {
	m, dst := metaOf("a", "1", "b", "2"), metaOf("old", "pair")
	m.CopyTo(dst)
	m.Set("a", "9")
	dst.Set("b", "8")
	if got, want := dst.String(), "a=1&b=8"; got != want {
		t.Errorf("the copy is %q, want %q", got, want)
	}
	if got, want := m.String(), "a=9&b=2"; got != want {
		t.Errorf("the original is %q, want %q", got, want)
	}
}

func TestMetaWriteToError(t *testing.T) {
	r, w := io.Pipe()
	r.CloseWithError(io.ErrNoProgress)
	if n, err := metaOf("a", "1").WriteTo(w); n != 0 || err != io.ErrNoProgress {
		t.Errorf("WriteTo = %d, %v; want 0, %v", n, err, io.ErrNoProgress)
	}
}

func TestMetaMemory(t *testing.T) {
	t.Run("nothing allocated once it has grown", func(t *testing.T) {
		in := []byte("X-Real-IP=10.0.0.1%3A9090&k=v%201%2F%C3%A9&k=second+one&flag&X-Timeout=1500")
		key := []byte("X-Accept-Body-Codec-of-a-length-that-is-over-32")
		m, dst := new(Meta), make([]byte, 0, 4096)
		if n := suite.Allocs(0, func() {
			m.Reset()
			m.ParseBytes(in)
			m.Parse("a=1&b=2")
			m.ParseBytes(in)
			m.Add("added", "value")
			m.AddBytesKV(key, key)
			m.SetBytesKV(key, in)
			m.SetUint("k", 123456)
			m.Del("flag")
			m.DelBytes(key[:4])
			m.GetUintOrZero("X-Timeout")
			m.GetBool("k")
			if !m.HasBytes(key) || m.Peek("flag") != nil {
				t.Error("wrong pairs")
			}
			for k := range m.All() {
				_ = k
			}
			dst = m.AppendBytes(dst[:0])
			m.QueryString()
		}); n != 0 {
			t.Errorf("%v allocations, want 0", n)
		}
	})
	t.Run("a growing value leaves nothing behind", func(t *testing.T) {
		m := metaOf("k", "v", "a", "b")
		for i := range 10000 {
			m.Set("k", strings.Repeat("v", i%50))
		}
		if got := cap(m.buf); got > 1024 {
			t.Errorf("%d bytes held for %d, want no more than 1024", got, len(m.buf))
		}
	})
	t.Run("reset keeps little", func(t *testing.T) {
		for name, in := range map[string]string{
			"bytes": "k=" + strings.Repeat("v", metaKeep+1), "pairs": strings.Repeat("a&", metaKeep),
			"scratch": "k=" + strings.Repeat("%00", metaKeep/2),
		} {
			m := new(Meta)
			m.Parse(in)
			m.QueryString()
			m.Reset()
			if m.Len() != 0 || cap(m.buf) > metaKeep || cap(m.pairs)*16 > metaKeep || cap(m.out) > metaKeep {
				t.Errorf("%s: Reset keeps %d pairs, %d bytes, room for %d pairs and %d bytes of scratch",
					name, m.Len(), cap(m.buf), cap(m.pairs), cap(m.out))
			}
		}
		m := metaOf("k", "v")
		if m.Reset(); cap(m.buf) == 0 {
			t.Error("Reset dropped a small block, want it kept")
		}
	})
	t.Run("pool", func(t *testing.T) {
		ReleaseMeta(nil)
		m := AcquireMeta()
		m.Add("k", "v")
		ReleaseMeta(m)
		if m.Len() != 0 {
			t.Errorf("a Meta in the pool holds %q, want nothing", m)
		}
	})
}

// FuzzMeta builds pairs from data (each ends at a newline, its key at the first
// tab) and edits them: what is written is read again, and edits agree with a
// plain slice.
func FuzzMeta(f *testing.F) {
	f.Add("k\tv 1/é\nflag\n\tno key\n\n", "k", "longer value")
	f.Add("a\t1\na\t2\na\t3\nb\t4", "a", "")
	f.Add("a=&+%\t%zz%4\xff\x00", "", "a")
	f.Fuzz(func(t *testing.T, data, key, value string) {
		m, want := new(Meta), []string{}
		check := func(what string) {
			t.Helper()
			if got := metaPairs(t, m); !slices.Equal(got, want) {
				t.Fatalf("after %s: %q, want %q", what, got, want)
			}
			wire := m.AppendBytes(nil)
			if len(wire) != m.EncodedLen() {
				t.Fatalf("after %s: EncodedLen() = %d, wire form of %d bytes", what, m.EncodedLen(), len(wire))
			}
			back := new(Meta)
			back.ParseBytes(wire)
			if got := metaPairs(t, back); !slices.Equal(got, want) {
				t.Fatalf("after %s: parse of %q = %q, want %q", what, wire, got, want)
			}
		}
		for line := range strings.SplitSeq(data, "\n") {
			k, v, _ := strings.Cut(line, "\t")
			m.Add(k, v)
			want = append(want, k, v)
		}
		check("add")

		m.Set(key, value)
		first := 0
		for first < len(want) && want[first] != key {
			first += 2
		}
		if first < len(want) {
			want[first+1] = value
		} else {
			want = append(want, key, value)
		}
		check("set")

		m.DelBytes([]byte(key))
		kept := []string{}
		for i := 0; i < len(want); i += 2 {
			if want[i] != key {
				kept = append(kept, want[i], want[i+1])
			}
		}
		want = kept
		check("del")
	})
}

func FuzzMetaParse(f *testing.F) {
	for _, in := range []string{"", "a=", "a", "=x", "=", "&&a=1&", "a+b=c+d", "a=%zz", "a=%4", "a==b", "k=v=w", "%", "%4&%", "a=%%41%", "\xff=\x00"} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, fromString, again := new(Meta), new(Meta), new(Meta)
		m.ParseBytes(in)
		fromString.Parse(string(in))
		again.ParseBytes(m.AppendBytes(nil))
		want := metaPairs(t, m)
		if got := metaPairs(t, fromString); !slices.Equal(got, want) {
			t.Fatalf("Parse(%q) = %q, ParseBytes %q", in, got, want)
		}
		if got := metaPairs(t, again); !slices.Equal(got, want) {
			t.Fatalf("%q is %q, but written and read again %q", in, want, got)
		}
		if len(m.buf) > len(in) {
			t.Fatalf("%q decoded to %d bytes, more than its %d", in, len(m.buf), len(in))
		}
		// In its own memory.
		holder := metaOf("k", string(in), "after", "x")
		holder.ParseBytes(holder.Peek("k"))
		if got := metaPairs(t, holder); !slices.Equal(got, want) {
			t.Fatalf("parse of an own value %q = %q, want %q", in, got, want)
		}
	})
}

func BenchmarkMeta(b *testing.B) {
	in, m, dst := []byte("X-Real-IP=10.0.0.1%3A9090&k=v%201%2F%C3%A9&X-Timeout=1500"), new(Meta), []byte(nil)
	for b.Loop() {
		m.ParseBytes(in)
		dst = m.AppendBytes(dst[:0])
	}
}
