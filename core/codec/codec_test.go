package codec

import (
	"errors"
	"strings"
	"testing"
)

// upper is a codec for *string and string; refused values are all others.
type upper struct{ id byte }

var errRefused = errors.New("refused")

func (u upper) ID() byte     { return u.id }
func (u upper) Name() string { return "test upper " + string(rune(u.id)) }

func (u upper) Marshal(v any) ([]byte, error) {
	s, ok := v.(string)
	if !ok {
		return []byte("junk"), errRefused
	}
	return []byte(strings.ToUpper(s)), nil
}

func (u upper) Unmarshal(data []byte, v any) error {
	s, ok := v.(*string)
	if !ok {
		return errRefused
	}
	*s = strings.ToLower(string(data))
	return nil
}

// appending is upper with an Append, which breaks its promise on failure.
type appending struct {
	upper
	appends *int
}

func (a appending) Pure() bool { return true }

func (a appending) Append(dst []byte, v any) ([]byte, error) {
	*a.appends++
	b, err := a.Marshal(v)
	return append(dst, b...), err
}

var known = upper{240}

func TestMain(m *testing.M) {
	Register(known)
	m.Run()
}

func TestByIDAndName(t *testing.T) {
	for _, test := range []struct {
		name      string
		marshal   func(v any) ([]byte, error)
		unmarshal func(data []byte, v any) error
		err       error
		text      string
	}{
		{"id", func(v any) ([]byte, error) { return Marshal(240, v) }, func(d []byte, v any) error { return Unmarshal(240, d, v) }, nil, ""},
		{"name", func(v any) ([]byte, error) { return MarshalByName(known.Name(), v) }, func(d []byte, v any) error { return UnmarshalByName(known.Name(), d, v) }, nil, ""},
		{"unknown id", func(v any) ([]byte, error) { return Marshal(200, v) }, func(d []byte, v any) error { return Unmarshal(200, d, v) }, ErrUnsupported, "unsupported codec id: 200 (forgotten import?) registered: "},
		{"unknown name", func(v any) ([]byte, error) { return MarshalByName("xyz", v) }, func(d []byte, v any) error { return UnmarshalByName("xyz", d, v) }, ErrUnsupported, "unsupported codec name: xyz (forgotten import?) registered: "},
		{"no codec", func(v any) ([]byte, error) { return Marshal(NilCodecID, v) }, func(d []byte, v any) error { return UnmarshalByName(NilCodecName, d, v) }, ErrUnsupported, "unsupported codec "},
		{"shipped id", func(v any) ([]byte, error) { return Marshal(JSON, v) }, func(d []byte, v any) error { return Unmarshal(JSON, d, v) }, ErrUnsupported, `unsupported codec id: 106 (forgotten import?) import _ "github.com/teleport-go/teleport/codecs/jsoncodec"; registered: `},
		{"shipped name", func(v any) ([]byte, error) { return MarshalByName("protobuf", v) }, func(d []byte, v any) error { return UnmarshalByName("protobuf", d, v) }, ErrUnsupported, `unsupported codec name: protobuf (forgotten import?) import _ "github.com/teleport-go/teleport/codecs/pbcodec"; registered: `},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := test.marshal("hi")
			if want := "HI"; test.err == nil && (err != nil || string(b) != want) {
				t.Errorf("Marshal = %q, %v; want %q", b, err, want)
			}
			var s string
			uerr := test.unmarshal([]byte("HI"), &s)
			if want := "hi"; test.err == nil && (uerr != nil || s != want) {
				t.Errorf("Unmarshal: %q, %v; want %q", s, uerr, want)
			}
			for _, err := range []error{err, uerr} {
				if !errors.Is(err, test.err) {
					t.Errorf("error %v; want %v", err, test.err)
				}
				if err != nil && !strings.HasPrefix(err.Error(), test.text) {
					t.Errorf("error\n got %v\nwant %s…", err, test.text)
				}
			}
		})
	}
}

func TestAppendBody(t *testing.T) {
	n := 0
	for _, test := range []struct {
		name string
		c    Codec
	}{
		{"codec", upper{241}},
		{"appender", appending{upper{242}, &n}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dst := append(make([]byte, 0, 64), "head "...)
			got, err := AppendBody(dst, test.c, "body")
			if want := "head BODY"; err != nil || string(got) != want {
				t.Errorf("AppendBody = %q, %v; want %q", got, err, want)
			}
			got, err = AppendBody(dst, test.c, 7)
			if want := "head "; !errors.Is(err, errRefused) || string(got) != want {
				t.Errorf("AppendBody of a refused value = %q, %v; want %q, %v", got, err, want, errRefused)
			}
		})
	}
	if n != 2 {
		t.Errorf("Append was called %d times; want 2", n)
	}
}

func TestReplace(t *testing.T) {
	if _, err := Get(243); err != nil {
		Register(upper{243})
	} else {
		Replace(upper{243}) // the test runs for a second time
	}
	n := 0
	fast := appending{upper{243}, &n}
	Replace(fast)
	if c, err := Get(243); err != nil || c != fast {
		t.Errorf("Get after Replace = %v, %v; want %v", c, err, fast)
	}
	if c, err := GetByName(fast.Name()); err != nil || c != fast {
		t.Errorf("GetByName after Replace = %v, %v; want %v", c, err, fast)
	}
	ids := ""
	for _, c := range All() {
		ids += string(rune(c.ID()))
	}
	if want := string([]rune{240, 243}); ids != want {
		t.Errorf("All() has the ids %q; want %q", ids, want)
	}
}

func TestConstants(t *testing.T) {
	ids := string([]byte{JSON, Protobuf, Thrift, Form, Plain, XML, CBOR})
	if want := "jptfsxc"; ids != want {
		t.Errorf("ids are %q; want %q", ids, want)
	}
	names := strings.Join([]string{NameJSON, NameProtobuf, NameThrift, NameForm, NamePlain, NameXML, NameCBOR}, " ")
	if want := "json protobuf thrift form plain xml cbor"; names != want {
		t.Errorf("names are %q; want %q", names, want)
	}
}
