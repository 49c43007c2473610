package outproc

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

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

// slowHandler takes its time for the first record.
type slowHandler struct {
	slog.Handler
	once *sync.Once
}

func (h slowHandler) Handle(ctx context.Context, r slog.Record) error {
	h.once.Do(func() { time.Sleep(2 * tailTime) })
	return h.Handler.Handle(ctx, r)
}

func (h slowHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return slowHandler{h.Handler.WithAttrs(attrs), h.once}
}

// What a guest has written is read also if the reader comes long after its end.
func TestLogsLate(t *testing.T) {
	var lines tptest.Lines
	h := loadRole(t, "parts", func(g *Guest) { g.Logger = slog.New(slowHandler{lines.Logger().Handler(), new(sync.Once)}) })
	for range 2 { // the second lines wait in the pipes until the first ones are logged
		_, err := filterOf(t).OnPack([]byte("!log!"))
		require.NoError(t, err)
	}
	require.NoError(t, h.Close())
	require.Equal(t, 2, strings.Count(strings.Join(lines.All(), "\n"), "plain text"))
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
