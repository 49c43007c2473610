package wasm

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/teleport-go/teleport/core/xfer"
)

// errClosed reports an engine that was closed, or replaced by Reload.
var errClosed = fmt.Errorf("%w: closed", ErrUnavailable)

// engine is a compiled guest and its instances. An instance is used by one goroutine at a
// time; the idle ones are used last in, first out, so that there are no more than needed.
type engine struct {
	h        *Handle
	runtime  wazero.Runtime
	cache    wazero.CompilationCache // nil if there is none
	compiled wazero.CompiledModule

	slots chan struct{} // one taken for each instance in use; Close takes all
	done  chan struct{} // closed by close

	mu   sync.Mutex
	idle []*instance
}

// newEngine compiles a file and looks at what it exports.
func newEngine(ctx context.Context, h *Handle, file []byte) (*engine, error) {
	m := &h.module
	if !slices.Equal(file[:min(len(file), 4)], []byte("\x00asm")) {
		return nil, fmt.Errorf("wasm: %w: %s is no WebAssembly file: it begins with %.8q, not with \"\\x00asm\"", ErrModule, m.source(), file)
	}
	if err := checkTables(file); err != nil {
		return nil, fmt.Errorf("wasm: %w: %s has %w", ErrModule, m.source(), err)
	}
	e := &engine{h: h, slots: make(chan struct{}, m.Instances), done: make(chan struct{})}
	config := wazero.NewRuntimeConfig().
		WithCloseOnContextDone(true).
		WithCoreFeatures(api.CoreFeaturesV2 &^ api.CoreFeatureReferenceTypes). // tables cannot grow, see checkTables
		WithMemoryLimitPages(m.pages())
	if m.Cache != "" {
		cache, err := wazero.NewCompilationCacheWithDir(m.Cache)
		if err != nil {
			return nil, fmt.Errorf("wasm: Cache: %w", err)
		}
		e.cache = cache
		config = config.WithCompilationCache(cache)
	}
	e.runtime = wazero.NewRuntimeWithConfig(context.WithoutCancel(ctx), config)
	if err := e.compile(ctx, file); err != nil {
		e.free()
		return nil, err
	}
	return e, nil
}

func (e *engine) compile(ctx context.Context, file []byte) error {
	m := &e.h.module
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, e.runtime); err != nil {
		return fmt.Errorf("wasm: %w", err)
	}
	compiled, err := e.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0)), file)
	if err != nil {
		return fmt.Errorf("wasm: %w: %s with a MaxMemory of %d bytes: %w", ErrModule, m.source(), m.MaxMemory, err)
	}
	e.compiled = compiled
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wasm: load %s: %w", m.source(), err)
	}
	return e.check()
}

// check looks at what the compiled module imports and exports.
func (e *engine) check() error {
	source := e.h.module.source()
	for _, f := range e.compiled.ImportedFunctions() {
		if module, name, _ := f.Import(); module != wasi_snapshot_preview1.ModuleName {
			return fmt.Errorf("wasm: %w: %s imports %s.%s; a guest may import %s alone", ErrModule, source, module, name, wasi_snapshot_preview1.ModuleName)
		}
	}
	if len(e.compiled.ImportedMemories()) > 0 {
		return fmt.Errorf("wasm: %w: %s imports its memory; a guest exports it as %q", ErrModule, source, exportMemory)
	}
	if e.compiled.ExportedMemories()[exportMemory] == nil {
		return fmt.Errorf("wasm: %w: %s exports no %q", ErrModule, source, exportMemory)
	}
	exports := e.compiled.ExportedFunctions()
	if exports[exportABI] == nil && exports["_start"] != nil && exports["_initialize"] == nil {
		return fmt.Errorf("wasm: %w: %s is a program (it exports _start and no %s): build a guest with -buildmode=c-shared, and call guest.Serve in init", ErrModule, source, exportABI)
	}
	if exports[exportABI] == nil {
		return fmt.Errorf("wasm: %w: %s exports no %s: it is no guest of Teleport (ABI.md, package guest)", ErrModule, source, exportABI)
	}
	return nil
}

// checkFunctions looks for the functions that the guest needs for its parts.
func (e *engine) checkFunctions(names ...string) error {
	exports := e.compiled.ExportedFunctions()
	for _, name := range names {
		f := exports[name]
		if f == nil {
			return fmt.Errorf("wasm: %w: %s exports no %s, which version %d of the ABI needs", ErrModule, e.h.module.source(), name, abiVersion)
		}
		want := signatures[name]
		if !slices.Equal(f.ParamTypes(), want.params) || !slices.Equal(f.ResultTypes(), want.results) {
			return fmt.Errorf("wasm: %w: %s exports %s with the type %s; want %s", ErrModule, e.h.module.source(), name,
				signature{f.ParamTypes(), f.ResultTypes()}, want)
		}
	}
	return nil
}

// describe starts an instance and asks it for its version and its parts.
func (e *engine) describe(ctx context.Context) (d description, err error) {
	source := e.h.module.source()
	if err := e.checkFunctions(exportABI); err != nil {
		return d, err
	}
	i, err := e.instantiate(ctx)
	if err != nil {
		return d, fmt.Errorf("wasm: %w: %s: %w", ErrModule, source, err)
	}
	defer func() {
		if err != nil {
			i.close()
			return
		}
		i.bind()
		e.putBack(i)
	}()
	version, err := i.invoke(i.mod.ExportedFunction(exportABI), nil)
	if err != nil {
		return d, fmt.Errorf("wasm: %w: %s: %s: %w", ErrModule, source, exportABI, err)
	}
	if v := uint32(version); v != abiVersion {
		return d, fmt.Errorf("wasm: %w: %s has version %d of the ABI, this program has %d: build both with the same release of mixers/wasm", ErrModule, source, v, abiVersion)
	}
	if err := e.checkFunctions(exportAlloc, exportDescribe); err != nil {
		return d, err
	}
	result, err := i.invoke(i.mod.ExportedFunction(exportDescribe), nil)
	if err != nil {
		return d, fmt.Errorf("wasm: %w: %s: %s: %w", ErrModule, source, exportDescribe, err)
	}
	text, err := i.result(nil, result, mostDescription)
	if err == nil {
		d, err = parseDescription(text)
	}
	if err != nil {
		return d, fmt.Errorf("wasm: %w: %s: description: %w", ErrModule, source, err)
	}
	for _, p := range d.Parts {
		ops := []string{opPack.export(), opUnpack.export()}
		if p.Kind == KindCodec {
			ops = []string{opEncode.export(), opDecode.export()}
		}
		if err := e.checkFunctions(ops...); err != nil {
			return d, err
		}
	}
	return d, nil
}

// do lets the guest do one item, and appends the result to dst.
func (e *engine) do(op operation, part uint32, dst, in []byte, max int) ([]byte, error) {
	if m := e.h.module.MaxMemory; int64(len(in)) > min(m, mostOutput) {
		return nil, fmt.Errorf("%w: %d bytes, the guest has a memory of %d", xfer.ErrTooLarge, len(in), m)
	}
	i, err := e.acquire()
	if err != nil {
		return nil, err
	}
	returned := false
	defer func() { // also if the goroutine ends here, by a panic
		i.broken = i.broken || !returned
		e.release(i)
	}()
	out, err := i.do(op, part, dst, in, max)
	returned = true
	return out, err
}

// acquire returns an instance that the caller uses alone, until it gives it back to
// release.
func (e *engine) acquire() (*instance, error) {
	if err := e.takeSlot(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	if n := len(e.idle); n > 0 {
		i := e.idle[n-1]
		e.idle = e.idle[:n-1]
		e.mu.Unlock()
		return i, nil
	}
	e.mu.Unlock()
	started := false
	defer func() {
		if !started {
			<-e.slots
		}
	}()
	i, err := e.instantiate(context.Background())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	i.bind()
	started = true
	return i, nil
}

// takeSlot waits until fewer than all instances are in use.
func (e *engine) takeSlot() error {
	select {
	case <-e.done:
		return errClosed
	default:
	}
	select {
	case e.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(e.h.module.Timeout)
	defer timer.Stop()
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-e.done:
		return errClosed
	case <-timer.C:
		return fmt.Errorf("%w: all %d instances were busy for %v", ErrUnavailable, cap(e.slots), e.h.module.Timeout)
	}
}

// release takes an instance back from acquire.
func (e *engine) release(i *instance) {
	e.putBack(i)
	<-e.slots
}

// putBack makes an instance idle, or throws it away if it is broken.
func (e *engine) putBack(i *instance) {
	output := i.output.take()
	if i.broken {
		i.close()
		e.h.discarded(i.cause, output)
		return
	}
	if output != "" {
		e.h.module.Logger.Info("wasm: output of a guest", "guest", e.h.module.Name, "output", output)
	}
	e.mu.Lock()
	e.idle = append(e.idle, i)
	e.mu.Unlock()
}

// close waits for the items in work and releases what the guest has taken. It is called
// once.
func (e *engine) close() {
	close(e.done)
	for range cap(e.slots) {
		e.slots <- struct{}{}
	}
	e.free()
}

// free releases the compiled guest and its instances.
func (e *engine) free() {
	ctx := context.Background()
	e.runtime.Close(ctx)
	if e.cache != nil {
		e.cache.Close(ctx)
	}
}

// instantiate starts an instance.
func (e *engine) instantiate(ctx context.Context) (*instance, error) {
	m := &e.h.module
	i := &instance{timeout: m.Timeout}
	ctx, cancel := context.WithTimeoutCause(ctx, m.StartTimeout, fmt.Errorf("%w: an instance did not start within %v", ErrTimeout, m.StartTimeout))
	defer cancel()
	mod, err := e.runtime.InstantiateModule(ctx, e.compiled, wazero.NewModuleConfig().
		WithName(""). // many of one module
		WithStartFunctions("_initialize").
		WithStdout(&i.output).WithStderr(&i.output).
		WithRandSource(rand.Reader).
		WithSysWalltime().WithSysNanotime().
		WithNanosleep(nap))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		} else {
			err = fmt.Errorf("start an instance: %w", trapError(err, i.output.take()))
		}
		return nil, err
	}
	i.mod, i.memory = mod, mod.Memory()
	return i, nil
}

// nap sleeps for a guest, in steps that a timeout can interrupt.
func nap(ns int64) { time.Sleep(min(time.Duration(ns), time.Millisecond)) }

// The ABI, version 1; see ABI.md.
const (
	abiVersion = 1

	exportMemory   = "memory"
	exportABI      = "teleport_abi"
	exportDescribe = "teleport_describe"
	exportAlloc    = "teleport_alloc"
)

// operation is what a guest can be asked for.
type operation int

const (
	opPack operation = iota
	opUnpack
	opEncode
	opDecode
	operations
)

// String returns the operation for errors.
func (o operation) String() string {
	return [...]string{"pack with", "unpack with", "encode with", "decode with"}[o]
}

// export returns the name of the function.
func (o operation) export() string {
	return [...]string{"teleport_pack", "teleport_unpack", "teleport_encode", "teleport_decode"}[o]
}

// A result is 64 bits: a pointer, two bits of status, and a size.
const (
	statusShift = 30
	sizeMask    = 1<<statusShift - 1

	statusOK       = 0
	statusRefused  = 1 // the bytes are a message
	statusTooLarge = 2 // likewise
)

// signature is the type of a function.
type signature struct{ params, results []api.ValueType }

func (s signature) String() string {
	return fmt.Sprintf("(%s) -> (%s)", typeNames(s.params), typeNames(s.results))
}

func typeNames(types []api.ValueType) (s string) {
	for i, t := range types {
		if i > 0 {
			s += " "
		}
		s += api.ValueTypeName(t)
	}
	return s
}

var signatures = func() map[string]signature {
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	s := map[string]signature{
		exportABI:      {nil, []api.ValueType{i32}},
		exportDescribe: {nil, []api.ValueType{i64}},
		exportAlloc:    {[]api.ValueType{i32}, []api.ValueType{i32}},
	}
	for op := range operations {
		s[op.export()] = signature{[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i64}}
	}
	return s
}()
