package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/codecs/jsoncodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// keepLoggers restores the loggers, which a guest sets.
func keepLoggers(t *testing.T) {
	old := slog.Default()
	t.Cleanup(func() { slog.SetDefault(old); tp.SetLogger(old) })
}

type same struct{}

func (same) ID() byte                             { return 250 }
func (same) Name() string                         { return "same" }
func (same) OnPack(data []byte) ([]byte, error)   { return data, nil }
func (same) OnUnpack(data []byte) ([]byte, error) { return data, nil }

// text is JSON by another name.
type text struct{ jsoncodec.Codec }

func (text) Name() string { return "text" }

// broken is a codec that the host cannot use.
type broken struct{ text }

func (broken) Append(dst []byte, _ any) ([]byte, error) { return dst, errors.New("not encoded") }

func TestDescribe(t *testing.T) {
	keepLoggers(t)
	var out, errs bytes.Buffer
	c := Config{Name: "n", Version: "v1", Schema: json.RawMessage(`{"type":"object"}`)}
	require.Zero(t, c.run([]string{"describe"}, nil, &out, &errs, []any{same{}, text{}, broken{}}))
	d, err := contract.ParseDescription(bytes.Replace(out.Bytes(), []byte(`"name": "text"`), []byte(`"name": "text1"`), 1))
	require.ErrorContains(t, err, "its codecs text1 and text have the same id, 106")
	require.NoError(t, json.Unmarshal(out.Bytes(), &d))
	require.Empty(t, errs.String())
	require.Equal(t, "n v1", d.Name+" "+d.Version)
	require.JSONEq(t, `{"chains":true}`, string(d.Parts[0].Options))
	d.Parts[0].Options = nil
	require.Equal(t, contract.Part{Kind: "filter", ID: 250, Name: "same"}, d.Parts[0])
	require.Equal(t, contract.Part{Kind: "codec", ID: codec.JSON, Name: "text"}, d.Parts[1])
	require.Contains(t, d.Parts[2].Unfit, "codec text needs to know the types of the values, which JSON does not have (not encoded)")

	s, err := newServer(Config{}, []any{same{}})
	require.NoError(t, err)
	require.NotEmpty(t, s.desc.Name)
	require.NotEmpty(t, s.desc.Version)
}

// Started by hand a guest says what it is and what to do.
func TestByHand(t *testing.T) {
	keepLoggers(t)
	for _, test := range []struct {
		name  string
		c     Config
		args  []string
		parts []any
		code  int
		words string
	}{
		{"no host", Config{Name: "n"}, nil, []any{same{}}, 2, "n is a guest of Teleport: a host starts it with outproc.Load.\nTo see its parts: "},
		{"no parts", Config{}, nil, nil, 1, "guest: Serve needs at least one part"},
		{"no part", Config{}, nil, []any{same{}, "x"}, 1, "guest: part 1: string is no part"},
		{"no address", Config{}, []string{"serve", "/x"}, []any{same{}}, 1, "listen at /x: the address is neither unix:///path nor tcp+tls://host:port"},
		{"no TLS", Config{}, []string{"serve", "tcp+tls://:0"}, []any{same{}}, 1, "tcp+tls needs Config.TLS"},
		{"no socket", Config{}, []string{"serve", "unix:///nowhere/at/all"}, []any{same{}}, 1, "make its directory first"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var errs bytes.Buffer
			require.Equal(t, test.code, test.c.run(test.args, nil, io.Discard, &errs, test.parts))
			require.Contains(t, strings.ReplaceAll(errs.String(), `\n`, "\n"), test.words)
		})
	}
}

// A host of another version is refused in words, which the host has in its log.
func TestVersions(t *testing.T) {
	keepLoggers(t)
	t.Setenv(contract.EnvCookie, contract.Cookie)
	t.Setenv(contract.EnvVersions, "7,8")
	var errs bytes.Buffer
	require.Equal(t, 1, Config{}.run(nil, nil, io.Discard, &errs, []any{same{}}))
	require.Contains(t, errs.String(), "the host has the versions 7,8 of the contract, this guest has 1: build both with the same version of mixers/outproc")
}

// The token does not stay in the environment, for children of the guest.
func TestToken(t *testing.T) {
	keepLoggers(t)
	t.Setenv(contract.EnvCookie, contract.Cookie)
	t.Setenv(contract.EnvToken, "secret")
	t.Setenv(contract.EnvDir, filepath.Join(t.TempDir(), "missing"))
	var errs bytes.Buffer
	require.Equal(t, 1, Config{}.run(nil, nil, io.Discard, &errs, []any{same{}}))
	require.Contains(t, errs.String(), "listen on the lane's socket")
	require.Empty(t, os.Getenv(contract.EnvToken))
}
