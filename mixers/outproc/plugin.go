package outproc

import (
	"fmt"
	"strings"

	tp "github.com/teleport-go/teleport/core"
)

// A pluginPart is a part that is used as a plugin.
type pluginPart interface {
	plugin(PluginConfig) (tp.Plugin, error)
}

// A finisher is a part with work to do while Close still has its guest.
type finisher interface{ finish() }

// Plugin returns the observer or the decider with that name as a plugin: for a peer, a
// group or a handler, or for several. It works until Close; after that an observer drops
// all events, and a decider fails as config says.
func (h *Handle) Plugin(name string, config ...PluginConfig) (tp.Plugin, error) {
	var c PluginConfig
	if n := len(config); n > 0 {
		c = config[n-1]
	}
	var found []loadedPart
	var names []string
	for _, p := range h.parts {
		if _, ok := p.part.(pluginPart); ok {
			names = append(names, p.desc.Kind+" "+p.desc.Name)
			if p.desc.Name == name {
				found = append(found, p)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0].part.(pluginPart).plugin(c)
	case 0:
		return nil, fmt.Errorf("outproc: guest %s has no observer and no decider %q: it has [%s]", h.name, name, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("outproc: guest %s has an observer and a decider with the name %s: give one of them another name", h.name, name)
}

// await waits for an instance other than last; nil if stop was closed meanwhile.
func (h *Handle) await(stop <-chan struct{}, last *instance) *instance {
	for {
		h.mu.Lock()
		inst, changed := h.active.Load(), h.changed
		h.mu.Unlock()
		select {
		case <-stop:
			return nil
		default:
		}
		if inst != nil && inst != last {
			return inst
		}
		select {
		case <-changed:
		case <-stop:
			return nil
		}
	}
}

// finishParts lets the parts finish while there is a guest.
func (h *Handle) finishParts() {
	for _, p := range h.parts {
		if f, ok := p.part.(finisher); ok {
			f.finish()
		}
	}
}

func (o *observer) plugin(c PluginConfig) (tp.Plugin, error) {
	if c != (PluginConfig{}) {
		return nil, fmt.Errorf("outproc: %s of guest %s is an observer: a PluginConfig is for deciders", o.name, o.h.name)
	}
	return observing{o}, nil
}
