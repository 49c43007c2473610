package outproc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

// envRole makes this test binary the guest of that role.
const envRole = "OUTPROC_TEST_ROLE"

// roles are the programs of the tests.
var roles = map[string]func(){
	"parts": func() {
		guest.Config{Name: "parts", Version: "v1.2.3"}.Serve(reverse{200, "reverse"}, boxed{200, "boxed"})
	},
	"other":   func() { guest.Config{Name: "parts"}.Serve(reverse{201, "other"}) },
	"typed":   func() { guest.Serve(typed{boxed{201, "typed"}}) },
	"nothing": func() { guest.Serve() },
	"no part": func() { guest.Serve(42) },
	"config": func() {
		guest.Config{Configure: func(text json.RawMessage) error {
			if string(text) != `{"level":3}` {
				return fmt.Errorf("level must be 3, not %s", text)
			}
			return nil
		}}.Serve(reverse{200, "reverse"})
	},
	"wrong": func() { guest.Serve(wrong{reverse{202, "wrong"}}) },

	"garbage": func() { fmt.Println("hello, world"); io.Copy(io.Discard, os.Stdin) },
	"binary":  func() { os.Stdout.Write(bytes.Repeat([]byte{0, 255}, 1<<20)); io.Copy(io.Discard, os.Stdin) },
	"version": func() { fmt.Println("1|7|unix|/nowhere|tp"); io.Copy(io.Discard, os.Stdin) },
	"grpc":    func() { fmt.Println("1|1|unix|/nowhere|grpc"); io.Copy(io.Discard, os.Stdin) },
	"nowhere": func() { fmt.Println("1|1|unix|/nowhere|tp"); io.Copy(io.Discard, os.Stdin) },
	"hangs":   func() { time.Sleep(time.Hour) },
	"dies":    func() { fmt.Fprintln(os.Stderr, "no such table: users"); os.Exit(3) },
	"panics":  func() { panic("at the start") },
	"host":    hostMain,
}

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		roles[role]()
		return
	}
	slog.SetLogLoggerLevel(slog.LevelError)
	// A directory of its own for sockets, so that tests can see that nothing is left.
	base, err := os.MkdirTemp("", "op")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_RUNTIME_DIR", base)
	code := m.Run()
	os.RemoveAll(base)
	os.Exit(code)
}

// envGuest is the role of the guest that the host of the tests loads.
const envGuest = "OUTPROC_TEST_GUEST"

// hostMain loads a guest, prints its process id, and waits.
func hostMain() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	h, err := Load(context.Background(), Guest{Path: self, Env: []string{envRole + "=" + os.Getenv(envGuest)}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(h.Health().Processes[0].PID)
	io.Copy(io.Discard, os.Stdin)
}

// reverse is a filter that reverses the bytes. A word between exclamation marks in them
// makes it misbehave.
type reverse struct {
	id   byte
	name string
}

var errRefuse = errors.New("these bytes are not to be packed")

func (r reverse) ID() byte     { return r.id }
func (r reverse) Name() string { return r.name }

var leaked [][]byte

func (r reverse) OnPack(data []byte) ([]byte, error) {
	switch wordIn(data) {
	case "refuse":
		return nil, errRefuse
	case "panic":
		panic("in a filter")
	case "exit":
		os.Exit(4)
	case "hang":
		time.Sleep(time.Hour)
	case "large":
		return make([]byte, 2<<20), nil
	case "leak":
		b := bytes.Repeat([]byte("x"), 64<<20)
		leaked = append(leaked, b)
	case "log":
		slog.Warn("a warning", "count", 3, "nested", map[string]any{"a": "b"})
		fmt.Fprintln(os.Stderr, "plain text")
		fmt.Println("on stdout")
	case "pid":
		return fmt.Append(nil, os.Getpid()), nil
	}
	out := slices.Clone(data)
	slices.Reverse(out)
	return out, nil
}

func (r reverse) OnUnpack(data []byte) ([]byte, error) {
	out := slices.Clone(data)
	slices.Reverse(out)
	if wordIn(out) == "refuse in" {
		return nil, errRefuse
	}
	return out, nil
}

func wordIn(data []byte) string {
	_, after, _ := bytes.Cut(data, []byte("!"))
	word, _, _ := bytes.Cut(after, []byte("!"))
	return string(word)
}

var _ xfer.XferFilter = reverse{}

// wrong is a filter that does not give back what it was given.
type wrong struct{ reverse }

func (wrong) OnUnpack(data []byte) ([]byte, error) { return data, nil }

// boxed is a codec: JSON in brackets.
type boxed struct {
	id   byte
	name string
}

var _ codec.Codec = boxed{}

func (b boxed) ID() byte     { return b.id }
func (b boxed) Name() string { return b.name }

func (b boxed) Marshal(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return slices.Concat([]byte("["), text, []byte("]")), err
}

func (b boxed) Unmarshal(data []byte, v any) error {
	if len(data) < 2 || data[0] != '[' {
		return errors.New("no bracket")
	}
	return json.Unmarshal(data[1:len(data)-1], v)
}

// typed is a codec for values of one type.
type typed struct{ boxed }

type schema interface{ Schema() }

func (t typed) Marshal(v any) ([]byte, error) {
	if _, ok := v.(schema); !ok {
		return nil, fmt.Errorf("%T has no schema", v)
	}
	return t.boxed.Marshal(v)
}
