package outproctest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

const envRole = "OUTPROCTEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		guest.Config{Name: "suite"}.Serve(roles[role]...)
	}
	os.Exit(m.Run())
}

// roles are the parts of the test's guests.
var roles = map[string][]any{
	"pure":        {reverse{}, lines{}},
	"decider":     {rules{}, door{}},
	"observer":    {audit{}},
	"gateway":     {echo{}},
	"tls gateway": {echo{secure: true}},
	"bad route":   {badRoute{}},
	"picky":       {picky{}},
	"fragile":     {fragile{}},
}

func TestGuest(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	Run(t, self, func(g *outproc.Guest) { g.Env = []string{envRole + "=pure", "GORACE=atexit_sleep_ms=0"} })
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

// TestNamed runs the checks of the parts that have a name in place of an id.
func TestNamed(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"decider", "observer", "gateway", "tls gateway"} {
		t.Run(role, func(t *testing.T) {
			Run(t, self, func(g *outproc.Guest) { g.Env = []string{envRole + "=" + role, "GORACE=atexit_sleep_ms=0"} })
		})
	}
}

// TestCatches runs a check of the suite with a guest that breaks a rule: it must fail.
func TestCatches(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	if role := os.Getenv(envBad); role != "" {
		Run(t, self, func(g *outproc.Guest) { g.Env = []string{envRole + "=" + role, "GORACE=atexit_sleep_ms=0"} })
		return
	}
	for _, test := range []struct{ role, check, words string }{
		{"bad route", "decision badroute decides", "does not begin with /"},
		{"picky", "observer picky batches", "read the REPLY"},
		{"fragile", "gateway fragile garbage", "FAIL: TestCatches/gateway_fragile_garbage"},
	} {
		t.Run(test.role, func(t *testing.T) {
			cmd := exec.Command(self, "-test.run=^TestCatches$/^(describe|"+strings.ReplaceAll(test.check, " ", "_")+")$")
			cmd.Env = append(os.Environ(), envBad+"="+test.role)
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "the check has found nothing: %s", out)
			require.Contains(t, string(out), test.words)
		})
	}
}

// envBad is the role of a guest that breaks a rule.
const envBad = "OUTPROCTEST_BAD"
