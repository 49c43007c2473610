// Package labels keeps the names by which things are measured few.
//
// A service method is a poor label: whoever sends messages chooses it, and every
// new one would cost memory here and in all that reads the measurements. So what is
// served goes by the names that handlers were registered with, all else as
// [Unknown]; what is sent, by its path without query, a bounded number of them, all
// else as [Other]. A plugin that counts has a [Set] for each of the two:
//
//	in := labels.New(labels.Unknown, 0, newCounters)
//	out := labels.New(labels.Other, labels.MaxPaths, newCounters)
//
//	in.Add(handler.Name())      // PostReg: the program's own names
//	in.Get(ctx.Path())          // a message that has come
//	out.Meet(m.ServiceMethod()) // a message that goes out
package labels

import (
	"iter"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

const (
	// Unknown is the usual label of incoming messages that have no handler of their own.
	Unknown = "unknown"
	// Other is the usual label of outgoing messages whose path did not become a label.
	Other = "other"

	// MaxPaths is the usual bound of a Set of paths.
	MaxPaths = 500
	// MaxPath is the length of the longest path that becomes a label, in bytes.
	MaxPath = 200
)

// Path returns a service method without its query and fragment.
func Path(method string) string {
	if i := strings.IndexAny(method, "?#"); i >= 0 {
		return method[:i]
	}
	return method
}

// Set has a value for each of its labels; usually a pointer to what is counted
// under it. A label that is there is found without a lock and without memory, and
// stays for good. All methods may be called concurrently. New makes one.
type Set[V any] struct {
	most  int
	make  func(string) V
	rest  V
	table atomic.Pointer[table[V]]
	mu    sync.Mutex // held while a label is made
}

// table does not change once made.
type table[V any] struct {
	find map[string]V // by name; several names may have the value of one label
	all  []labelled[V]
	met  int // of all: those that Meet has made
}

type labelled[V any] struct {
	label string
	value V
}

// New returns a set that has one label: rest, for all names that have none of their
// own. most bounds how many labels Meet makes; 0 is none at all. value makes the
// value of a label, once for each and one at a time; it must not use the set.
func New[V any](rest string, most int, value func(label string) V) *Set[V] {
	s := &Set[V]{most: most, make: value, rest: value(rest)}
	s.table.Store(&table[V]{find: map[string]V{rest: s.rest}, all: []labelled[V]{{rest, s.rest}}})
	return s
}

// Add makes a label of a name, whatever the bound, and returns its value. The name
// must be the program's own, such as a handler's; what is not UTF-8 in it becomes
// U+FFFD in the label.
func (s *Set[V]) Add(name string) V { return s.add(name, false) }

// Get returns the value of a name that Add or Meet has seen, else that of the rest.
func (s *Set[V]) Get(name string) V {
	if v, ok := s.table.Load().find[name]; ok {
		return v
	}
	return s.rest
}

// Meet returns the value of a service method's path, for which it makes a label
// while there are few. Of the rest are paths beyond that, empty ones, those over
// MaxPath, and those not in UTF-8.
func (s *Set[V]) Meet(method string) V {
	t := s.table.Load()
	if v, ok := t.find[method]; ok {
		return v
	}
	path := Path(method)
	if len(path) < len(method) {
		if v, ok := t.find[path]; ok {
			return v
		}
	}
	if t.met >= s.most || path == "" || len(path) > MaxPath || !utf8.ValidString(path) {
		return s.rest
	}
	return s.add(path, true)
}

// Rest returns the value of all names that have no label of their own.
func (s *Set[V]) Rest() V { return s.rest }

// All visits the labels, the rest first, the others in the order they were made in.
func (s *Set[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, l := range s.table.Load().all {
			if !yield(l.label, l.value) {
				return
			}
		}
	}
}

func (s *Set[V]) add(name string, met bool) V {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.table.Load()
	if v, ok := old.find[name]; ok {
		return v
	}
	if met && old.met >= s.most {
		return s.rest
	}
	name = strings.Clone(name) // it may be a part of a whole frame
	label := strings.ToValidUTF8(name, "\ufffd")
	t := &table[V]{find: maps.Clone(old.find), all: old.all, met: old.met}
	v, ok := old.find[label]
	if !ok {
		v = s.make(label)
		t.find[label] = v
		t.all = append(t.all, labelled[V]{label, v}) // behind what others read
		if met {
			t.met++
		}
	}
	t.find[name] = v
	s.table.Store(t)
	return v
}
