package md5

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/core/xfertest"
)

func TestConformance(t *testing.T) { xfertest.Run(t, Filter{}) }

type vector struct {
	name          string
	plain, packed []byte
}

func vectors(t testing.TB) (list []vector) {
	t.Helper()
	file, err := os.ReadFile("testdata/golden/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		plain, err1 := hex.DecodeString(f[1])
		packed, err2 := hex.DecodeString(f[2])
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		list = append(list, vector{f[0], plain, packed})
	}
	return list
}

func TestGolden(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			if got, err := (Filter{}).OnPack(v.plain); err != nil || !bytes.Equal(got, v.packed) {
				t.Errorf("OnPack = %x, %v; want %x", got, err, v.packed)
			}
			if got, err := (Filter{}).OnUnpack(v.packed); err != nil || !bytes.Equal(got, v.plain) {
				t.Errorf("OnUnpack = %x, %v; want %x", got, err, v.plain)
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
		if got := panics(func() { Reg(test.id, test.as) }); got != test.want {
			t.Errorf("%s: Reg panics with %q; want %q", test.name, got, test.want)
		}
	}
}

func panics(f func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}

func FuzzUnpack(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.packed)
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
