package gzip

import (
	"bytes"
	"compress/flate"
	stdgzip "compress/gzip"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/core/xfertest"
)

func registered(t testing.TB) *Filter {
	t.Helper()
	f, err := xfer.Get('g')
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func TestConformance(t *testing.T) { xfertest.Run(t, registered(t), xfertest.Compresses) }

const golden = "testdata/golden/vectors.txt"

func TestGolden(t *testing.T) {
	f := registered(t)
	for _, v := range xfertest.Vectors(t, golden) {
		t.Run(v.Name, func(t *testing.T) {
			got, err := f.OnUnpack(v.Packed)
			if err != nil || !bytes.Equal(got, v.Plain) {
				t.Errorf("OnUnpack = %x, %v; want %x", got, err, v.Plain)
			}
			if n := len(got) - md5.Size; strings.Contains(v.Name, "md5") && md5.Sum(got[:n]) != [16]byte(got[n:]) {
				t.Errorf("the MD5 sum inside is wrong")
			}
			packed, err := f.OnPack(v.Plain)
			if err != nil || !bytes.HasPrefix(packed, []byte("\x1f\x8b\x08")) {
				t.Errorf("OnPack = %x, %v; want a gzip stream", packed, err)
			}
			for n := 1; n < len(v.Packed); n++ {
				if got, err := f.OnUnpack(v.Packed[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("OnUnpack of %d bytes of %d = %x, %v; want %v", n, len(v.Packed), got, err, io.ErrUnexpectedEOF)
				}
			}
		})
	}
}

// Teleport v5 reads with the standard library and ignores how the stream ends.
func TestStandardReads(t *testing.T) {
	for level := -2; level <= 9; level++ {
		f, err := New('x', "x", level)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("some text, "), 3000)
		packed, err := f.AppendPack([]byte("head"), want)
		if err != nil {
			t.Fatal(err)
		}
		r, err := stdgzip.NewReader(bytes.NewReader(packed[4:]))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("level %d: the standard library reads %d bytes, %v; want %d", level, len(got), err, len(want))
		}
		if got, err := f.OnUnpack(packed[4:]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("level %d: OnUnpack has %d bytes, %v; want %d", level, len(got), err, len(want))
		}
	}
}

// v5 packs as Teleport v5 does: the stream is flushed and not closed.
func v5(t testing.TB, level int, parts ...[]byte) []byte {
	t.Helper()
	b := new(bytes.Buffer)
	w, err := stdgzip.NewWriterLevel(b, level)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestUnfinished(t *testing.T) {
	text := bytes.Repeat([]byte("a line of text\n"), 10_000)
	marker := bytes.Repeat([]byte{0, 0, 0xff, 0xff}, 1000)
	for level := -2; level <= 9; level++ {
		for _, parts := range [][][]byte{{nil}, {text}, {marker}, {text, marker, text}} {
			want := slices.Concat(parts...)
			packed := v5(t, level, parts...)
			f, err := New('x', "x", level)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.AppendUnpack(nil, packed, len(want))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("level %d: AppendUnpack has %d bytes, %v; want %d", level, len(got), err, len(want))
			}
			if len(want) > 0 {
				if got, err := f.AppendUnpack(nil, packed, len(want)-1); !errors.Is(err, xfer.ErrTooLarge) {
					t.Errorf("level %d: AppendUnpack over the limit has %d bytes, %v; want %v", level, len(got), err, xfer.ErrTooLarge)
				}
			}
		}
	}
}

// frame puts the header and the trailer of gzip around a deflate stream.
func frame(header string, deflated, plain []byte) []byte {
	b := append([]byte(header), deflated...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(plain))
	return binary.LittleEndian.AppendUint32(b, uint32(len(plain)))
}

// stored is one block of deflate, the last one, that holds b as it is.
func stored(b []byte) []byte {
	n := uint16(len(b))
	block := binary.LittleEndian.AppendUint16([]byte{1}, n)
	return append(binary.LittleEndian.AppendUint16(block, ^n), b...)
}

// cutLikeFlush is a last block with codes of its own, cut within a code and
// where it looks like a flush: the next byte, if it were 03, would end it.
const cutLikeFlush = plainHeader + "\x0d\xa3\x01\x09\x00\x00\x00\x40\xb0\x95\xff\x23\x00\x51\x51\x00\x00\x00\x00\xff\xff"

const plainHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// withHeaderCRC appends the header's checksum.
func withHeaderCRC(h string, add uint16) string {
	return string(binary.LittleEndian.AppendUint16([]byte(h), add+uint16(crc32.ChecksumIEEE([]byte(h)))))
}

// errCorrupt is any error of compress/flate about the data.
var errCorrupt = errors.New("corrupt")

func TestForeignStreams(t *testing.T) {
	f := registered(t)
	hi := []byte("hi")
	good := frame(plainHeader, stored(hi), hi)
	bent := func(i int, b byte) []byte {
		c := slices.Clone(good)
		c[i] ^= b
		return c
	}
	// A stored block that was cut where it looks like a flush.
	like := slices.Concat([]byte("data"), syncMarker, []byte("\x03\x00"))
	likeStream := frame(plainHeader, stored(like), like)
	for _, test := range []struct {
		name   string
		packed []byte
		want   string
		err    error
	}{
		{"nothing", nil, "", nil},
		{"stored", good, "hi", nil},
		{"holds a marker", likeStream, string(like), nil},
		{"extra field", frame("\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x03\x00abc", stored(hi), hi), "hi", nil},
		{"name", frame("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xffname\x00", stored(hi), hi), "hi", nil},
		{"comment", frame("\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\xffcomment\x00", stored(hi), hi), "hi", nil},
		{"all fields", frame(withHeaderCRC("\x1f\x8b\x08\x1f\x00\x00\x00\x00\x00\xff\x01\x00aname\x00comment\x00", 0), stored(hi), hi), "hi", nil},
		{"checksum of the header", frame(withHeaderCRC("\x1f\x8b\x08\x02\x00\x00\x00\x00\x00\xff", 0), stored(hi), hi), "hi", nil},
		{"wrong checksum of the header", frame(withHeaderCRC("\x1f\x8b\x08\x02\x00\x00\x00\x00\x00\xff", 1), stored(hi), hi), "", errHeader},
		{"checksum of the header cut", []byte("\x1f\x8b\x08\x02\x00\x00\x00\x00\x00\xff\x00"), "", io.ErrUnexpectedEOF},
		{"extra field cut", []byte("\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x00"), "", io.ErrUnexpectedEOF},
		{"extra field too long", []byte("\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\xff\xffabc"), "", io.ErrUnexpectedEOF},
		{"extra field too long, then a name", []byte("\x1f\x8b\x08\x0c\x00\x00\x00\x00\x00\xff\xff\xffabc\x00"), "", io.ErrUnexpectedEOF},
		{"extra field too long, then a checksum", []byte("\x1f\x8b\x08\x06\x00\x00\x00\x00\x00\xff\xff\xffabc\x00"), "", io.ErrUnexpectedEOF},
		{"name without an end", []byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xffname"), "", io.ErrUnexpectedEOF},
		{"header only", []byte(plainHeader), "", io.ErrUnexpectedEOF},
		{"header cut", []byte(plainHeader[:9]), "", io.ErrUnexpectedEOF},
		{"first byte", bent(0, 1), "", errHeader},
		{"second byte", bent(1, 1), "", errHeader},
		{"method", bent(2, 1), "", errHeader},
		{"reserved flag", bent(3, 0x80), "", errHeader},
		{"data damaged", bent(15, 1), "", errChecksum},
		{"checksum damaged", bent(17, 1), "", errChecksum},
		{"length damaged", bent(21, 1), "", errChecksum},
		{"stored block cut like a flush", likeStream[:len(likeStream)-10], "", io.ErrUnexpectedEOF},
		{"coded block cut like a flush", []byte(cutLikeFlush), "", io.ErrUnexpectedEOF},
		{"closed, then no trailer", slices.Concat([]byte(plainHeader), []byte{1}, syncMarker), "", io.ErrUnexpectedEOF},
		{"two streams", append(slices.Clone(good), good...), "", errTrailing},
		{"flush behind the end", append(slices.Clone(good), 0, 0, 0xff, 0xff), "", errTrailing},
		{"no deflate", []byte(plainHeader + "\xff\xff\xff\xff"), "", errCorrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := f.AppendUnpack([]byte("head"), test.packed, 100)
			if corrupt := (flate.CorruptInputError)(0); errors.As(err, &corrupt) {
				err = fmt.Errorf("%w: %w", err, errCorrupt)
			}
			if string(got) != "head"+test.want || !errors.Is(err, test.err) {
				t.Errorf("AppendUnpack = %q, %v; want %q, %v", got, err, "head"+test.want, test.err)
			}
			if err != nil && !strings.HasPrefix(err.Error(), fmt.Sprintf("gzip: unpack %d bytes: ", len(test.packed))) {
				t.Errorf("the error does not say what was unpacked: %v", err)
			}
		})
	}
}

func TestReg(t *testing.T) {
	before := registered(t)
	t.Cleanup(func() { xfer.Replace(before) })
	if before.Name() != "gzip" || before.level != 5 || !Is('g') || Is('?') || Is(0) {
		t.Errorf("the import registers %+v, Is('g') %t, Is('?') %t, Is(0) %t", before, Is('g'), Is('?'), Is(0))
	}
	Reg('g', "gizp", 9)
	if f := registered(t); f.Name() != "gizp" || f.level != 9 || !Is('g') {
		t.Errorf("Reg made %+v", f)
	}
	Reg('G', "gzip-1", 1)
	if !Is('g') || !Is('G') {
		t.Errorf("Is('g') %t, Is('G') %t; want true, true", Is('g'), Is('G'))
	}
	for _, test := range []struct {
		name  string
		id    byte
		as    string
		level int
		want  string
	}{
		{"level too high", 'g', "x", 10, "gzip: invalid compression level: 10"},
		{"level too low", 'g', "x", -3, "gzip: invalid compression level: -3"},
		{"id 0", 0, "x", 5, "transfer filter id can not be 0"},
		{"no name", 'g', "", 5, "transfer filter name can not be empty"},
	} {
		if got := xfertest.Panic(func() { Reg(test.id, test.as, test.level) }); got != test.want {
			t.Errorf("%s: Reg panics with %q; want %q", test.name, got, test.want)
		}
	}
	if _, err := New('g', "x", 10); err == nil || err.Error() != "gzip: invalid compression level: 10" {
		t.Errorf("New with level 10: %v", err)
	}
	if f := registered(t); f.Name() != "gizp" {
		t.Errorf("a refused Reg registered %+v", f)
	}
}

func FuzzUnpack(f *testing.F) {
	filter := registered(f)
	for _, v := range xfertest.Vectors(f, golden) {
		f.Add(v.Packed)
	}
	f.Add(v5(f, 0, []byte("stored"), []byte("in two")))
	f.Add(frame(withHeaderCRC("\x1f\x8b\x08\x1f\x00\x00\x00\x00\x00\xff\x01\x00aname\x00comment\x00", 0), stored([]byte("hi")), []byte("hi")))
	f.Add([]byte(cutLikeFlush))
	f.Fuzz(func(t *testing.T, packed []byte) {
		const max = 1 << 16
		out, err := filter.AppendUnpack([]byte("head"), packed, max)
		if !bytes.HasPrefix(out, []byte("head")) || len(out) > max+4 || err != nil && len(out) != 4 {
			t.Fatalf("AppendUnpack has %d bytes, %v", len(out), err)
		}
		// The standard library reads what is a complete stream, and no other.
		r, rerr := stdgzip.NewReader(bytes.NewReader(packed))
		if rerr == nil {
			r.Multistream(false)
			var std []byte
			if std, rerr = io.ReadAll(io.LimitReader(r, max+1)); rerr == nil && err == nil && !bytes.Equal(std, out[4:]) {
				t.Fatalf("AppendUnpack has %d bytes; the standard library reads %d", len(out)-4, len(std))
			}
		}
		if rerr != nil && err == nil && len(packed) > 0 && !bytes.HasSuffix(packed, syncMarker) {
			t.Fatalf("AppendUnpack has %d bytes; the standard library says %v", len(out)-4, rerr)
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	f := registered(b)
	src := bytes.Repeat([]byte(`{"name":"somebody","age":42},`), 40)
	packed, err := f.OnPack(src)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, 2*len(src))
	b.Run("pack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.AppendPack(dst, src); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unpack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.AppendUnpack(dst, packed, len(src)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
