package md5

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/core/xfertest"
)

func TestConformance(t *testing.T) { xfertest.Run(t, Filter{}) }

const golden = "testdata/golden/vectors.txt"

func TestGolden(t *testing.T) {
	for _, v := range xfertest.Vectors(t, golden) {
		t.Run(v.Name, func(t *testing.T) {
			if got, err := (Filter{}).OnPack(v.Plain); err != nil || !bytes.Equal(got, v.Packed) {
				t.Errorf("OnPack = %x, %v; want %x", got, err, v.Packed)
			}
			if got, err := (Filter{}).OnUnpack(v.Packed); err != nil || !bytes.Equal(got, v.Plain) {
				t.Errorf("OnUnpack = %x, %v; want %x", got, err, v.Plain)
			}
		})
	}
}

func TestDamage(t *testing.T) {
	packed, err := Filter{}.OnPack([]byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range packed {
		for bit := range 8 {
			bad := slices.Clone(packed)
			bad[i] ^= 1 << bit
			got, err := Filter{}.AppendUnpack([]byte("head"), bad, 100)
			if !errors.Is(err, ErrCheckFailed) || !strings.Contains(err.Error(), "check failed") || string(got) != "head" {
				t.Errorf("byte %d, bit %d: AppendUnpack = %q, %v; want %q, %v", i, bit, got, err, "head", ErrCheckFailed)
			}
		}
	}
	for n := range packed {
		if got, err := (Filter{}).OnUnpack(packed[:n]); !errors.Is(err, ErrCheckFailed) {
			t.Errorf("OnUnpack of %d bytes = %q, %v; want %v", n, got, err, ErrCheckFailed)
		}
	}
}

func TestReg(t *testing.T) {
	t.Cleanup(func() { xfer.Replace(Filter{}) })
	Reg('m', "sum")
	if f, err := xfer.GetByName("sum"); err != nil || f.ID() != 'm' {
		t.Errorf("after Reg: %v, %v", f, err)
	}
	if f, err := xfer.GetByName("md5"); err == nil {
		t.Errorf("the name before Reg still leads to %v", f)
	}
	Reg('M', "md5")
	if f, err := xfer.Get('M'); err != nil || f.Name() != "md5" {
		t.Errorf("after Reg: %v, %v", f, err)
	}
	Reg('m', "sum")
	for _, test := range []struct {
		name string
		id   byte
		as   string
		want string
	}{
		{"id 0", 0, "x", "transfer filter id can not be 0"},
		{"no name", 'm', "", "transfer filter name can not be empty"},
	} {
		if got := xfertest.Panic(func() { Reg(test.id, test.as) }); got != test.want {
			t.Errorf("%s: Reg panics with %q; want %q", test.name, got, test.want)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, v := range xfertest.Vectors(f, golden) {
		f.Add(v.Packed)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Filter{}.AppendUnpack(nil, data, 1<<10)
		if err != nil {
			if len(got) != 0 {
				t.Fatalf("a failed AppendUnpack made %q", got)
			}
			return
		}
		if packed, err := (Filter{}).OnPack(got); err != nil || !bytes.Equal(packed, data) {
			t.Fatalf("OnPack = %x, %v; want %x", packed, err, data)
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	src, dst := make([]byte, 1024), make([]byte, 0, 2048)
	packed, err := Filter{}.OnPack(src)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("pack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (Filter{}).AppendPack(dst, src); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unpack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (Filter{}).AppendUnpack(dst, packed, len(src)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
