package drive_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/browsers/drive"
)

const page = `<!doctype html><title>test</title><body style="height: 3000px">
<form action="/done"><input name="text"><button style="position: absolute; top: 2500px">Send</button></form>`

// TestDrive fills in a form, in each browser.
func TestDrive(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) })
	mux.HandleFunc("/done", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%q", r.FormValue("text")) })
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close) // after the subtests, which run in parallel

	for _, name := range drive.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			b, err := drive.Start(ctx, name, t.TempDir())
			require.NoError(t, err)
			defer b.Close()
			defer func() {
				if t.Failed() {
					t.Log(b.Log())
				}
			}()
			tab, err := b.Open(ctx, srv.URL)
			require.NoError(t, err)

			var sum int
			require.NoError(t, tab.Eval(ctx, `new Promise(r => setTimeout(r, 1, 40)).then(n => n + 2)`, &sum))
			require.Equal(t, 42, sum)
			var answer string
			require.NoError(t, tab.Eval(ctx, `prompt("How are you?")`, &answer))
			require.Equal(t, drive.PromptAnswer, answer)
			require.ErrorContains(t, tab.Eval(ctx, `Promise.reject(new Error("odd"))`, nil), "odd")

			require.NoError(t, tab.Click(ctx, "input"))
			require.NoError(t, tab.Type(ctx, `a "é" 中`))
			require.NoError(t, tab.Click(ctx, "button"))
			require.NoError(t, tab.Wait(ctx, `location.pathname === "/done"`))
			var text string
			require.NoError(t, tab.Eval(ctx, `document.body.innerText`, &text))
			require.Equal(t, `"a \"é\" 中"`, text)

			require.NoError(t, tab.Navigate(ctx, srv.URL))
			require.NoError(t, tab.Click(ctx, "input"))
			require.NoError(t, tab.Type(ctx, "x"+drive.Enter))
			require.NoError(t, tab.Wait(ctx, `document.body.innerText === '"x"'`))

			other, err := b.Open(ctx, srv.URL)
			require.NoError(t, err)
			require.NoError(t, other.Close(ctx))

			canceled, cancel := context.WithCancel(ctx)
			cancel()
			require.ErrorIs(t, tab.Wait(canceled, "false"), context.Canceled)

			// A command that is given up does not end the others.
			for d := time.Duration(0); d < 2*time.Millisecond; d += 50 * time.Microsecond {
				brief, cancel := context.WithTimeout(ctx, d)
				tab.Eval(brief, "0", nil)
				cancel()
			}
			require.NoError(t, tab.Eval(ctx, "40 + 2", &sum))
			require.Equal(t, 42, sum)
		})
	}
	_, err := drive.Start(t.Context(), "lynx", t.TempDir())
	require.ErrorContains(t, err, `there is no browser "lynx", only chromium, firefox`)
}
