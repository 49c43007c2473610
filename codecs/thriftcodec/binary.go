package thriftcodec

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/teleport-go/teleport/core/codec/measure"
)

// binary is Thrift's binary protocol over memory: bytes to read, or to append to.
// Reading compares each length and number of elements with the number of bytes that
// are left before it allocates memory, and the levels with the limit of codec.Limits.
type binary struct {
	*thrift.TBinaryProtocol // on mem

	mem    memory
	budget measure.Budget // counts what is in each other
}

var binaries = sync.Pool{New: func() any {
	p := new(binary)
	// The received bytes are the limit, not the default of the library.
	p.TBinaryProtocol = thrift.NewTBinaryProtocolConf(&p.mem, &thrift.TConfiguration{MaxMessageSize: math.MaxInt32})
	return p
}}

func writer(dst []byte) *binary {
	p := binaries.Get().(*binary)
	p.mem.buf = dst
	return p
}

func reader(data []byte) *binary {
	p := binaries.Get().(*binary)
	p.mem.buf = data
	p.budget = measure.NewBudget(len(data))
	return p
}

// free returns p to the pool, without the bytes, which belong to the caller.
func (p *binary) free() {
	p.mem = memory{}
	binaries.Put(p)
}

func (p *binary) ReadStructBegin(context.Context) (string, error) { return "", p.begin() }
func (p *binary) ReadStructEnd(context.Context) error             { return p.end() }

func (p *binary) ReadListBegin(ctx context.Context) (thrift.TType, int, error) {
	kind, n, err := p.TBinaryProtocol.ReadListBegin(ctx)
	if err == nil {
		err = p.begin()
	}
	return kind, n, err
}

func (p *binary) ReadListEnd(context.Context) error { return p.end() }

func (p *binary) ReadSetBegin(ctx context.Context) (thrift.TType, int, error) {
	kind, n, err := p.TBinaryProtocol.ReadSetBegin(ctx)
	if err == nil {
		err = p.begin()
	}
	return kind, n, err
}

func (p *binary) ReadSetEnd(context.Context) error { return p.end() }

func (p *binary) ReadMapBegin(ctx context.Context) (key, value thrift.TType, n int, err error) {
	key, value, n, err = p.TBinaryProtocol.ReadMapBegin(ctx)
	if err == nil {
		err = p.begin()
	}
	return key, value, n, err
}

func (p *binary) ReadMapEnd(context.Context) error { return p.end() }

// begin begins a struct, list, set or map.
func (p *binary) begin() error { return overLimit(p.budget.Enter()) }

// end ends what begin has begun.
func (p *binary) end() error {
	p.budget.Leave()
	return nil
}

func overLimit(err error) error {
	if err == nil {
		return nil
	}
	return thrift.NewTProtocolExceptionWithType(thrift.SIZE_LIMIT, err)
}

// ReadString allocates once, the method of the library at least twice.
func (p *binary) ReadString(ctx context.Context) (string, error) {
	b, err := p.readBytes(ctx)
	return string(b), err
}

// ReadBinary returns a copy.
func (p *binary) ReadBinary(ctx context.Context) ([]byte, error) {
	b, err := p.readBytes(ctx)
	if err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(b)), b...), nil
}

// readBytes returns the bytes of a string or binary, in place.
func (p *binary) readBytes(ctx context.Context) ([]byte, error) {
	n, err := p.ReadI32(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case n < 0:
		return nil, protocolError(thrift.NEGATIVE_SIZE, "string of %d bytes", n)
	case int64(n) > int64(p.mem.left()):
		return nil, protocolError(thrift.SIZE_LIMIT, "string of %d bytes, %d are left", n, p.mem.left())
	}
	b := p.mem.buf[p.mem.at : p.mem.at+int(n)]
	p.mem.at += int(n)
	return b, nil
}

func (p *binary) WriteString(ctx context.Context, s string) error {
	if err := p.writeLength(ctx, len(s)); err != nil {
		return err
	}
	p.mem.buf = append(p.mem.buf, s...)
	return nil
}

func (p *binary) WriteBinary(ctx context.Context, b []byte) error {
	if err := p.writeLength(ctx, len(b)); err != nil {
		return err
	}
	p.mem.buf = append(p.mem.buf, b...)
	return nil
}

func (p *binary) writeLength(ctx context.Context, n int) error {
	if n > math.MaxInt32 {
		return protocolError(thrift.SIZE_LIMIT, "string of %d bytes is longer than %d", n, math.MaxInt32)
	}
	return p.WriteI32(ctx, int32(n))
}

func protocolError(kind int, format string, args ...any) error {
	return thrift.NewTProtocolExceptionWithType(kind, fmt.Errorf(format, args...))
}

// memory is a transport over bytes: Read starts at the offset at, Write appends.
type memory struct {
	buf []byte
	at  int
}

var _ thrift.TRichTransport = (*memory)(nil)

func (m *memory) left() int { return len(m.buf) - m.at }

func (m *memory) Read(p []byte) (int, error) {
	if m.left() == 0 && len(p) > 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, m.buf[m.at:])
	m.at += n
	return n, nil
}

func (m *memory) ReadByte() (byte, error) {
	if m.left() == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	m.at++
	return m.buf[m.at-1], nil
}

func (m *memory) Write(p []byte) (int, error) {
	m.buf = append(m.buf, p...)
	return len(p), nil
}

func (m *memory) WriteByte(b byte) error {
	m.buf = append(m.buf, b)
	return nil
}

func (m *memory) WriteString(s string) (int, error) {
	m.buf = append(m.buf, s...)
	return len(s), nil
}

func (m *memory) RemainingBytes() uint64      { return uint64(m.left()) }
func (m *memory) Flush(context.Context) error { return nil }
func (m *memory) Open() error                 { return nil }
func (m *memory) IsOpen() bool                { return true }
func (m *memory) Close() error                { return nil }
