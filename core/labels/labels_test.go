package labels_test

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
	"unsafe"

	"github.com/teleport-go/teleport/core/internal/suite"
	"github.com/teleport-go/teleport/core/labels"
)

// made is the value of a label in these tests.
type made struct {
	label string
	uses  int
}

func newSet(rest string, most int) *labels.Set[*made] {
	return labels.New(rest, most, func(label string) *made { return &made{label: label} })
}

// names returns the labels of a set.
func names(s *labels.Set[*made]) (list []string) {
	for label := range s.All() {
		list = append(list, label)
	}
	return list
}

func TestPath(t *testing.T) {
	for _, test := range []struct{ method, want string }{
		{"", ""}, {"/a/b", "/a/b"}, {"/a?b=c", "/a"}, {"/a#b", "/a"}, {"/a#b?c", "/a"}, {"/a?b#c", "/a"}, {"?a", ""}, {"/a?", "/a"},
	} {
		if got := labels.Path(test.method); got != test.want {
			t.Errorf("Path(%q) = %q; want %q", test.method, got, test.want)
		}
	}
}

func TestMeet(t *testing.T) {
	long := "/" + strings.Repeat("x", labels.MaxPath-1)
	for _, test := range []struct{ name, method, want string }{
		{"path", "/a/b", "/a/b"},
		{"query", "/a?secret=1", "/a"},
		{"fragment", "/a#1", "/a"},
		{"the longest", long, long},
		{"the longest with a query", long + "?" + long, long},
		{"too long", long + "x", labels.Other},
		{"much too long", strings.Repeat(long, 1000), labels.Other},
		{"empty", "", labels.Other},
		{"query alone", "?/a", labels.Other},
		{"not UTF-8", "/a\xff", labels.Other},
		{"not UTF-8 in the query", "/a?\xff", "/a"},
		{"what has to be escaped", "/\"\\\n\x00{}", "/\"\\\n\x00{}"},
		{"the rest's own", labels.Other, labels.Other},
		{"the rest's own with a query", labels.Other + "?x", labels.Other},
		{"the other rest's", labels.Unknown, labels.Unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSet(labels.Other, 1)
			got := s.Meet(test.method)
			if got.label != test.want || s.Meet(test.method) != got || (got == s.Rest()) != (test.want == labels.Other) {
				t.Errorf("Meet(%q) = %q; want %q, twice the same", test.method, got.label, test.want)
			}
			want := slices.Compact([]string{labels.Other, test.want})
			if got := names(s); !slices.Equal(got, want) {
				t.Errorf("the labels are %q; want %q", got, want)
			}
		})
	}
}

func TestBound(t *testing.T) {
	s := newSet(labels.Other, 3)
	s.Add("/own") // does not count
	for i := range 100 {
		got := s.Meet("/" + strconv.Itoa(i))
		if i >= 3 != (got == s.Rest()) {
			t.Errorf("the label of path %d is %q", i, got.label)
		}
	}
	s.Add("/own too")
	if got, want := names(s), []string{labels.Other, "/own", "/0", "/1", "/2", "/own too"}; !slices.Equal(got, want) {
		t.Errorf("the labels are %q; want %q", got, want)
	}
	for _, label := range []string{"/own", "/2", "/own too"} {
		if a, b := s.Get(label), s.Meet(label+"?x"); a.label != label || a != b {
			t.Errorf("when it is full, Get and Meet of %q find %q, %q", label, a.label, b.label)
		}
	}
	if got := newSet(labels.Other, 0).Meet("/a"); got.label != labels.Other {
		t.Errorf("a set without room has made %q", got.label)
	}
}

// Get finds names, and makes no labels.
func TestGet(t *testing.T) {
	s := newSet(labels.Unknown, 0)
	a := s.Add("/a")
	for _, test := range []struct {
		name string
		want *made
	}{
		{"/a", a}, {"/A", s.Rest()}, {"/a?x", s.Rest()}, {"", s.Rest()}, {"/a\xff", s.Rest()}, {labels.Unknown, s.Rest()},
		{strings.Repeat("/a", 100_000), s.Rest()},
	} {
		if got := s.Get(test.name); got != test.want {
			t.Errorf("Get(%.20q) = %q; want %q", test.name, got.label, test.want.label)
		}
	}
	if got := names(s); len(got) != 2 {
		t.Errorf("the labels are %q; want two", got)
	}
}

func TestAdd(t *testing.T) {
	s := newSet(labels.Unknown, 0)
	for _, test := range []struct{ name, label string }{
		{"/a", "/a"}, {"/a?b", "/a?b"}, {"", ""}, {labels.Unknown, labels.Unknown}, {"/\xff", "/\ufffd"}, {"/\xfe", "/\ufffd"}, {"/\ufffd", "/\ufffd"},
		{strings.Repeat("x", labels.MaxPath+1), strings.Repeat("x", labels.MaxPath+1)},
	} {
		if got := s.Add(test.name); got.label != test.label || s.Get(test.name) != got || s.Add(test.name) != got {
			t.Errorf("Add(%.20q) = %q; want %q, and to find it", test.name, got.label, test.label)
		}
	}
	list := names(s)
	slices.Sort(list)
	if len(list) != 6 || len(slices.Compact(list)) != 6 {
		t.Errorf("the labels are %q; want six, each once", list)
	}
}

// A label does not keep alive the frame that its name was in.
func TestLabelIsACopy(t *testing.T) {
	frame := strings.Repeat("x", 1000)
	for name, got := range map[string]string{
		"Meet": newSet(labels.Other, 1).Meet(frame[:9]).label,
		"Add":  newSet(labels.Other, 1).Add(frame[:9]).label,
	} {
		if unsafe.StringData(got) == unsafe.StringData(frame) {
			t.Errorf("the label of %s is a part of the frame", name)
		}
	}
}

func TestAllEndsEarly(t *testing.T) {
	s := newSet(labels.Other, 10)
	s.Meet("/a")
	for label := range s.All() {
		if label != labels.Other {
			t.Errorf("yielded %q after the end", label)
		}
		break
	}
}

// Concurrent callers make as many labels as sequential ones, each once.
func TestConcurrent(t *testing.T) {
	const most = 50
	var mu sync.Mutex
	values := make(map[string]int)
	s := labels.New(labels.Other, most, func(label string) *made {
		mu.Lock()
		defer mu.Unlock()
		values[label]++
		return &made{label: label}
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				path := "/" + strconv.Itoa((i*100+j)%400)
				if v := s.Meet(path + "?x"); v.label != path && v != s.Rest() {
					t.Errorf("Meet(%q) = %q", path, v.label)
				}
				own := "/own" + strconv.Itoa(j)
				if v := s.Add(own); v.label != own || s.Get(own) != v {
					t.Errorf("Add(%q) = %q, and Get %q", own, v.label, s.Get(own).label)
				}
				if j%50 == 0 {
					names(s)
				}
			}
		})
	}
	wg.Wait()
	if got := len(names(s)); got != 1+most+200 || len(values) != got {
		t.Errorf("%d labels, of %d values; want %d", got, len(values), 1+most+200)
	}
	for label, n := range values {
		if n != 1 {
			t.Errorf("the value of %q was made %d times", label, n)
		}
	}
}

// A name that has a label, or gets none, does not allocate.
func TestAllocs(t *testing.T) {
	s := newSet(labels.Other, 1)
	s.Meet("/a")
	if n := suite.Allocs(0, func() {
		for _, name := range []string{"/a", "/a?x", "/b", "/\xff", ""} {
			s.Meet(name).uses++
			s.Get(name).uses++
		}
	}); n > 0 {
		t.Errorf("%v allocations; want none", n)
	}
}

func FuzzMeet(f *testing.F) {
	for _, seed := range []string{"/a", "/a?b", "#", "\xff", "/\x00\n", labels.Other, strings.Repeat("/", labels.MaxPath+1)} {
		f.Add(seed, seed+"/b")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		s := newSet(labels.Other, 1)
		s.Meet(a)
		s.Meet(b)
		list := names(s)
		if len(list) > 2 {
			t.Errorf("%q and %q have made %q", a, b, list)
		}
		for _, label := range list {
			if !utf8.ValidString(label) || len(label) > labels.MaxPath || strings.ContainsAny(label, "?#") || label == "" {
				t.Errorf("%q and %q have made the label %q", a, b, label)
			}
		}
	})
}

func BenchmarkMeet(b *testing.B) {
	s := newSet(labels.Other, labels.MaxPaths)
	for i := range labels.MaxPaths {
		s.Meet("/math/add" + strconv.Itoa(i))
	}
	for _, test := range []struct{ name, method string }{{"there", "/math/add7"}, {"with a query", "/math/add7?x=1"}, {"no room", "/math/sub"}} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Meet(test.method)
			}
		})
	}
}
