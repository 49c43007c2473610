package outproctest

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

const envRole = "OUTPROCTEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(envRole) != "" {
		guest.Config{Name: "suite"}.Serve(reverse{}, lines{})
	}
	os.Exit(m.Run())
}

func TestGuest(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	Run(t, self, func(g *outproc.Guest) { g.Env = []string{envRole + "=1", "GORACE=atexit_sleep_ms=0"} })
}

type reverse struct{}

func (reverse) ID() byte     { return 210 }
func (reverse) Name() string { return "reverse" }

func (reverse) OnPack(data []byte) ([]byte, error) {
	out := slices.Clone(data)
	slices.Reverse(out)
	return out, nil
}

func (r reverse) OnUnpack(data []byte) ([]byte, error) { return r.OnPack(data) }

// lines is JSON and a newline.
type lines struct{}

func (lines) ID() byte     { return 210 }
func (lines) Name() string { return "lines" }

func (lines) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := json.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (lines) Unmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(v)
}
