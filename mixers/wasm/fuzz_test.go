package wasm

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/xfer"
)

// A description that is accepted has parts that can be registered.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"name":"tiny","parts":[{"kind":"filter","id":240,"name":"tiny"},{"kind":"codec","id":1,"name":"c"}]}`))
	f.Add([]byte(`{"parts":[{"kind":"filter","id":240,"name":"a"},{"kind":"filter","id":240,"name":"b"}]}`))
	f.Add([]byte(`{"parts":[{"kind":"codec","id":-1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDescription(b)
		if err != nil {
			return
		}
		if len(d.Parts) == 0 || len(d.Parts) > mostParts {
			t.Fatalf("%d parts", len(d.Parts))
		}
		for i, p := range d.Parts {
			if p.index != i || p.ID == 0 || checkName(p.Name) != nil {
				t.Errorf("part %d: %+v", i, p)
			}
			for _, other := range d.Parts[:i] {
				if p.Kind == other.Kind && (p.ID == other.ID || p.Name == other.Name) {
					t.Errorf("%s and %s", other, p)
				}
			}
		}
	})
}

// The tables of a file are read before anything else is known of it.
func FuzzTables(f *testing.F) {
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x04\x05\x01\x70\x00\xff\x01"))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x04\x09\x01\x70\x01\xff\xff\xff\xff\x0f\x01"))
	f.Add([]byte("\x00asm"))
	f.Fuzz(func(_ *testing.T, b []byte) { checkTables(b) })
}

// FuzzResult lets a guest return any word. testdata/result.wasm is a guest whose filter
// "result" returns the 8 bytes that it is given: local.get 1, i64.load.
func FuzzResult(f *testing.F) {
	file, err := os.ReadFile("testdata/result.wasm")
	if err != nil {
		f.Fatal(err)
	}
	h := &Handle{}
	h.module, err = Module{Bytes: file, Name: "result", MaxMemory: 2 * pageSize, Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler)}.withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	e, d, err := h.start(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	defer e.close()
	h.engine.Store(e)
	for _, word := range []uint64{0, 1 << 32, 1<<64 - 1, 131072 << 32, 131071<<32 | 1, 1 << 30, 2<<30 | 1<<29, 1<<30 - 1, 1023} {
		f.Add(word, 1000)
	}
	f.Fuzz(func(t *testing.T, word uint64, max int) {
		in := []byte{byte(word), byte(word >> 8), byte(word >> 16), byte(word >> 24), byte(word >> 32), byte(word >> 40), byte(word >> 48), byte(word >> 56)}
		out, err := h.do(opPack, &d.Parts[0], []byte("head"), in, max)
		if !bytes.HasPrefix(out, []byte("head")) || len(out)-4 > max && err == nil || err != nil && len(out) != 4 {
			t.Fatalf("do = %d bytes, %v; max %d", len(out), err, max)
		}
		if err != nil && !errors.Is(err, ErrTrapped) && !errors.Is(err, ErrRefused) && !errors.Is(err, xfer.ErrTooLarge) {
			t.Fatal(err)
		}
	})
}
