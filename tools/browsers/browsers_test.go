package browsers

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/browsers/drive"
)

var only = flag.String("case", "", "run this case of cases.js alone")

// npmEnv is the variable with the directory in which ci/browsers.sh has installed what is
// taken from npm.
const npmEnv = "TELEPORT_NPM"

// jsDir is the source of teleport.js.
const jsDir = "../../mixers/websocket/js"

var protocols = []string{"json", "raw", "pb"}

// limit bounds the work in one environment.
const limit = 5 * time.Minute

// result is that of a case, as cases.js has it.
type result struct {
	Name  string
	Error string
	Ms    int
}

// environment is env of cases.js.
type environment struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	URL      string `json:"url"`
	Control  string `json:"control"`
	WS       bool   `json:"ws,omitempty"`
	Resume   bool   `json:"resume,omitempty"`
}

// variants are the environments of one program: each protocol, and raw in sessions that
// outlive their connections.
func variants(name, url, control string, ws bool) (list []environment) {
	for _, protocol := range protocols {
		list = append(list, environment{name + " " + protocol, protocol, url, control, ws, false})
	}
	return append(list, environment{name + " raw resumed", "raw", url, control, ws, true})
}

// title is the name of the environment in its program.
func (e environment) title(name string) string { return strings.TrimPrefix(e.Name, name+" ") }

func report(t *testing.T, results []result) {
	require.NotEmpty(t, results)
	for _, r := range results {
		t.Run(r.Name, func(t *testing.T) {
			t.Logf("%d ms", r.Ms)
			if r.Error != "" {
				t.Error(r.Error)
			}
		})
	}
}

// browser is one that all tests share, since it takes seconds to start.
type browser struct {
	once sync.Once
	dir  string
	*drive.Browser
	err error
}

var browsers = func() map[string]*browser {
	m := make(map[string]*browser)
	for _, name := range drive.Names() {
		m[name] = new(browser)
	}
	return m
}()

// open opens a tab, which is closed at the end of the test, in a browser, which is started
// for the first one.
func open(t *testing.T, ctx context.Context, name, url string) *drive.Tab {
	b := browsers[name]
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "browsers"); b.err == nil {
			b.Browser, b.err = drive.Start(ctx, name, b.dir)
		}
	})
	require.NoError(t, b.err)
	tab, err := b.Open(ctx, url)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.Log())
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		require.NoError(t, tab.Close(ctx))
	})
	return tab
}

// closeBrowsers ends those that were started.
func closeBrowsers() {
	for _, b := range browsers {
		if b.Browser != nil {
			b.Close()
		}
		if b.dir != "" {
			os.RemoveAll(b.dir)
		}
	}
}

// TestBrowsers runs the cases in each browser, with each protocol.
func TestBrowsers(t *testing.T) {
	srv, ctl := mainServer(t, url.Values{}), startControl(t)
	for _, name := range drive.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			for _, variant := range variants(name, "/ws", ctl, false) {
				t.Run(variant.title(name), func(t *testing.T) {
					tab := open(t, ctx, name, "http://"+srv.address+"/")
					env, err := json.Marshal(variant)
					require.NoError(t, err)
					var results []result
					require.NoError(t, tab.Eval(ctx, fmt.Sprintf("run(%s, %q)", env, *only), &results))
					report(t, results)
				})
			}
			t.Run("two tabs", func(t *testing.T) { testTwoTabs(t, ctx, name, srv.address) })
		})
	}
}

// testTwoTabs lets a tab speak to another one, which is in the background.
func testTwoTabs(t *testing.T, ctx context.Context, browser, address string) {
	var tabs [2]*drive.Tab
	for i := range tabs {
		tab := open(t, ctx, browser, "http://"+address+"/")
		require.NoError(t, tab.Eval(ctx, fmt.Sprintf(`(async () => {
			globalThis.heard = [];
			globalThis.session = connect("/ws", { routes: { "/heard": (text) => heard.push(text) } });
			await session.call("/mark", "%s tab %d");
		})()`, browser, i), nil))
		tabs[i] = tab
	}
	for i, tab := range tabs {
		text := fmt.Sprintf("from %d", i)
		require.NoError(t, tab.Eval(ctx, fmt.Sprintf(`session.call("/tell", { To: "%s tab %d", Text: %q })`, browser, 1-i, text), nil))
		require.NoError(t, tabs[1-i].Wait(ctx, fmt.Sprintf("heard.includes(%q)", text)))
	}
}

// TestTLS loads the page and connects over TLS, on one port.
func TestTLS(t *testing.T) {
	srv := mainServer(t, url.Values{"tls": {"yes"}})
	for _, name := range drive.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			tab := open(t, ctx, name, "https://"+srv.address+"/")
			var sum int
			require.NoError(t, tab.Eval(ctx, `connect("/ws").call("/math/add", [20, 22])`, &sum))
			require.Equal(t, 42, sum)
			var text string
			require.NoError(t, tab.Eval(ctx, `(globalThis.long = "é".repeat(200_000), connect("/ws").call("/echo", long)).then((s) => String(s === long))`, &text))
			require.Equal(t, "true", text)
		})
	}
}

// TestRuntimes runs the cases without a browser, with the package as npm has it.
func TestRuntimes(t *testing.T) {
	srv, ctl := mainServer(t, url.Values{"via": {"handler"}}), startControl(t)
	cases, err := filepath.Abs("testdata/cases.js")
	require.NoError(t, err)
	for _, test := range []struct {
		name, program string
		args          []string
		ws            bool
	}{
		{"Node 20 with ws", "node20", nil, true},
		{"Node 24", "node24", nil, false},
		{"Deno", "deno", []string{"run", "-A"}, false},
		{"Bun", "bun", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := project(t, "testdata/node.mjs")
			for _, variant := range variants(test.name, "ws://"+srv.address+"/ws", ctl, test.ws) {
				t.Run(variant.title(test.name), func(t *testing.T) {
					env, err := json.Marshal(variant)
					require.NoError(t, err)
					args := append(test.args, "node.mjs", "file://"+cases, string(env), *only)
					out := command(t, dir, program(t, test.program), args...)
					var results []result
					require.NoError(t, json.Unmarshal(out, &results), "%s", out)
					report(t, results)
				})
			}
		})
	}
}

// TestUnits runs the tests of teleport.js that need no server.
func TestUnits(t *testing.T) {
	tests, err := filepath.Glob(jsDir + "/test/*.test.mjs")
	require.NoError(t, err)
	require.NotEmpty(t, tests)
	for i := range tests {
		tests[i], err = filepath.Abs(tests[i])
		require.NoError(t, err)
	}
	for _, name := range []string{"node20", "node24"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command(t, ".", program(t, name), append([]string{"--test", "--test-reporter=dot"}, tests...)...)
		})
	}
}

// TestTypes compiles a program against the types of the package, with and without those of
// a browser.
func TestTypes(t *testing.T) {
	t.Parallel()
	dir := project(t, jsDir+"/test/types.ts")
	for _, lib := range []string{`["es2024", "dom", "dom.iterable"]`, `["es2024"]`} {
		config := fmt.Sprintf(`{"compilerOptions": {"strict": true, "noEmit": true, "target": "es2024", "module": "nodenext",
			"lib": %s, "types": ["node"], "noUnusedLocals": true}, "files": ["types.ts"]}`, lib)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "tsconfig.json"), []byte(config), 0o600))
		command(t, dir, filepath.Join(npm(t), ".bin/tsc"), "-p", ".")
	}
}

// npm returns the directory node_modules of what ci/browsers.sh has installed.
func npm(t *testing.T) string {
	dir := os.Getenv(npmEnv)
	require.NotEmpty(t, dir, "%s is not set: run ci/browsers.sh, which installs what the tests need", npmEnv)
	return filepath.Join(dir, "node_modules")
}

// program returns the path of an interpreter of JavaScript: node20, node24, deno or bun.
func program(t *testing.T, name string) string {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	file := map[string]string{"deno": "deno", "bun": "bin/bun"}[name]
	if file == "" {
		file = "bin/node"
	}
	return filepath.Join(npm(t), name+"-linux-"+arch, file)
}

// project returns the directory of a project of npm with some files, in which the package is
// installed from what npm would publish.
func project(t *testing.T, files ...string) string {
	dir := t.TempDir()
	pack := exec.Command("npm", "pack", "--silent", "--pack-destination", dir)
	pack.Dir = jsDir
	pack.Env = append(os.Environ(), "npm_config_update_notifier=false", "npm_config_cache="+filepath.Join(dir, "cache"))
	name, err := pack.Output()
	require.NoError(t, err, "npm pack")
	pkg := filepath.Join(dir, "node_modules/@teleport-go/websocket")
	require.NoError(t, untar(filepath.Join(dir, strings.TrimSpace(string(name))), pkg))
	for _, name := range []string{"ws", "@types", "undici-types"} {
		require.NoError(t, os.Symlink(filepath.Join(npm(t), name), filepath.Join(dir, "node_modules", name)))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type": "module", "dependencies": {"@teleport-go/websocket": "*"}}`), 0o600))
	return dir
}

// untar unpacks the files of a package, which are flat.
func untar(file, dir string) error {
	packed, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	for r := tar.NewReader(unzipped); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(head.Name)), text, 0o600); err != nil {
			return err
		}
	}
}

// command runs a program and returns what it writes to stdout.
func command(t *testing.T, dir, path string, args ...string) []byte {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DENO_NO_UPDATE_CHECK=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s:\n%s%s", cmd, out, &stderr)
	return out
}
