package browsers

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/browsers/drive"
)

// blockOf returns the first block of a page that is in a language and has a text.
func blockOf(t *testing.T, page, language, with string) string {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(match[1], with) {
			return match[1]
		}
	}
	t.Fatalf("%s has no block of %s with %q", page, language, with)
	return ""
}

// TestReadme opens the page of README.md, with its server, in each browser.
func TestReadme(t *testing.T) {
	program := blockOf(t, "../../README.md", "go", "mixers/websocket/js")
	page := blockOf(t, "../../README.md", "html", "teleport.js")
	require.Equal(t, program, blockOf(t, "../../doc/browser.md", "go", "mixers/websocket/js"))
	require.Equal(t, page, blockOf(t, "../../doc/browser.md", "html", "teleport.js"))

	const port = "ListenPort: 8080"
	require.Contains(t, program, port)
	program = strings.Replace(program, port, `LocalIP: "127.0.0.1"`, 1) // and any port
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "page"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "page/index.html"), []byte(page), 0o600))
	command(t, "../examples", "go", "build", "-o", dir+"/server", dir+"/main.go")

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	server := exec.CommandContext(ctx, "./server")
	server.Dir = dir
	out, err := server.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	defer server.Wait()
	defer cancel()
	address := ""
	for lines := bufio.NewScanner(out); address == "" && lines.Scan(); {
		if match := regexp.MustCompile(`addr:([\d.:]+)`).FindStringSubmatch(lines.Text()); match != nil {
			address = match[1]
		}
	}
	require.NotEmpty(t, address, "the server logs where it listens")

	for _, name := range drive.Names() {
		tab := open(t, ctx, name, "http://"+address+"/")
		require.NoError(t, tab.Wait(ctx, `document.body.innerText.trim() === "Hello Ann, who is `+drive.PromptAnswer+`"`))
	}
}
