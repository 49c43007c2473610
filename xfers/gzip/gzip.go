// Package gzip compresses messages on the wire.
//
// It is registered with the id 'g', the name "gzip" and level 5. Reg registers it with
// another level, or another id and name. It writes complete gzip streams, and also
// reads the unfinished ones of v5.
package gzip

import (
	stdgzip "compress/gzip"
	"fmt"
	"slices"
	"sync"

	"github.com/teleport-go/teleport/core/xfer"
)

// DefaultLevel is the compression level of the filter that importing the package
// registers.
const DefaultLevel = 5

func init() {
	f, err := New(xfer.Gzip, xfer.NameGzip, DefaultLevel)
	if err != nil {
		panic(err)
	}
	xfer.Register(f)
}

// Filter is the gzip transfer filter. Use New to make one. Its methods may be called
// concurrently.
type Filter struct {
	id    byte
	name  string
	level int
}

var _ xfer.Appender = (*Filter)(nil)

// New returns a filter, without registering it. The level is one of compress/gzip: -2
// (Huffman only), -1 (the default of the library), 0 (none), or 1 (fast) to 9 (small).
func New(id byte, name string, level int) (*Filter, error) {
	if level < stdgzip.HuffmanOnly || level > stdgzip.BestCompression {
		return nil, fmt.Errorf("gzip: invalid compression level: %d", level)
	}
	return &Filter{id, name, level}, nil
}

// Reg registers a filter in place of those that have its id or its name, as
// xfer.Replace does. It panics if the level is invalid, the id 0 or the name empty. It
// is meant for main, before messages are sent.
func Reg(id byte, name string, level int) {
	f, err := New(id, name, level)
	if err != nil {
		panic(err.Error())
	}
	xfer.Replace(f)
}

// Is reports whether a filter of this package is registered with that id.
func Is(id byte) bool {
	f, err := xfer.Get(id)
	if err != nil {
		return false
	}
	_, ok := f.(*Filter)
	return ok
}

// ID returns the filter's id.
func (f *Filter) ID() byte { return f.id }

// Name returns the filter's name.
func (f *Filter) Name() string { return f.name }

// OnPack returns data as a gzip stream.
func (f *Filter) OnPack(data []byte) ([]byte, error) { return f.AppendPack(nil, data) }

// OnUnpack returns the uncompressed gzip stream. The limit is xfer.DefaultMax.
func (f *Filter) OnUnpack(data []byte) ([]byte, error) {
	return f.AppendUnpack(nil, data, xfer.DefaultMax)
}

// AppendPack appends src to dst, as a gzip stream.
func (f *Filter) AppendPack(dst, src []byte) ([]byte, error) {
	pool := &packers[f.level-stdgzip.HuffmanOnly]
	p, ok := pool.Get().(*packer)
	if !ok {
		p = new(packer)
		w, err := stdgzip.NewWriterLevel(p, f.level)
		if err != nil {
			return dst, fmt.Errorf("gzip: %w", err)
		}
		p.gz = w
	}
	out, err := p.pack(dst, src)
	pool.Put(p)
	if err != nil {
		return dst, fmt.Errorf("gzip: pack %d bytes: %w", len(src), err)
	}
	return out, nil
}

// packers pools packers by level: each has about 1 MiB of tables.
var packers [stdgzip.BestCompression - stdgzip.HuffmanOnly + 1]sync.Pool

// packer is a gzip writer that appends to b.
type packer struct {
	b  []byte
	gz *stdgzip.Writer
}

func (p *packer) pack(dst, src []byte) ([]byte, error) {
	p.b = dst
	p.gz.Reset(p)
	_, err := p.gz.Write(src)
	if cerr := p.gz.Close(); err == nil {
		err = cerr
	}
	out := p.b
	p.b = nil
	return out, err
}

// Write appends to the packer's buffer; it never fails. The buffer doubles: append grows
// large ones by a quarter, and each copy is left behind.
func (p *packer) Write(b []byte) (int, error) {
	if len(p.b)+len(b) > cap(p.b) {
		p.b = slices.Grow(p.b, max(len(b), len(p.b)))
	}
	p.b = append(p.b, b...)
	return len(b), nil
}
