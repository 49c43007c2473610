package measure

import "github.com/teleport-go/teleport/core/codec"

// Meter measures one body. Its methods are called in the order of the body's values;
// after an error, which is a [codec.LimitError], it is of no use.
type Meter struct {
	Budget
	format *Format
	root   *shape
	stack  []frame
}

// frame is a list, map or struct that has begun. What is in a frame without a shape is
// skipped by the library and takes nothing.
type frame struct {
	shape *shape
	asMap bool   // an any holds a map
	n     int    // how many values it has so far
	paid  bool   // the places of all its values have been counted
	field *shape // of the value that follows, in a struct
}

// Meter returns a meter for a body of size bytes that is decoded into the value v points
// to. nesting is how many levels the body has at most. The result is nil if no limit can
// be exceeded.
func (f *Format) Meter(size, nesting int, v any) *Meter { return f.MeterFor(nil, size, nesting, v) }

// MeterFor is Meter for a body whose value is reserved on an account, by Reserve after it
// was measured. The result is nil only if the value is small, too.
func (f *Format) MeterFor(account codec.Account, size, nesting int, v any) *Meter {
	if Small(size) {
		return nil
	}
	p := f.planFor(v)
	if p == nil {
		return nil
	}
	b := NewBudget(size)
	values := float64(size) / float64(f.MinValue)
	if b.AllowsDepth(nesting) && b.Allows(values, p.worst) && !Reserves(account, values, p.worst) {
		return nil
	}
	return &Meter{Budget: b, format: f, root: p.shape}
}

// Name says which field or key the next value has.
func (m *Meter) Name(name []byte) {
	if f := m.top(); f != nil && f.shape != nil && f.shape.kind == record {
		f.field = f.shape.field(name)
	}
}

// Value counts a value without elements.
func (m *Meter) Value() error {
	s, err := m.next()
	if err == nil && s != nil && s.kind == dynamic {
		err = m.Take(1, anyValue)
	}
	return err
}

// BeginList counts a list, whose elements follow until End.
func (m *Meter) BeginList() error { return m.begin(false) }

// BeginMap counts a map or a struct, whose values follow until End.
func (m *Meter) BeginMap() error { return m.begin(true) }

func (m *Meter) begin(asMap bool) error {
	if err := m.Enter(); err != nil {
		return err
	}
	s, err := m.next()
	if err != nil {
		return err
	}
	if s != nil {
		switch {
		case s.kind == mapping || s.kind == dynamic && asMap:
			err = m.Take(1, anyMap)
		case s.kind == dynamic:
			err = m.Take(1, anyList)
		case s.kind == leaf:
			s = nil
		}
	}
	m.stack = append(m.stack, frame{shape: s, asMap: asMap})
	return err
}

// BeginListOf is BeginList for a list for whose n elements the library allocates memory
// at once. Value need not be called for them.
func (m *Meter) BeginListOf(n int) error {
	if err := m.BeginList(); err != nil {
		return err
	}
	f := m.top()
	f.paid = true
	if f.shape == nil || f.shape.kind != list {
		return nil
	}
	return m.Take(n, f.shape.elem.size)
}

// BeginMapOf is BeginMap for a map, as BeginListOf.
func (m *Meter) BeginMapOf(n int) error {
	if err := m.BeginMap(); err != nil {
		return err
	}
	f := m.top()
	f.paid = true
	if f.shape == nil || f.shape.kind != mapping {
		return nil
	}
	return m.Take(n, NextEntry(f.shape.key, f.shape.elem.size))
}

// End ends the list, map or struct that began last, if any.
func (m *Meter) End() {
	if n := len(m.stack); n > 0 {
		m.Leave()
		m.stack = m.stack[:n-1]
	}
}

func (m *Meter) top() *frame {
	if len(m.stack) == 0 {
		return nil
	}
	return &m.stack[len(m.stack)-1]
}

// next counts the place of a value, and what pointers to it take. It returns the value's
// shape, nil if the library skips it.
func (m *Meter) next() (*shape, error) {
	f := m.top()
	if f == nil {
		s, held := m.root.target()
		if s.kind == list && m.format.Repeats {
			s, held = s.elem.target()
		}
		return s, m.Take(1, held)
	}
	if f.shape == nil {
		return nil, nil
	}
	n := f.n
	f.n++
	place, elem := 0, f.shape.elem
	switch f.shape.kind {
	case list:
		place = elem.size
	case mapping:
		place = nthEntry(n, f.shape.key, elem.size)
	case dynamic:
		elem, place = f.shape, anySize
		if f.asMap {
			place = nthEntry(n, anySize, anySize)
		}
	case record:
		if f.asMap {
			elem, f.field = f.field, nil
		} else if elem = nil; n < len(f.shape.order) { // a struct as a list
			elem = f.shape.order[n]
		}
		if elem == nil {
			return nil, nil
		}
		if elem.kind == list && m.format.Repeats {
			elem = elem.elem
			place = elem.size
		}
	}
	s, held := elem.target()
	switch {
	case f.paid:
		return s, m.Take(1, held)
	case f.grows():
		m.Grows(1, place)
	}
	return s, m.Take(1, place+held)
}

// grows reports whether a value in the frame is an element of a list that grows.
func (f *frame) grows() bool {
	return f.shape.kind == list || f.shape.kind == dynamic && !f.asMap || f.shape.kind == record
}

// nthEntry returns what the nth entry of a map takes, from 0.
func nthEntry(n, key, value int) int {
	switch {
	case n == 0:
		return FirstEntry(key, value)
	case n < mapGroup:
		_, outside := entry(key, value)
		return outside
	}
	return NextEntry(key, value)
}
