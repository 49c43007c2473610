package outproc

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
)

// What a guest logs are records of the host's logger, with the guest's name.
func TestLogs(t *testing.T) {
	var lines tptest.Lines
	h := loadRole(t, "parts", func(g *Guest) { g.Logger = lines.Logger() })
	_, err := filterOf(t).OnPack([]byte("!log!"))
	require.NoError(t, err)
	require.NoError(t, h.Close()) // its output is read to the end
	for _, words := range []string{"a warning", "plain text", "on stdout"} {
		require.True(t, lines.Contain(words), words)
	}
}

func TestRecords(t *testing.T) {
	var out bytes.Buffer
	l := &logs{to: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})).With("guest", "g")}
	for _, line := range []string{
		`{"time":"2026-01-02T03:04:05Z","level":"WARN","msg":"m","n":1,"g":{"a":[true]},"time2":"x"}`,
		`{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"below the level"}`,
		`{"level":"ERROR"}`,
		`{"level":"LOUD","msg":"m"}`,
		`plain`,
		"fatal error: all goroutines are asleep",
		"goroutine 1 [select]:",
	} {
		l.stderr([]byte(line))
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var r map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.Equal(t, "g", r["guest"])
		got = append(got, r["level"].(string)+" "+r["msg"].(string))
	}
	require.Equal(t, []string{"WARN m", "ERROR fatal error: all goroutines are asleep", "ERROR goroutine 1 [select]:"}, got)
	require.Contains(t, out.String(), `"time":"2026-01-02T03:04:05Z","level":"WARN","msg":"m","guest":"g","n":1,"g":{"a":[true]},"time2":"x"`)
	require.Equal(t, "fatal error: all goroutines are asleep\n\tgoroutine 1 [select]:", l.last())
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","level":"WARN","msg":"m","n":1}`))
	f.Add([]byte(`{"level":"INFO+2","msg":"","a":{"b":[}`))
	f.Fuzz(func(t *testing.T, line []byte) { parseRecord(line) })
}
