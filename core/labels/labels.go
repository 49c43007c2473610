// Package labels bounds the number of labels of measurements.
//
// A service method is a poor label: the sender of a message chooses it, and every new
// one would cost memory here and in all systems that read the measurements. So incoming
// messages are labelled by the names of registered handlers, all others as [Unknown];
// outgoing messages by their path without query, for a bounded number of paths, all
// others as [Other]. A plugin that measures has a [Set] for each of the two:
//
//	in := labels.New(labels.Unknown, 0, newCounters)
//	out := labels.New(labels.Other, labels.MaxPaths, newCounters)
//
//	in.Add(handler.Name())      // PostReg: the program's own names
//	in.Get(ctx.Path())          // an incoming message
//	out.Meet(m.ServiceMethod()) // an outgoing message
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
	// Unknown is the usual label of incoming messages without a registered handler.
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

// Set holds a value for each of its labels, usually a pointer to counters. Finding a
// present label takes no lock and does not allocate; labels are never removed. All
// methods may be called concurrently. New makes a Set.
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
	met  int // how many labels of all Meet has made
}

type labelled[V any] struct {
	label string
	value V
}

// New returns a set with one label: rest, for all names that have no label of their own.
// Meet makes at most most labels; 0 means none. value makes the value of a label; it is
// called once for each label, one at a time, and must not use the set.
func New[V any](rest string, most int, value func(label string) V) *Set[V] {
	s := &Set[V]{most: most, make: value, rest: value(rest)}
	s.table.Store(&table[V]{find: map[string]V{rest: s.rest}, all: []labelled[V]{{rest, s.rest}}})
	return s
}

// Add makes a label for a name, without regard to the bound, and returns its value. The
// name must be the program's own, such as a handler's. Bytes of it that are not UTF-8
// become U+FFFD in the label.
func (s *Set[V]) Add(name string) V { return s.add(name, false) }

// Get returns the value of a name that Add or Meet has made a label for, else that of rest.
func (s *Set[V]) Get(name string) V {
	if v, ok := s.table.Load().find[name]; ok {
		return v
	}
	return s.rest
}

// Meet returns the value of a service method's path. It makes a label for a new path,
// up to the bound of New. Further paths, empty ones, those longer than MaxPath, and those
// that are not UTF-8 have the value of rest.
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

// All iterates over the labels: first rest, then the others in the order they were made.
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
	name = strings.Clone(name) // it may be a part of a frame, which must not stay in memory
	label := strings.ToValidUTF8(name, "\ufffd")
	t := &table[V]{find: maps.Clone(old.find), all: old.all, met: old.met}
	v, ok := old.find[label]
	if !ok {
		v = s.make(label)
		t.find[label] = v
		t.all = append(t.all, labelled[V]{label, v}) // beyond the length that concurrent readers use
		if met {
			t.met++
		}
	}
	t.find[name] = v
	s.table.Store(t)
	return v
}
