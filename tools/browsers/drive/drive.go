// Package drive drives headless browsers: Chromium by the Chrome DevTools Protocol, Firefox
// by WebDriver BiDi (https://w3c.github.io/webdriver-bidi). It does what the tests of this
// module need: tabs, scripts in them, clicks and keys as a person makes them. The browsers
// accept any certificate.
package drive

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Browser is a running browser with a profile of its own. Its methods may be called
// concurrently.
type Browser struct {
	Name string // chromium or firefox

	protocol protocol
	process  *process
	profile  string
	log      log
}

// protocol is what differs between the browsers. A tab is named by a string.
type protocol interface {
	open(ctx context.Context) (tab string, err error)
	closeTab(ctx context.Context, tab string) error
	navigate(ctx context.Context, tab, url string) error
	// eval returns the value of an expression whose value is a string, or of a promise of one.
	eval(ctx context.Context, tab, expression string) (string, error)
	activate(ctx context.Context, tab string) error // a page in the background is not painted
	click(ctx context.Context, tab string, x, y float64) error
	press(ctx context.Context, tab string, keys string) error
	close()
}

// Enter is the key, in the argument of Type.
const Enter = "\n"

// PromptAnswer is what is entered when a page calls prompt; alert and confirm are accepted.
const PromptAnswer = "fine"

// kind is how a browser is started and reached.
type kind struct {
	paths   []string
	args    func(profile string) []string
	files   map[string]string // of the profile
	ready   *regexp.Regexp    // the line on stderr that has the address
	connect func(ctx context.Context, address string, log *log) (protocol, error)
}

var kinds = map[string]kind{
	"chromium": {
		paths: []string{"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"},
		args: func(profile string) []string {
			return []string{
				"--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--user-data-dir=" + profile,
				"--no-first-run", "--no-default-browser-check", "--disable-gpu", "--disable-dev-shm-usage",
				"--disable-extensions", "--disable-component-update", "--disable-background-networking", "--disable-sync",
				"--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--ignore-certificate-errors", "--password-store=basic", "about:blank",
			}
		},
		ready:   regexp.MustCompile(`^DevTools listening on (ws://\S+)`),
		connect: connectCDP,
	},
	"firefox": {
		paths: []string{"/usr/bin/firefox-esr", "/usr/bin/firefox"},
		args: func(profile string) []string {
			return []string{"--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile}
		},
		files: map[string]string{"user.js": `
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.page", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("dom.min_background_timeout_value", 4);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "");
user_pref("toolkit.telemetry.enabled", false);
`},
		ready:   regexp.MustCompile(`^WebDriver BiDi listening on (ws://\S+)`),
		connect: connectBiDi,
	},
}

// Names returns the names of the browsers that Start knows.
func Names() []string { return []string{"chromium", "firefox"} }

// Start starts a browser, with files below dir, which exists. End it with Close.
func Start(ctx context.Context, name, dir string) (*Browser, error) {
	k, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("drive: there is no browser %q, only %s", name, strings.Join(Names(), ", "))
	}
	path, err := find(k.paths)
	if err != nil {
		return nil, fmt.Errorf("drive: %s: %w", name, err)
	}
	b := &Browser{Name: name, profile: filepath.Join(dir, name)}
	if err := os.MkdirAll(b.profile, 0o700); err != nil {
		return nil, err
	}
	for file, text := range k.files {
		if err := os.WriteFile(filepath.Join(b.profile, file), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(path, k.args(b.profile)...)
	cmd.Env = append(os.Environ(), "HOME="+b.profile, "XDG_CONFIG_HOME="+b.profile, "XDG_CACHE_HOME="+b.profile, "MOZ_CRASHREPORTER_DISABLE=1")
	address := make(chan string, 1)
	b.process, err = start(cmd, func(line string) {
		b.log.add(line)
		if match := k.ready.FindStringSubmatch(line); match != nil {
			select {
			case address <- match[1]:
			default:
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("drive: %s: %w", name, err)
	}
	select {
	case a := <-address:
		b.protocol, err = k.connect(ctx, a, &b.log)
	case <-b.process.done:
		err = errNoBrowser
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("drive: %s: %w; its output:\n%s", name, err, b.Log())
	}
	return b, nil
}

func find(paths []string) (string, error) {
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("none of %s is installed: ci/browsers.sh installs it on Debian", strings.Join(paths, ", "))
}

// Close ends the browser and all its processes, and removes its profile.
func (b *Browser) Close() {
	if b.protocol != nil {
		b.protocol.close()
	}
	b.process.kill()
	os.RemoveAll(b.profile)
}

// Log returns the last lines that the browser and the consoles of its pages have written.
func (b *Browser) Log() string { return b.log.String() }

// Tab is a tab of a browser.
type Tab struct {
	b  *Browser
	id string
}

// Open opens a tab and waits for the page to be loaded.
func (b *Browser) Open(ctx context.Context, url string) (*Tab, error) {
	id, err := b.protocol.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("drive: %s: %w", b.Name, err)
	}
	t := &Tab{b, id}
	return t, t.Navigate(ctx, url)
}

// Close closes the tab.
func (t *Tab) Close(ctx context.Context) error {
	if err := t.b.protocol.closeTab(ctx, t.id); err != nil {
		return fmt.Errorf("drive: %s: %w", t.b.Name, err)
	}
	return nil
}

// Navigate goes to a page and waits for it to be loaded.
func (t *Tab) Navigate(ctx context.Context, url string) error {
	if err := t.b.protocol.navigate(ctx, t.id, url); err != nil {
		return fmt.Errorf("drive: %s: %s: %w", t.b.Name, url, err)
	}
	return t.Wait(ctx, `document.readyState === "complete"`)
}

// Eval runs a JavaScript expression in the page, waits for it if it is a promise, and
// decodes its value from JSON into value, if that is not nil.
func (t *Tab) Eval(ctx context.Context, expression string, value any) error {
	text, err := t.b.protocol.eval(ctx, t.id, `(async () => JSON.stringify((await (`+expression+`)) ?? null))()`)
	if err == nil && value != nil {
		err = json.Unmarshal([]byte(text), value)
	}
	if err != nil {
		return fmt.Errorf("drive: %s: %s: %w", t.b.Name, expression, err)
	}
	return nil
}

// Wait waits until an expression is true. Errors of the expression, as of a page that is
// being left, are waited out as well.
func (t *Tab) Wait(ctx context.Context, expression string) error {
	for {
		var is bool
		err := t.Eval(ctx, `Boolean(`+expression+`)`, &is)
		if is {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drive: %s: %s: was not true in time (%w)", t.b.Name, expression, firstOf(err, context.Cause(ctx)))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Click brings the tab to the front and clicks in the middle of the first element of a CSS
// selector.
func (t *Tab) Click(ctx context.Context, selector string) error {
	quoted, err := json.Marshal(selector)
	if err != nil {
		return err
	}
	if err := t.b.protocol.activate(ctx, t.id); err != nil {
		return fmt.Errorf("drive: %s: %w", t.b.Name, err)
	}
	var at struct{ X, Y float64 }
	if err := t.Eval(ctx, `(async () => {
		const e = document.querySelector(`+string(quoted)+`);
		for (let frame = 0; frame < 100; frame++) { // a click hits what is painted
			e.scrollIntoView({ block: "center", behavior: "instant" });
			await new Promise(requestAnimationFrame);
			const { x, y, width, height } = e.getBoundingClientRect();
			const at = { x: x + width / 2, y: y + height / 2 };
			const top = document.elementFromPoint(at.x, at.y);
			if (frame > 0 && (e.contains(top) || top?.contains(e))) return at;
		}
		throw new Error("something covers it");
	})()`, &at); err != nil {
		return err
	}
	return t.b.protocol.click(ctx, t.id, at.X, at.Y)
}

// Type presses the keys of a text in the element that has the focus.
func (t *Tab) Type(ctx context.Context, text string) error {
	if err := t.b.protocol.press(ctx, t.id, text); err != nil {
		return fmt.Errorf("drive: %s: %w", t.b.Name, err)
	}
	return nil
}

// process is a browser's, and those that it starts: they are one process group.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its output is read
}

// start runs a command. Each line of its output is given to onLine.
func start(cmd *exec.Cmd, onLine func(string)) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	p := &process{cmd, make(chan struct{})}
	go func() {
		defer close(p.done)
		defer cmd.Wait()
		defer r.Close()
		lines := bufio.NewReader(io.LimitReader(r, 64<<20))
		for {
			line, err := lines.ReadString('\n')
			onLine(strings.TrimRight(line, "\n"))
			if err != nil {
				return
			}
		}
	}()
	return p, nil
}

// kill ends the process group.
func (p *process) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// log keeps the last lines.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(line string) {
	if line == "" || strings.Contains(line, "dbus/") { // which Chromium misses
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines = append(l.lines, line); len(l.lines) > 200 {
		l.lines = l.lines[100:]
	}
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
