package outproc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// filter is an XferFilter that runs in a guest.
type filter struct {
	h            *Handle
	key          chainKey // one id, or those of filters that are joined
	name         string
	pack, unpack string // routes
	chains       bool   // the guest has routes for several filters

	limited atomic.Pointer[limitedRoute] // the last one: most limits are the same
}

// limitedRoute is the route of unpack with a limit.
type limitedRoute struct {
	max   int
	route string
}

var (
	_ xfer.Appender = (*filter)(nil)
	_ xfer.Remote   = (*filter)(nil)
)

func newFilter(h *Handle, desc contract.Part) (part, error) {
	if desc.ID == 0 {
		return nil, fmt.Errorf("its filter %s has the id 0", desc.Name)
	}
	var options contract.FilterOptions
	if err := parseOptions(desc, &options); err != nil {
		return nil, err
	}
	f := makeFilter(h, chainKey{1, [maxChain]byte{desc.ID}}, desc.Name)
	f.chains = options.Chains
	return f, nil
}

// ID returns the id, that of the outermost filter of a chain.
func (f *filter) ID() byte     { return f.key.ids[0] }
func (f *filter) Name() string { return f.name }

// Remote returns true: the filters of several frames of a session wait at the same time.
func (f *filter) Remote() bool { return true }

func (f *filter) OnPack(data []byte) ([]byte, error) { return f.h.ask(f.pack, data) }
func (f *filter) OnUnpack(data []byte) ([]byte, error) {
	return f.AppendUnpack(nil, data, xfer.DefaultMax)
}

func (f *filter) AppendPack(dst, src []byte) ([]byte, error) {
	return f.h.appendAnswer(dst, f.pack, src, math.MaxInt)
}

func (f *filter) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	return f.h.appendAnswer(dst, f.unpackRoute(max), src, max)
}

func (f *filter) unpackRoute(max int) string {
	l := f.limited.Load()
	if l == nil || l.max != max {
		l = &limitedRoute{max, f.unpack + "?" + contract.QueryMax + "=" + strconv.Itoa(max)}
		f.limited.Store(l)
	}
	return l.route
}

func (f *filter) prepare(ctx context.Context, inst *instance) error {
	if err := f.test(ctx, inst); err != nil || !f.chains {
		return err
	}
	twice := makeFilter(f.h, chainKey{2, [maxChain]byte{f.ID(), f.ID()}}, f.name+" twice")
	return twice.test(ctx, inst)
}

// test sends the instance an item and compares what comes back.
func (f *filter) test(ctx context.Context, inst *instance) error {
	sample := []byte("a guest's filter gives back what it was given")
	packed, err := inst.ask(ctx, f.pack, sample)
	if err != nil {
		return fmt.Errorf("filter %s: the self-test of pack: %w", f.name, err)
	}
	back, err := inst.ask(ctx, f.unpackRoute(xfer.DefaultMax), packed)
	if err == nil && !bytes.Equal(back, sample) {
		err = fmt.Errorf("%q came back as %q", sample, back)
	}
	if err != nil {
		return fmt.Errorf("filter %s: the self-test of unpack: %w", f.name, err)
	}
	return nil
}

func (f *filter) register(really bool) error {
	byID, err1 := xfer.Get(f.ID())
	byName, err2 := xfer.GetByName(f.name)
	for _, other := range []xfer.XferFilter{byID, byName} {
		if old, ours := other.(*filter); other != nil && !(ours && old.h.isClosed()) {
			return fmt.Errorf("its filter %s (id %d): the place of %s (id %d, %s) is taken: %w",
				f.name, f.ID(), other.Name(), other.ID(), origin(other), errTaken)
		}
	}
	if really && err1 != nil && err2 != nil {
		xfer.Register(f)
	} else if really {
		xfer.Replace(f)
	}
	return nil
}

var errTaken = errors.New("remove the import or the guest that has it, or give one of them another id and name")

// origin says where a registered part comes from.
func origin(v any) string {
	switch v := v.(type) {
	case *filter:
		return "of guest " + v.h.name
	case *codecPart:
		return "of guest " + v.h.name
	}
	return fmt.Sprintf("%T of this process", v)
}
