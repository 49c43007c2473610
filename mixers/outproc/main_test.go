package outproc

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

// envRole makes this test binary the guest of that role.
const envRole = "OUTPROC_TEST_ROLE"

// roles are the guests of the tests.
var roles = map[string]func(){
	"parts": func() { guest.Config{Name: "parts"}.Serve(reverse{200, "reverse"}, boxed{200, "boxed"}) },
}

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		roles[role]()
		return
	}
	slog.SetLogLoggerLevel(slog.LevelError)
	os.Exit(m.Run())
}

// reverse is a filter that reverses the bytes.
type reverse struct {
	id   byte
	name string
}

var errRefuse = errors.New("these bytes are not to be packed")

func (r reverse) ID() byte     { return r.id }
func (r reverse) Name() string { return r.name }

func (r reverse) OnPack(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte("refuse")) {
		return nil, errRefuse
	}
	return r.OnUnpack(data)
}

func (r reverse) OnUnpack(data []byte) ([]byte, error) {
	out := slices.Clone(data)
	slices.Reverse(out)
	return out, nil
}

var _ xfer.XferFilter = reverse{}

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
