// Package suite holds what the conformance suites of core share.
package suite

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
)

// Safely calls f and returns its error, or its panic as an error.
func Safely(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: panic: %v", what, r)
		}
	}()
	return f()
}

// Concurrently calls f rounds times on each of several goroutines.
func Concurrently(rounds int, f func() error) error {
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for g := range errs {
		wg.Go(func() {
			errs[g] = Safely("concurrent use", func() error {
				for range rounds {
					if err := f(); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Element is an element of a registry.
type Element interface {
	ID() byte
	Name() string
}

// Registered returns an error unless e is what get and getByName find by its id and
// its name.
func Registered[E Element](e E, get func(byte) (E, error), getByName func(string) (E, error)) error {
	id, name := e.ID(), e.Name()
	if id == 0 || name == "" {
		return fmt.Errorf("id %d, name %q: neither may be nil", id, name)
	}
	byID, err := get(id)
	if err != nil {
		return err
	}
	byName, err := getByName(name)
	if err != nil {
		return err
	}
	for _, found := range []E{byID, byName} {
		if found.ID() != id || found.Name() != name || reflect.TypeOf(found) != reflect.TypeOf(e) {
			return fmt.Errorf("id %d and name %q lead to %T with id %d and name %q; want %T", id, name, found, found.ID(), found.Name(), e)
		}
	}
	return nil
}

// Buffers returns buffers to append to: an empty one, and some with the same bytes and
// no, little, and large bytes of free capacity.
func Buffers(large int) [][]byte {
	const head = "what was there"
	return [][]byte{
		nil,
		append(make([]byte, 0, len(head)), head...),
		append(make([]byte, 0, len(head)+1), head...),
		append(make([]byte, 0, len(head)+large), head...),
	}
}

// Scribble overwrites b, up to its capacity.
func Scribble(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] ^= 0x55
	}
}
