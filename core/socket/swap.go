package socket

import "sync"

// Swap is a small map for the values that users store with a session, a socket or one
// exchange. The zero value is empty and ready. Safe for concurrent use.
type Swap struct {
	mu sync.RWMutex
	m  map[any]any
}

// Load returns the value of the key and whether there is one.
func (s *Swap) Load(key any) (value any, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, ok = s.m[key]
	return value, ok
}

// Store sets the value of the key.
func (s *Swap) Store(key, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[any]any)
	}
	s.m[key] = value
}

// LoadOrStore returns the value of the key if there is one (loaded is true); else it
// stores value and returns it.
func (s *Swap) LoadOrStore(key, value any) (actual any, loaded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.m[key]; ok {
		return v, true
	}
	if s.m == nil {
		s.m = make(map[any]any)
	}
	s.m[key] = value
	return value, false
}

// Range calls f for each pair, in no order, until it returns false. f sees a
// copy and may change the Swap.
func (s *Swap) Range(f func(key, value any) bool) {
	for k, v := range s.copy() {
		if !f(k, v) {
			return
		}
	}
}

// Random returns one pair; exist is false when there is none.
func (s *Swap) Random() (key, value any, exist bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for k, v := range s.m {
		return k, v, true
	}
	return nil, nil, false
}

// Delete removes the key.
func (s *Swap) Delete(key any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, key)
}

// Clear removes all.
func (s *Swap) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m = nil
}

// Len is the number of pairs.
func (s *Swap) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.m)
}

// CopyTo stores all pairs into dst.
func (s *Swap) CopyTo(dst *Swap) {
	for k, v := range s.copy() {
		dst.Store(k, v)
	}
}

func (s *Swap) copy() map[any]any {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.m) == 0 {
		return nil
	}
	m := make(map[any]any, len(s.m))
	for k, v := range s.m {
		m[k] = v
	}
	return m
}
