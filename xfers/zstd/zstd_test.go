package zstd_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/core/xfertest"
	"github.com/teleport-go/teleport/xfers/zstd"
)

func TestConformance(t *testing.T) { xfertest.Run(t, zstd.Filter{}, xfertest.Compresses) }

// golden is "hello, zstd" as another implementation writes it: without a check
// sum, with the size in the header.
const golden = "28b52ffd200b59000068656c6c6f2c207a737464"

func TestUnpack(t *testing.T) {
	for _, test := range []struct{ name, in, want, err string }{
		{"raw block", golden, "hello, zstd", ""},
		{"nothing", "", "", "no frame"},
		{"not zstd", "1f8b0800", "", "magic number mismatch"},
		{"cut in the block", golden[:len(golden)-2], "", "unexpected EOF"},
		{"rubbish behind", golden + "ff", "", "zstd: unpack 21 bytes: "},
		{"a window of 2^31 claimed", "28b52ffd00a8010000", "", "too large"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, err := hex.DecodeString(test.in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := zstd.Filter{}.AppendUnpack([]byte("head"), in, 1<<20)
			if test.err == "" {
				if string(got) != "head"+test.want || err != nil {
					t.Errorf("AppendUnpack = %q, %v; want %q", got, err, "head"+test.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.err) || string(got) != "head" {
				t.Errorf("AppendUnpack = %q, %v; want head and an error with %q", got, err, test.err)
			}
		})
	}
}

func TestDamageIsSeen(t *testing.T) {
	packed, err := zstd.Filter{}.OnPack(bytes.Repeat([]byte("teleport "), 100))
	if err != nil {
		t.Fatal(err)
	}
	for i := range packed {
		bad := bytes.Clone(packed)
		bad[i] ^= 0x10
		got, err := zstd.Filter{}.OnUnpack(bad)
		if err == nil && !bytes.Equal(got, bytes.Repeat([]byte("teleport "), 100)) {
			t.Errorf("byte %d damaged: %.40q and no error", i, got)
		}
	}
}

func TestRegistered(t *testing.T) {
	if f, err := xfer.GetByName("zstd"); err != nil || f.ID() != 'z' {
		t.Errorf("GetByName = %v, %v; want the filter with the id z", f, err)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, seed := range []string{"", golden, "28b52ffd", "28b52ffd00a8010000"} {
		b, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 16
		out, err := zstd.Filter{}.AppendUnpack(nil, in, limit)
		if err == nil && len(out) > limit || err != nil && len(out) != 0 {
			t.Errorf("%d bytes, %v; the limit is %d", len(out), err, limit)
		}
		if errors.Is(err, xfer.ErrTooLarge) {
			return
		}
		packed, err := zstd.Filter{}.OnPack(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := (zstd.Filter{}).OnUnpack(packed); err != nil || !bytes.Equal(got, in) {
			t.Errorf("OnUnpack(OnPack(%q)) = %q, %v", in, got, err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	src, dst := bytes.Repeat([]byte("teleport benchmark "), 31)[:581], make([]byte, 0, 2<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (zstd.Filter{}).AppendPack(dst, src); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnpack(b *testing.B) {
	packed, err := zstd.Filter{}.OnPack(bytes.Repeat([]byte("teleport benchmark "), 31)[:581])
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, 2<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (zstd.Filter{}).AppendUnpack(dst, packed, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
