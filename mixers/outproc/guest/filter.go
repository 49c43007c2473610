package guest

import (
	"fmt"
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
		return contract.Part{ID: f.ID(), Name: f.Name()}, true
	},
	serve: func(s *server, parts []any, _ []contract.Part) {
		for _, part := range parts {
			f := part.(xfer.XferFilter)
			s.handleItem(contract.FilterRoute("pack", f.ID()), func(_ tp.CallCtx, item []byte) ([]byte, error) {
				return pack(f, item)
			})
			s.handleItem(contract.FilterRoute("unpack", f.ID()), func(ctx tp.CallCtx, item []byte) ([]byte, error) {
				max, err := queryMax(ctx)
				if err != nil {
					return nil, err
				}
				return unpack(f, item, max)
			})
		}
	},
}

func pack(f xfer.XferFilter, src []byte) ([]byte, error) {
	if a, ok := f.(xfer.Appender); ok {
		return a.AppendPack(make([]byte, 0, len(src)+64), src)
	}
	return f.OnPack(src)
}

func unpack(f xfer.XferFilter, src []byte, max int) ([]byte, error) {
	var out []byte
	var err error
	if a, ok := f.(xfer.Appender); ok {
		out, err = a.AppendUnpack(make([]byte, 0, len(src)), src, max)
	} else {
		out, err = f.OnUnpack(src)
	}
	if err == nil && len(out) > max {
		err = fmt.Errorf("%w: %d bytes, the limit is %d", xfer.ErrTooLarge, len(out), max)
	}
	return out, err
}

// queryMax returns the limit in the query of an unpack route, which has nothing else.
func queryMax(ctx tp.CallCtx) (int, error) {
	_, query, _ := strings.Cut(ctx.ServiceMethod(), "?")
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
