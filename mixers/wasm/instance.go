package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"github.com/teleport-go/teleport/core/xfer"
)

// instance is one instance of a guest. One goroutine uses it at a time.
type instance struct {
	mod     api.Module
	memory  api.Memory
	alloc   api.Function
	ops     [operations]api.Function // nil for those that no part needs
	timeout time.Duration
	output  output

	in     uint32 // the guest's buffer for input
	inSize int    // and its size; 0 before the first item

	alarm  alarm
	broken bool  // must not be used again
	cause  error // why it is broken
	stack  [4]uint64
}

// Sizes of the buffer for input: it is made smaller again after a large item.
const (
	smallInput = 4 << 10
	largeInput = 1 << 20
)

// bind looks up the functions of items.
func (i *instance) bind() {
	i.alloc = i.mod.ExportedFunction(exportAlloc)
	for op := range operations {
		i.ops[op] = i.mod.ExportedFunction(op.export())
	}
}

// do passes in to the guest and appends the result to dst, which must not exceed max bytes.
func (i *instance) do(op operation, part uint32, dst, in []byte, max int) ([]byte, error) {
	if err := i.reserve(len(in)); err != nil {
		return nil, err
	}
	if !i.memory.Write(i.in, in) {
		return nil, i.breaks(fmt.Errorf("%w: %s returned the address %#x for %d bytes, its memory has %d", ErrTrapped, exportAlloc, i.in, i.inSize, i.memory.Size()))
	}
	args := [...]uint64{uint64(part), uint64(i.in), uint64(len(in)), clampSize(max)}
	result, err := i.invoke(i.ops[op], args[:])
	if err != nil {
		return nil, err
	}
	return i.result(dst, result, max)
}

// reserve makes room for n bytes of input in the guest's memory. The room serves again, so
// most items cost one call.
func (i *instance) reserve(n int) error {
	if n <= i.inSize && (i.inSize <= largeInput || n > smallInput) {
		return nil
	}
	size := smallInput
	for size < n {
		size *= 2
	}
	if size > largeInput {
		size = n
	}
	address, err := i.invoke(i.alloc, []uint64{uint64(size)})
	if err != nil {
		return err
	}
	i.in, i.inSize = uint32(address), size
	return nil
}

// result appends to dst what the guest has returned. Neither its pointer nor its size is
// trusted.
func (i *instance) result(dst []byte, result uint64, max int) ([]byte, error) {
	address, n, status := uint32(result>>32), uint32(result)&sizeMask, uint32(result)>>statusShift
	if status == statusOK && int64(n) > int64(max) {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", xfer.ErrTooLarge, n, max)
	}
	shown := n
	if status != statusOK {
		shown = min(n, mostMessage)
	}
	b, ok := i.memory.Read(address, shown)
	if !ok {
		return nil, i.breaks(fmt.Errorf("%w: it returned %d bytes at %#x, its memory has %d", ErrTrapped, n, address, i.memory.Size()))
	}
	switch status {
	case statusOK:
		return append(dst, b...), nil
	case statusRefused:
		return nil, fmt.Errorf("%w: %s", ErrRefused, clean(b))
	case statusTooLarge:
		return nil, fmt.Errorf("%w: %s", xfer.ErrTooLarge, clean(b))
	}
	return nil, i.breaks(fmt.Errorf("%w: it returned the status %d", ErrTrapped, status))
}

// invoke calls a function with one result, within the timeout.
func (i *instance) invoke(f api.Function, args []uint64) (uint64, error) {
	copy(i.stack[:], args)
	i.alarm.set(i.timeout)
	err := f.CallWithStack(&i.alarm, i.stack[:])
	rang := !i.alarm.stop()
	if err == nil && !rang {
		return i.stack[0], nil
	}
	if rang {
		return 0, i.breaks(fmt.Errorf("%w: more than %v", ErrTimeout, i.timeout))
	}
	return 0, i.breaks(trapError(err, i.output.String()))
}

// breaks keeps the instance from being used again.
func (i *instance) breaks(err error) error {
	i.broken, i.cause = true, err
	return err
}

func (i *instance) close() { i.mod.Close(context.Background()) }

// trapError says how a guest broke down, in one line.
func trapError(err error, output string) error {
	var what string
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		what = fmt.Sprintf("it exited with code %d", exit.ExitCode())
	} else {
		what, _, _ = strings.Cut(err.Error(), "\n") // the stack follows
		if _, trap, ok := strings.Cut(what, "wasm error: "); ok {
			what = trap
		}
		what = strings.TrimSuffix(what, " (recovered by wazero)")
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(output), "\n"); line != "" {
		what += ": " + line
	}
	return fmt.Errorf("%w: %s", ErrTrapped, what)
}

// mostMessage is how many bytes of a guest's message an error shows.
const mostMessage = 1 << 10

// clean makes foreign text fit for one line.
func clean(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), "\uFFFD"))
}

// output keeps the beginning of what an instance prints during an item.
type output struct{ b []byte }

const mostPrinted = 4 << 10

// Write never fails.
func (o *output) Write(b []byte) (int, error) {
	o.b = append(o.b, b[:min(len(b), mostPrinted-len(o.b))]...)
	return len(b), nil
}

func (o *output) String() string { return string(o.b) }

// take returns what was printed, and forgets it.
func (o *output) take() string {
	if len(o.b) == 0 {
		return ""
	}
	s := strings.TrimSpace(strings.ToValidUTF8(string(o.b), "\uFFFD"))
	o.b = o.b[:0]
	return s
}

// alarm is the context of an instance's calls: it is done when one exceeds its time. It
// serves all calls, since a new context for each would cost more than many items do.
type alarm struct {
	timer *time.Timer

	mu   sync.Mutex
	done chan struct{} // made once
	rang bool
}

var _ context.Context = (*alarm)(nil)

// set starts the time of a call.
func (a *alarm) set(d time.Duration) {
	if a.timer == nil {
		a.done = make(chan struct{})
		a.timer = time.AfterFunc(d, a.ring)
		return
	}
	a.timer.Reset(d)
}

// stop reports whether the call ended in time. If it did not, the alarm is done for good.
func (a *alarm) stop() bool { return a.timer.Stop() }

func (a *alarm) ring() {
	a.mu.Lock()
	a.rang = true
	a.mu.Unlock()
	close(a.done)
}

// Deadline implements context.Context. It returns none, since nobody but Done needs it.
func (a *alarm) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (a *alarm) Done() <-chan struct{} { return a.done }

// Err implements context.Context.
func (a *alarm) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rang {
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context.
func (a *alarm) Value(any) any { return nil }
