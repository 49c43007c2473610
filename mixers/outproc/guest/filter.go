package guest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

var filterKind = kind{
	word:  contract.KindFilter,
	value: "xfer.XferFilter",
	describe: func(part any) (contract.Part, bool) {
		f, ok := part.(xfer.XferFilter)
		if !ok {
			return contract.Part{}, false
		}
		return contract.Part{ID: f.ID(), Name: f.Name(), Options: chains}, true
	},
	serve: func(s *server, parts []any) {
		filters := map[byte]xfer.XferFilter{}
		for _, part := range parts {
			f := part.(xfer.XferFilter)
			filters[f.ID()] = f
			s.handleTranslation(contract.FilterRoute("pack", f.ID()), chain{f}.pack)
			s.handleTranslation(contract.FilterRoute("unpack", f.ID()), chain{f}.unpack)
		}
		s.chain = func(route string) translation { return chainOf(route, filters) }
		s.peer.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
			route, _, _ := strings.Cut(ctx.ServiceMethod(), "?")
			f := s.chain(route)
			if f == nil {
				return nil, tp.NewRerror(tp.CodeNotFound, tp.CodeText(tp.CodeNotFound), "the guest has no route "+ctx.ServiceMethod())
			}
			out, err := s.answer(f.of(ctx.ServiceMethod(), nil, ctx.InputBodyBytes()))
			return out, tp.ToRerror(err)
		})
	},
}

// chains are the options of a filter that this package serves.
var chains, _ = json.Marshal(contract.FilterOptions{Chains: true})

// chain is filters that take the bytes one after the other, outermost first.
type chain []xfer.XferFilter

// chainOf returns the translation of a route such as "/xfer/122+109/pack", nil for another
// route and for ids that the guest does not have.
func chainOf(route string, filters map[byte]xfer.XferFilter) translation {
	rest, _ := strings.CutPrefix(route, "/xfer/")
	ids, op, _ := strings.Cut(rest, "/")
	var list chain
	for text := range strings.SplitSeq(ids, "+") {
		id, err := strconv.ParseUint(text, 10, 8)
		f := filters[byte(id)]
		if err != nil || f == nil {
			return nil
		}
		list = append(list, f)
	}
	switch op {
	case "pack":
		return list.pack
	case "unpack":
		return list.unpack
	}
	return nil
}

func (c chain) pack(dst, src []byte, _ int) (out []byte, err error) {
	for i := len(c) - 1; i > 0; i-- {
		if src, err = pack(c[i], nil, src); err != nil {
			return dst, c.wrap(i, err)
		}
	}
	out, err = pack(c[0], dst, src)
	return out, c.wrap(0, err)
}

func (c chain) unpack(dst, src []byte, max int) (out []byte, err error) {
	last := len(c) - 1
	for i, f := range c[:last] {
		if src, err = unpack(f, nil, src, max); err != nil {
			return dst, c.wrap(i, err)
		}
	}
	out, err = unpack(c[last], dst, src, max)
	return out, c.wrap(last, err)
}

// wrap says which of several filters an error is of.
func (c chain) wrap(i int, err error) error {
	if err == nil || len(c) == 1 {
		return err
	}
	return fmt.Errorf("filter %s: %w", c[i].Name(), err)
}

// pack appends what f makes of src to dst.
func pack(f xfer.XferFilter, dst, src []byte) ([]byte, error) {
	if a, ok := f.(xfer.Appender); ok {
		return a.AppendPack(slices.Grow(dst, len(src)+64), src)
	}
	out, err := f.OnPack(src)
	return appended(dst, out), err
}

// unpack appends what f makes of src, at most max bytes, to dst.
func unpack(f xfer.XferFilter, dst, src []byte, max int) (out []byte, err error) {
	if a, ok := f.(xfer.Appender); ok {
		out, err = a.AppendUnpack(slices.Grow(dst, len(src)), src, max)
	} else {
		out, err = f.OnUnpack(src)
		out = appended(dst, out)
	}
	if n := len(out) - len(dst); err == nil && n > max {
		err = fmt.Errorf("%w: %d bytes, the limit is %d", xfer.ErrTooLarge, n, max)
	}
	return out, err
}

// appended appends b to dst. If dst is nil it is b.
func appended(dst, b []byte) []byte {
	if dst == nil {
		return b
	}
	return append(dst, b...)
}

// queryMax returns the limit in the query of an unpack route, which has nothing else.
func queryMax(query string) (int, error) {
	text, ok := strings.CutPrefix(query, contract.QueryMax+"=")
	if !ok {
		return xfer.DefaultMax, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the limit %q is not a number of bytes", text)
	}
	return n, nil
}
