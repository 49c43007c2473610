package outproc

import (
	"maps"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// chainKey is the ids of filters that are joined, outermost first.
type chainKey struct {
	n   int
	ids [maxChain]byte
}

// maxChain is how many filters are joined at most: the raw protocol reads no longer pipe.
const maxChain = 8

var _ xfer.Joiner = (*filter)(nil)

// Join joins filters of the same guest, which then takes the bytes through all of them in
// one item.
func (f *filter) Join(inner xfer.XferFilter) (xfer.XferFilter, bool) {
	g, ok := inner.(*filter)
	if !ok || f.h != g.h || !f.chains || !g.chains || f.key.n+g.key.n > maxChain {
		return nil, false
	}
	key := f.key
	copy(key.ids[key.n:], g.key.ids[:g.key.n])
	key.n += g.key.n
	if known := f.h.joined.Load(); known != nil {
		if both, ok := (*known)[key]; ok {
			return both, true
		}
	}
	return f.h.join(key, f.name+" and "+g.name), true
}

// join makes the filter of a chain, once.
func (h *Handle) join(key chainKey, name string) *filter {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := map[chainKey]*filter{}
	if old := h.joined.Load(); old != nil {
		if f, ok := (*old)[key]; ok {
			return f
		}
		known = maps.Clone(*old)
	}
	f := makeFilter(h, key, name)
	f.chains = true
	known[key] = f
	h.joined.Store(&known)
	return f
}

// makeFilter returns the filter of one id or of a chain.
func makeFilter(h *Handle, key chainKey, name string) *filter {
	ids := key.ids[:key.n]
	return &filter{
		h: h, key: key, name: name,
		pack:   contract.FilterRoute("pack", ids...),
		unpack: contract.FilterRoute("unpack", ids...),
	}
}
