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
			s.handleSmall(contract.FilterRoute("pack", f.ID()), func(_ tp.CallCtx, dst, item []byte) ([]byte, error) {
				return pack(f, dst, item)
			})
			s.handleSmall(contract.FilterRoute("unpack", f.ID()), func(ctx tp.CallCtx, dst, item []byte) ([]byte, error) {
				max, err := queryMax(ctx.ServiceMethod())
				if err != nil {
					return nil, err
				}
				return unpack(f, dst, item, max)
			})
		}
		s.peer.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
			op, chain := chainOf(ctx.ServiceMethod(), filters)
			if chain == nil {
				return nil, tp.NewRerror(tp.CodeNotFound, tp.CodeText(tp.CodeNotFound), "the guest has no route "+ctx.ServiceMethod())
			}
			out, err := s.answer(chain.run(op, ctx.ServiceMethod(), ctx.InputBodyBytes()))
			return out, tp.ToRerror(err)
		})
	},
}

// chains are the options of a filter that this package serves.
var chains, _ = json.Marshal(contract.FilterOptions{Chains: true})

// chain is several filters that take the bytes one after the other, outermost first.
type chain []xfer.XferFilter

// chainOf returns the operation and the filters of a route such as "/xfer/122+109/pack",
// nil for another route and for ids that the guest does not have.
func chainOf(route string, filters map[byte]xfer.XferFilter) (op string, list chain) {
	route, _, _ = strings.Cut(route, "?")
	rest, _ := strings.CutPrefix(route, "/xfer/")
	ids, op, _ := strings.Cut(rest, "/")
	if op != "pack" && op != "unpack" {
		return "", nil
	}
	for text := range strings.SplitSeq(ids, "+") {
		id, err := strconv.ParseUint(text, 10, 8)
		f := filters[byte(id)]
		if err != nil || f == nil {
			return "", nil
		}
		list = append(list, f)
	}
	return op, list
}

// run lets the item through the filters, as the route says.
func (c chain) run(op, route string, item []byte) ([]byte, error) {
	if op == "pack" {
		return c.pack(item)
	}
	max, err := queryMax(route)
	if err != nil {
		return nil, err
	}
	return c.unpack(item, max)
}

func (c chain) pack(src []byte) (out []byte, err error) {
	for _, f := range slices.Backward(c) {
		if src, err = pack(f, nil, src); err != nil {
			return nil, fmt.Errorf("filter %s: %w", f.Name(), err)
		}
	}
	return src, nil
}

func (c chain) unpack(src []byte, max int) (out []byte, err error) {
	for _, f := range c {
		if src, err = unpack(f, nil, src, max); err != nil {
			return nil, fmt.Errorf("filter %s: %w", f.Name(), err)
		}
	}
	return src, nil
}

// pack returns what f makes of src, in the memory of dst if that is possible.
func pack(f xfer.XferFilter, dst, src []byte) ([]byte, error) {
	if a, ok := f.(xfer.Appender); ok {
		return a.AppendPack(slices.Grow(dst, len(src)+64), src)
	}
	return f.OnPack(src)
}

// unpack is the reverse of pack. The result has at most max bytes.
func unpack(f xfer.XferFilter, dst, src []byte, max int) ([]byte, error) {
	var out []byte
	var err error
	if a, ok := f.(xfer.Appender); ok {
		out, err = a.AppendUnpack(slices.Grow(dst, len(src)), src, max)
	} else {
		out, err = f.OnUnpack(src)
	}
	if err == nil && len(out) > max {
		err = fmt.Errorf("%w: %d bytes, the limit is %d", xfer.ErrTooLarge, len(out), max)
	}
	return out, err
}

// queryMax returns the limit in the query of an unpack route, which has nothing else.
func queryMax(route string) (int, error) {
	_, query, _ := strings.Cut(route, "?")
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
