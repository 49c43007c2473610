// Package registry holds the implementations that packages register: one for each id
// and each name.
//
// Registry is for kinds with an id of one byte on the wire (codecs, filters), Names for
// kinds with a name only (protocols, networks). Both are copy-on-write: a look-up is one
// atomic load, and never waits for a registration. All methods may be called
// concurrently.
package registry

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Element is a value of a Registry. Registering calls ID and Name once.
type Element interface {
	// ID returns the id on the wire; 0 is refused.
	ID() byte
	// Name returns the name; the empty one is refused.
	Name() string
}

// Registry holds elements by id and by name. New makes one.
type Registry[E Element] struct {
	words words

	mu    sync.Mutex // held by writers
	table atomic.Pointer[table[E]]
}

// table is never changed once it is published.
type table[E Element] struct {
	byID   [256]slot[E]
	byName map[string]byte
}

type slot[E Element] struct {
	e    E
	name string // empty: nothing here
}

// New returns an empty registry. kind is the word for one element ("codec"),
// missing the error that a failed look-up wraps and starts with ("unsupported
// codec"), known the elements that the project ships, for the hint in that error.
func New[E Element](kind string, missing error, known ...Known) *Registry[E] {
	r := &Registry[E]{words: words{kind, missing, known}}
	r.table.Store(&table[E]{byName: map[string]byte{}})
	return r
}

// Register adds e. It panics if the id or the name is taken, and names both elements.
// It is meant for init.
func (r *Registry[E]) Register(e E) {
	id, name := r.identity(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.table.Load()
	if s := &old.byID[id]; s.name != "" {
		panic(fmt.Sprintf("multi-register %s id: %d: %q (%T) and %q (%T)", r.words.kind, id, s.name, s.e, name, e))
	}
	if other, ok := old.byName[name]; ok {
		panic(fmt.Sprintf("multi-register %s name: %s: id %d (%T) and id %d (%T)",
			r.words.kind, name, other, old.byID[other].e, id, e))
	}
	r.table.Store(old.with(id, name, e))
}

// Replace adds e. An element that had its id or its name is removed, by id and by name,
// so that none is left half registered. It is meant for main, before the registry is
// used.
func (r *Registry[E]) Replace(e E) {
	id, name := r.identity(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table.Store(r.table.Load().with(id, name, e))
}

// Get returns the element with that id. The error wraps the registry's missing
// error and says which import may be forgotten.
func (r *Registry[E]) Get(id byte) (E, error) {
	if s := &r.table.Load().byID[id]; s.name != "" {
		return s.e, nil
	}
	var none E
	return none, r.words.noID(id, r.list())
}

// GetByName returns the element with that name. The error is like that of Get.
func (r *Registry[E]) GetByName(name string) (E, error) {
	t := r.table.Load()
	if id, ok := t.byName[name]; ok {
		return t.byID[id].e, nil
	}
	var none E
	return none, r.words.noName(name, r.list())
}

// All returns the elements in the order of their ids.
func (r *Registry[E]) All() []E {
	t := r.table.Load()
	all := make([]E, 0, len(t.byName))
	for id := range t.byID {
		if s := &t.byID[id]; s.name != "" {
			all = append(all, s.e)
		}
	}
	return all
}

func (r *Registry[E]) identity(e E) (byte, string) {
	if isNil(e) {
		panic(r.words.kind + " can not be nil")
	}
	id, name := e.ID(), e.Name()
	if id == 0 {
		panic(r.words.kind + " id can not be 0")
	}
	if name == "" {
		panic(r.words.kind + " name can not be empty")
	}
	return id, name
}

func (r *Registry[E]) list() []string {
	t := r.table.Load()
	var list []string
	for id := range t.byID {
		if name := t.byID[id].name; name != "" {
			list = append(list, name+" ("+idText(byte(id))+")")
		}
	}
	return list
}

// with returns a copy of t in which e has the id and the name.
func (t *table[E]) with(id byte, name string, e E) *table[E] {
	c := &table[E]{byID: t.byID, byName: make(map[string]byte, len(t.byName)+1)}
	if other, ok := t.byName[name]; ok {
		c.byID[other] = slot[E]{}
	}
	c.byID[id] = slot[E]{e, name}
	for i := range c.byID {
		if n := c.byID[i].name; n != "" {
			c.byName[n] = byte(i)
		}
	}
	return c
}
