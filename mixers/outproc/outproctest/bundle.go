package outproctest

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// bundle: an item has the same result in a bundle as by itself, or none, and a bundle that
// cannot be read is refused. A guest without bundles passes.
func (s *suite) bundle(t *testing.T) {
	if s.desc.Bundle == 0 {
		return
	}
	b := s.startByHand(t)
	conn := b.open()
	var items, large []bundled
	for _, p := range s.desc.Parts {
		switch p.Kind {
		case contract.KindFilter:
			pack, unpack := contract.FilterRoute("pack", p.ID), contract.FilterRoute("unpack", p.ID)
			max := unpack + "?" + contract.QueryMax + "="
			packed := b.answer(conn, pack, "a sample", sample(600, 1))
			items = append(items, bundled{pack, sample(600, 1), unpack}, bundled{pack, nil, unpack}, bundled{unpack, packed, ""},
				bundled{max + "600", packed, ""}, bundled{max + "599", packed, ""}, bundled{unpack, []byte("garbage"), ""})
			for n := range min(s.desc.Bundle, contract.MaxBundleBytes/contract.MaxBundleItem-1) {
				large = append(large, bundled{pack, sample(contract.MaxBundleItem, uint64(n)), unpack})
			}
		case contract.KindCodec:
			marshal, unmarshal := contract.CodecRoute("marshal", p.ID), contract.CodecRoute("unmarshal", p.ID)
			data := b.answer(conn, marshal, "a list", []byte(`["a",1]`))
			items = append(items, bundled{marshal, []byte(`["a",1]`), unmarshal}, bundled{unmarshal, data, ""}, bundled{marshal, []byte("["), ""})
		}
	}
	require.NotEmpty(t, items, "the guest takes bundles, and has neither filters nor codecs")
	items = append(items, bundled{"/no/such/route", []byte("x"), ""}, bundled{contract.RouteDescribe, nil, ""})
	// One by one first, since a guest need not answer what is behind an item that takes long.
	for n := range items {
		b.wantBundle(conn, items[n:n+1])
	}
	for _, list := range [][]bundled{items, large, nil} {
		for n := 0; n == 0 || n < len(list); n += s.desc.Bundle {
			b.wantBundle(conn, list[n:min(n+s.desc.Bundle, len(list))])
		}
	}
	whole := contract.AppendBundled(nil, "/no/such/route", []byte("x"))
	for n := 1; n < len(whole); n++ {
		require.True(t, isError(b.call(conn, contract.RouteBundle, whole[:n])), "a bundle that is cut after %d bytes has a REPLY without an error", n)
	}
	require.False(t, isError(b.call(conn, contract.RoutePing, nil)), "a ping after bundles that were refused has an error")
}

type bundled struct {
	route string
	item  []byte
	back  string // the route back, if the result may be another one each time
}

// wantBundle sends a bundle and compares its results with those of the items by themselves.
func (b *byHand) wantBundle(conn net.Conn, items []bundled) {
	b.t.Helper()
	var body []byte
	for _, i := range items {
		body = contract.AppendBundled(body, i.route, i.item)
	}
	rest := b.answer(conn, contract.RouteBundle, "a bundle of "+strconv.Itoa(len(items))+" items", body)
	require.LessOrEqual(b.t, len(rest), contract.MaxBundleBytes+4*len(items), "the reply to a bundle is too large")
	for n, i := range items {
		got, more, answered, err := contract.CutResult(rest)
		require.NoError(b.t, err, "result %d of %d of a bundle", n, len(items))
		rest = more
		if !answered {
			continue
		}
		alone := b.call(conn, i.route, i.item)
		require.NotContains(b.t, i.route, "/guest/", "a bundle has a result for the control route %s", i.route)
		require.False(b.t, isError(alone), "%s with the body %.100q has a result in a bundle, and by itself the error %s", i.route, i.item, alone.Meta)
		if i.back != "" {
			alone.Body, got = b.answer(conn, i.back, "a result", alone.Body), b.answer(conn, i.back, "a result of a bundle", got)
		}
		require.Equal(b.t, alone.Body, got, "%s with the body %.100q: the result in a bundle is not that of the item by itself", i.route, i.item)
	}
	require.Empty(b.t, rest, "bytes behind the results of a bundle of %d items", len(items))
}
