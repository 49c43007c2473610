package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
)

// Module says which guest to load, and what it may take. The zero value of a field means
// its default.
type Module struct {
	// Path is the .wasm file. Set this or Bytes.
	Path string
	// Bytes is the content of a .wasm file, which is not modified and not retained.
	Bytes []byte
	// SHA256 is the hash that the file must have, in hexadecimal. Empty accepts any.
	SHA256 string
	// Name is what errors and log lines call the guest. The default is the name of the
	// file without its extension, or the name that the guest gives itself.
	Name string
	// MaxMemory is how many bytes of memory an instance may take, in steps of 64 KiB.
	// The default is 64 MiB, the most 4 GiB. An instance keeps what it has taken once.
	MaxMemory int64
	// MaxOutput is the largest result of an item in bytes. Where a pipe has a lower limit
	// that one holds. The default is xfer.DefaultMax, the most 1 GiB - 1.
	MaxOutput int
	// Timeout is how long an item may take, and how long one waits for an instance. The
	// default is 1 s.
	Timeout time.Duration
	// StartTimeout is how long an instance may take to start. The default is 10 s.
	StartTimeout time.Duration
	// Instances is how many items are in work at a time; others wait. Instances are
	// started when they are needed. The default is the number of processors that Go uses.
	Instances int
	// Cache is a directory that keeps what files are compiled to, so that the next Load of
	// the same file takes milliseconds. It is made if it does not exist. What is in it is
	// run as it is: nobody else may write there. Empty keeps nothing.
	Cache string
	// Logger gets a line when an instance is thrown away, and what the guest prints. The
	// default is slog.Default().
	Logger *slog.Logger
}

// Defaults and bounds of the fields of [Module].
const (
	pageSize            = 64 << 10
	defaultMemory       = 64 << 20
	mostMemory          = 4 << 30
	mostOutput          = sizeMask
	defaultTimeout      = time.Second
	defaultStartTimeout = 10 * time.Second
	mostFile            = 256 << 20
)

// withDefaults returns m with its defaults, or what is wrong with it.
func (m Module) withDefaults() (Module, error) {
	switch {
	case m.Path == "" && m.Bytes == nil:
		return m, errors.New("wasm: neither Path nor Bytes is set: name the .wasm file")
	case m.Path != "" && m.Bytes != nil:
		return m, fmt.Errorf("wasm: both Path (%s) and Bytes are set: set one", m.Path)
	case m.MaxMemory < 0 || m.MaxMemory > mostMemory:
		return m, fmt.Errorf("wasm: MaxMemory of %d bytes: it is from %d to %d", m.MaxMemory, pageSize, int64(mostMemory))
	case m.MaxMemory > 0 && m.MaxMemory < pageSize:
		return m, fmt.Errorf("wasm: MaxMemory of %d bytes is less than a page of %d", m.MaxMemory, pageSize)
	case m.MaxOutput < 0 || m.MaxOutput > mostOutput:
		return m, fmt.Errorf("wasm: MaxOutput of %d bytes: it is from 1 to %d", m.MaxOutput, mostOutput)
	case m.Timeout < 0 || m.StartTimeout < 0:
		return m, fmt.Errorf("wasm: Timeout %v, StartTimeout %v: neither can be negative", m.Timeout, m.StartTimeout)
	case m.Instances < 0:
		return m, fmt.Errorf("wasm: %d Instances: at least one is needed", m.Instances)
	}
	m.MaxMemory = orDefault(m.MaxMemory, defaultMemory)
	m.MaxOutput = orDefault(m.MaxOutput, xfer.DefaultMax)
	m.Timeout = orDefault(m.Timeout, defaultTimeout)
	m.StartTimeout = orDefault(m.StartTimeout, defaultStartTimeout)
	m.Instances = orDefault(m.Instances, runtime.GOMAXPROCS(0))
	if m.Logger == nil {
		m.Logger = slog.Default()
	}
	if m.Name == "" && m.Path != "" {
		m.Name = strings.TrimSuffix(filepath.Base(m.Path), filepath.Ext(m.Path))
	}
	return m, nil
}

func orDefault[T int | int64 | time.Duration](n, standard T) T {
	if n == 0 {
		return standard
	}
	return n
}

// pages returns the memory limit in pages.
func (m *Module) pages() uint32 { return uint32(m.MaxMemory / pageSize) }

// read returns the content of the file, if it has the hash.
func (m *Module) read() ([]byte, error) {
	b := m.Bytes
	if m.Path != "" {
		info, err := os.Stat(m.Path)
		if err != nil {
			return nil, fmt.Errorf("wasm: %w", err)
		}
		if !info.Mode().IsRegular() || info.Size() > mostFile {
			return nil, fmt.Errorf("wasm: %w: %s: mode %v, %d bytes; a guest is a regular file of at most %d",
				ErrModule, m.Path, info.Mode(), info.Size(), mostFile)
		}
		if b, err = os.ReadFile(m.Path); err != nil {
			return nil, fmt.Errorf("wasm: %w", err)
		}
	}
	if m.SHA256 == "" {
		return b, nil
	}
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); !strings.EqualFold(got, m.SHA256) {
		return nil, fmt.Errorf("wasm: %w: %s has the SHA-256 %s; %s is expected: take the file that was checked, or change Module.SHA256",
			ErrModule, m.source(), got, m.SHA256)
	}
	return b, nil
}

// source names the file in errors.
func (m *Module) source() string {
	switch {
	case m.Path != "":
		return m.Path
	case m.Name != "":
		return "module " + m.Name
	}
	return fmt.Sprintf("module of %d bytes", len(m.Bytes))
}

// Handle is a loaded guest. Its methods may be called concurrently.
type Handle struct {
	module Module
	parts  []Part

	restarts atomic.Int64
	lastLog  atomic.Int64 // when an instance that was thrown away was logged, in Unix nanoseconds

	engine atomic.Pointer[engine] // replaced by Reload

	mu     sync.Mutex // held by Reload and Close
	closed bool
}

// Load compiles a guest, starts an instance, and registers the parts that it describes, all
// or none, filters for xfer.Get and codecs for codec.Get. It is meant for
// main, before messages are sent. ctx bounds the loading, which takes up to seconds for a
// file of several MB, and nothing later.
//
// If an id or a name is taken the error says by what. Errors of the file wrap [ErrModule].
func Load(ctx context.Context, m Module) (*Handle, error) {
	m, err := m.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Handle{module: m}
	e, d, err := h.start(ctx)
	if err != nil {
		return nil, err
	}
	if h.module.Name == "" {
		h.module.Name = d.Name
	}
	h.module.Bytes = nil
	h.parts = d.Parts
	h.engine.Store(e)
	if err := register(h); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// start reads the file and starts it, with one instance.
func (h *Handle) start(ctx context.Context) (*engine, description, error) {
	b, err := h.module.read()
	if err != nil {
		return nil, description{}, err
	}
	e, err := newEngine(ctx, h, b)
	if err != nil {
		return nil, description{}, err
	}
	d, err := e.describe(ctx)
	if err != nil {
		e.close()
		return nil, d, err
	}
	return e, d, nil
}

// Name returns what errors and log lines call the guest.
func (h *Handle) Name() string { return h.module.Name }

// Parts returns what the guest has brought, in a new slice.
func (h *Handle) Parts() []Part { return slices.Clone(h.parts) }

// Restarts returns how many instances were thrown away, since they broke down or took too
// long.
func (h *Handle) Restarts() int { return int(h.restarts.Load()) }

// Health returns nil if the guest can take items: if an instance runs, or can be started.
// It waits for a free instance, up to [Module.Timeout].
func (h *Handle) Health() error {
	e := h.engine.Load()
	i, err := e.acquire()
	if err != nil {
		return fmt.Errorf("wasm: guest %s: %w", h.module.Name, err)
	}
	e.release(i)
	return nil
}

// Reload reads the file again and lets it serve in place of what was loaded. It must
// describe the same parts, and have the SHA256 of the Module if that is set. Items that are
// in work end as they were begun; none fails. If Reload fails, the guest that was loaded
// goes on serving.
func (h *Handle) Reload(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("wasm: guest %s: %w: closed", h.module.Name, ErrUnavailable)
	}
	if h.module.Path == "" {
		return fmt.Errorf("wasm: guest %s was loaded from Bytes: only a file can be read again", h.module.Name)
	}
	e, d, err := h.start(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(d.Parts, h.parts) {
		e.close()
		return fmt.Errorf("wasm: %w: %s now has the parts %v; %v are registered: close the handle and load it", ErrModule, h.module.Path, d.Parts, h.parts)
	}
	h.engine.Swap(e).close()
	return nil
}

// Close waits for the items that are in work, for up to [Module.Timeout] each, and releases
// the guest's memory. Its parts stay registered and fail with [ErrUnavailable], until a
// guest with the same ids is loaded.
func (h *Handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		h.engine.Load().close()
	}
	return nil
}

// isClosed reports whether Close was called.
func (h *Handle) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// do lets the guest do one item, and appends the result to dst. If it fails it returns dst,
// unchanged in length.
func (h *Handle) do(op operation, p *Part, dst, in []byte, max int) ([]byte, error) {
	for {
		e := h.engine.Load()
		out, err := e.do(op, uint32(p.index), dst, in, min(max, h.module.MaxOutput))
		if err == nil {
			return out, nil
		}
		if errors.Is(err, errClosed) && h.engine.Load() != e {
			continue // reloaded meanwhile
		}
		return dst, h.failure(op, p, err)
	}
}

// failure names the guest and the part in the error of an item.
func (h *Handle) failure(op operation, p *Part, err error) error {
	if !errors.Is(err, ErrRefused) && !errors.Is(err, xfer.ErrTooLarge) {
		err = tp.NewRerror(CodeGuestUnavailable, "Guest Unavailable", err.Error()).WithCause(err).Err()
	}
	return fmt.Errorf("wasm: guest %s: %s %s: %w", h.module.Name, op, p, err)
}

// discarded counts an instance that was thrown away, and logs one a second.
func (h *Handle) discarded(err error, output string) {
	n := h.restarts.Add(1)
	now := time.Now().UnixNano()
	last := h.lastLog.Load()
	if now-last < int64(time.Second) || !h.lastLog.CompareAndSwap(last, now) {
		return
	}
	h.module.Logger.Warn("wasm: an instance of a guest was thrown away",
		"guest", h.module.Name, "cause", err, "output", output, "thrown_away", n)
}

// clampSize returns n as the ABI passes it.
func clampSize(n int) uint64 { return uint64(max(0, min(n, mostOutput))) }
