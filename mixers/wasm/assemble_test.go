package wasm_test

import (
	"encoding/binary"
	"slices"
)

// module is a small WebAssembly module, which bytes assembles. It exports its memory, unless
// that has no pages.
type module struct {
	pages   uint64   // of memory, at the beginning
	table   uint64   // elements of a table
	imports []string // functions of the module "env", of the type () -> ()
	funcs   []function
	data    string // at address dataAt
}

const dataAt = 1024

// function is an exported function with the body code, without its end.
type function struct {
	name            string
	params, results string // a byte 'i' (i32) or 'l' (i64) for each
	code            []byte
}

// Instructions, of section 5.4 of the specification.
var (
	unreachable = []byte{0x00}
	forever     = []byte{0x03, 0x40, 0x0c, 0, 0x0b, 0x00} // loop br 0 end unreachable
	drop        = []byte{0x1a}
	// grab grows the memory until it cannot, and then is unreachable.
	grab = slices.Concat([]byte{0x03, 0x40}, i32(16), []byte{0x40, 0}, i32(-1), []byte{0x47, 0x0d, 0, 0x0b, 0x00})
)

func i32(n int64) []byte  { return sleb(0x41, n) }
func i64(n uint64) []byte { return sleb(0x42, int64(n)) }

// result is what a guest returns for n bytes at an address.
func result(address, status, n uint64) []byte { return i64(address<<32 | status<<30 | n) }

// echo returns the input: a result of the second and the third parameter.
var echo = []byte{0x20, 1, 0xad, 0x42, 32, 0x86, 0x20, 2, 0xad, 0x84}

// sleb is an instruction with a signed LEB128 number.
func sleb(op byte, n int64) []byte {
	b := []byte{op}
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// vector is bytes behind their count.
func vector[T ~string | ~[]byte](b T) []byte { return append(uleb(uint64(len(b))), b...) }

func (m module) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, count int, parts ...[]byte) {
		if count > 0 {
			out = append(append(out, id), vector(append(uleb(uint64(count)), slices.Concat(parts...)...))...)
		}
	}
	types := func(s string) []byte {
		b := []byte(s)
		for i := range b {
			b[i] = map[byte]byte{'i': 0x7f, 'l': 0x7e}[b[i]]
		}
		return vector(b)
	}
	n := len(m.imports)
	kinds := []byte{0x60, 0, 0} // type 0, of the imports
	var imports, indexes, exports, codes []byte
	for _, name := range m.imports {
		imports = slices.Concat(imports, vector("env"), vector(name), []byte{0, 0})
	}
	for i, f := range m.funcs {
		kinds = slices.Concat(kinds, []byte{0x60}, types(f.params), types(f.results))
		indexes = append(indexes, uleb(uint64(i+1))...)
		exports = slices.Concat(exports, vector(f.name), []byte{0}, uleb(uint64(n+i)))
		codes = append(codes, vector(slices.Concat([]byte{0}, f.code, []byte{0x0b}))...)
	}
	exported := len(m.funcs)
	if m.pages > 0 {
		exports = slices.Concat(exports, vector("memory"), []byte{2, 0})
		exported++
	}
	section(1, 1+len(m.funcs), kinds)
	section(2, n, imports)
	section(3, len(m.funcs), indexes)
	if m.table > 0 {
		section(4, 1, []byte{0x70, 0}, uleb(m.table))
	}
	if m.pages > 0 {
		section(5, 1, []byte{0}, uleb(m.pages))
	}
	section(7, exported, exports)
	section(10, len(m.funcs), codes)
	if m.data != "" {
		section(11, 1, []byte{0}, i32(dataAt), []byte{0x0b}, vector(m.data))
	}
	return out
}

// tiny is a guest with one filter that returns what it is given, and changes.
func tiny(changes ...func(*module)) []byte {
	m := module{pages: 2}
	m.funcs = []function{
		{"teleport_abi", "", "i", i32(1)},
		{"teleport_describe", "", "l", nil},
		{"teleport_alloc", "i", "i", i32(8192)},
		{"teleport_pack", "iiii", "l", echo},
		{"teleport_unpack", "iiii", "l", echo},
	}
	describe(`{"name":"tiny","parts":[{"kind":"filter","id":240,"name":"tiny"}]}`)(&m)
	for _, change := range changes {
		change(&m)
	}
	return m.bytes()
}

// describe makes the description text.
func describe(text string) func(*module) {
	return func(m *module) {
		m.data = text
		code("teleport_describe", result(dataAt, 0, uint64(len(text))))(m)
	}
}

// code changes what a function does.
func code(name string, code []byte) func(*module) {
	return func(m *module) {
		i := slices.IndexFunc(m.funcs, func(f function) bool { return f.name == name })
		m.funcs[i].code = code
	}
}

// without removes functions.
func without(names ...string) func(*module) {
	return func(m *module) {
		m.funcs = slices.DeleteFunc(m.funcs, func(f function) bool { return slices.Contains(names, f.name) })
	}
}

// with adds a function.
func with(f function) func(*module) {
	return func(m *module) { m.funcs = append(m.funcs, f) }
}
