package registry

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Names holds values that have a name and no id. NewNames makes one.
type Names[E any] struct {
	words words

	mu    sync.Mutex // held by writers
	table atomic.Pointer[map[string]E]
}

// NewNames returns an empty registry; the parameters are those of New.
func NewNames[E any](kind string, missing error, known ...Known) *Names[E] {
	n := &Names[E]{words: words{kind, missing, known}}
	n.table.Store(&map[string]E{})
	return n
}

// Register adds e. It panics if the name is taken, and names both values. It is
// meant for init.
func (n *Names[E]) Register(name string, e E) { n.put(name, e, false) }

// Replace adds e, in place of the value that had the name. It is meant for main,
// before the registry is used.
func (n *Names[E]) Replace(name string, e E) { n.put(name, e, true) }

func (n *Names[E]) put(name string, e E, replace bool) {
	if isNil(e) {
		panic(n.words.kind + " can not be nil")
	}
	if name == "" {
		panic(n.words.kind + " name can not be empty")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := maps.Clone(*n.table.Load())
	if old, ok := c[name]; ok && !replace {
		panic(fmt.Sprintf("multi-register %s name: %s: %s and %s", n.words.kind, name, describe(old), describe(e)))
	}
	c[name] = e
	n.table.Store(&c)
}

// Get returns the value with that name. The error wraps the registry's missing
// error and says which import may be forgotten.
func (n *Names[E]) Get(name string) (E, error) {
	t := *n.table.Load()
	if e, ok := t[name]; ok {
		return e, nil
	}
	var none E
	return none, n.words.noName(name, slices.Sorted(maps.Keys(t)))
}

// Names returns the registered names, sorted.
func (n *Names[E]) Names() []string {
	return slices.Sorted(maps.Keys(*n.table.Load()))
}
