package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

type thing struct {
	id   byte
	name string
	tag  int
}

func (t thing) ID() byte     { return t.id }
func (t thing) Name() string { return t.name }

var errMissing = errors.New("unsupported thing")

func newThings() *Registry[Element] {
	return New[Element]("thing", errMissing, Known{'j', "json", "example.org/jsoncodec"})
}

// panics returns what f panics with, as text; "" if it does not.
func panics(f func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}

func TestLookUp(t *testing.T) {
	r := newThings()
	a, b := thing{'a', "alpha", 0}, thing{200, "beta", 0}
	r.Register(b)
	r.Register(a)
	for _, want := range []thing{a, b} {
		if got, err := r.Get(want.id); got != want || err != nil {
			t.Errorf("Get(%d) = %v, %v; want %v", want.id, got, err, want)
		}
		if got, err := r.GetByName(want.name); got != want || err != nil {
			t.Errorf("GetByName(%q) = %v, %v; want %v", want.name, got, err, want)
		}
	}
	if got, want := r.All(), []Element{a, b}; !slices.Equal(got, want) {
		t.Errorf("All() = %v; want %v", got, want)
	}
}

func TestLookUpFails(t *testing.T) {
	full := newThings()
	full.Register(thing{'a', "alpha", 0})
	full.Register(thing{200, "beta", 0})
	byID := func(r *Registry[Element], id byte) error { _, err := r.Get(id); return err }
	byName := func(r *Registry[Element], name string) error { _, err := r.GetByName(name); return err }
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"id", byID(full, 201), `unsupported thing id: 201 (forgotten import?) registered: alpha (97 'a'), beta (200)`},
		{"id 0", byID(full, 0), `unsupported thing id: 0 (forgotten import?) registered: alpha (97 'a'), beta (200)`},
		{"id the project ships", byID(full, 'j'), `unsupported thing id: 106 (forgotten import?) import _ "example.org/jsoncodec"; registered: alpha (97 'a'), beta (200)`},
		{"name", byName(full, "xyz"), `unsupported thing name: xyz (forgotten import?) registered: alpha (97 'a'), beta (200)`},
		{"no name", byName(full, ""), `unsupported thing name:  (forgotten import?) registered: alpha (97 'a'), beta (200)`},
		{"name the project ships", byName(newThings(), "json"), `unsupported thing name: json (forgotten import?) import _ "example.org/jsoncodec"; registered: nothing`},
		{"name with a newline", byName(newThings(), "a\nb"), `unsupported thing name: "a\nb" (forgotten import?) registered: nothing`},
		{"name of 1 MiB", byName(newThings(), strings.Repeat("x", 1<<20)), `unsupported thing name: "` + strings.Repeat("x", 64) + `"… (forgotten import?) registered: nothing`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !errors.Is(test.err, errMissing) {
				t.Errorf("%v does not wrap %v", test.err, errMissing)
			}
			if got := test.err.Error(); got != test.want {
				t.Errorf("error\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestRegisterPanics(t *testing.T) {
	for _, test := range []struct {
		name string
		e    Element
		want string
	}{
		{"nil", nil, "thing can not be nil"},
		{"nil pointer", (*thing)(nil), "thing can not be nil"},
		{"id 0", thing{0, "x", 0}, "thing id can not be 0"},
		{"no name", thing{'x', "", 0}, "thing name can not be empty"},
		{"id taken", thing{'a', "x", 0}, `multi-register thing id: 97: "alpha" (registry.thing) and "x" (registry.thing)`},
		{"name taken", thing{'x', "alpha", 0}, `multi-register thing name: alpha: id 97 (registry.thing) and id 120 (registry.thing)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newThings()
			r.Register(thing{'a', "alpha", 0})
			if got := panics(func() { r.Register(test.e) }); got != test.want {
				t.Errorf("Register panics with\n got %q\nwant %q", got, test.want)
			}
			if n := len(r.All()); n != 1 {
				t.Errorf("%d things are registered; want 1", n)
			}
			r.Register(thing{'b', "beta", 0}) // no lock is left locked
		})
	}
}

func TestReplace(t *testing.T) {
	a, b := thing{'a', "alpha", 0}, thing{'b', "beta", 0}
	for _, test := range []struct {
		name string
		e    thing
		want []Element
	}{
		{"none", thing{'c', "gamma", 1}, []Element{a, b, thing{'c', "gamma", 1}}},
		{"id and name of one", thing{'a', "alpha", 1}, []Element{thing{'a', "alpha", 1}, b}},
		{"id of one", thing{'a', "gamma", 1}, []Element{thing{'a', "gamma", 1}, b}},
		{"name of one", thing{'c', "alpha", 1}, []Element{b, thing{'c', "alpha", 1}}},
		{"id of one, name of the other", thing{'a', "beta", 1}, []Element{thing{'a', "beta", 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newThings()
			r.Register(a)
			r.Register(b)
			r.Replace(test.e)
			if got := r.All(); !slices.Equal(got, test.want) {
				t.Errorf("All() = %v; want %v", got, test.want)
			}
			for _, e := range []thing{a, b, test.e} {
				want := slices.Contains(test.want, Element(e)) || e.name == test.e.name
				if _, err := r.GetByName(e.name); (err == nil) != want {
					t.Errorf("GetByName(%q): %v; want found = %t", e.name, err, want)
				}
			}
		})
	}
	if got, want := panics(func() { newThings().Replace(thing{0, "x", 0}) }), "thing id can not be 0"; got != want {
		t.Errorf("Replace of id 0 panics with %q; want %q", got, want)
	}
}

func TestNames(t *testing.T) {
	n := NewNames[func() int]("proto", errMissing, Known{Name: "raw", Import: "example.org/rawproto"})
	n.Register("one", one)
	if got, want := panics(func() { n.Register("one", two) }), "registry.one and github.com"; !strings.Contains(got, want) {
		t.Errorf("Register panics with %q; want it to contain %q", got, want)
	}
	if f, err := n.Get("one"); err != nil || f() != 1 {
		t.Errorf("Get(one) after a refused Register: %v", err)
	}
	n.Replace("one", two)
	n.Replace("a", one)
	if f, err := n.Get("one"); err != nil || f() != 2 {
		t.Errorf("Get(one) after Replace: %v", err)
	}
	if got, want := n.Names(), []string{"a", "one"}; !slices.Equal(got, want) {
		t.Errorf("Names() = %q; want %q", got, want)
	}
	_, err := n.Get("raw")
	if want := `unsupported thing name: raw (forgotten import?) import _ "example.org/rawproto"; registered: a, one`; err == nil || err.Error() != want || !errors.Is(err, errMissing) {
		t.Errorf("Get(raw):\n got %v\nwant %s", err, want)
	}
	for _, test := range []struct {
		name, as, want string
		e              func() int
	}{
		{"no name", "", "proto name can not be empty", one},
		{"nil", "x", "proto can not be nil", nil},
	} {
		if got := panics(func() { n.Register(test.as, test.e) }); got != test.want {
			t.Errorf("%s: Register panics with %q; want %q", test.name, got, test.want)
		}
	}
}

func one() int { return 1 }
func two() int { return 2 }

func TestConcurrent(t *testing.T) {
	r := newThings()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 32 {
				e := thing{byte(1 + g*32 + i), fmt.Sprintf("%d-%d", g, i), 0}
				r.Register(e)
				if got, err := r.GetByName(e.name); got != e || err != nil {
					t.Errorf("GetByName(%q) = %v, %v", e.name, got, err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(r.All()); got != 128 {
		t.Errorf("%d things are registered; want 128", got)
	}
}

func BenchmarkGet(b *testing.B) {
	r := newThings()
	r.Register(thing{'a', "alpha", 0})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Get('a'); err != nil {
			b.Fatal(err)
		}
	}
}
