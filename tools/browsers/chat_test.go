package browsers

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/browsers/drive"
)

// chat is a process of tools/examples/chat.
type chat struct {
	program string
	addr    string // host and port, the same after a restart
	process *process
}

func startChat(t *testing.T, program, addr string) *chat {
	c := &chat{program: program, addr: addr}
	c.start(t)
	c.addr = strings.Trim(strings.TrimPrefix(c.process.ready, "http:"), "/")
	_, _, err := net.SplitHostPort(c.addr)
	require.NoError(t, err, "the chat prints its address")
	t.Cleanup(func() { c.process.end(syscall.SIGKILL) })
	return c
}

func (c *chat) start(t *testing.T) {
	p, err := startProcess(exec.Command(c.program, "-addr", c.addr, "-idle", "1h"))
	require.NoError(t, err)
	c.process = p
}

// buildChat builds the example in the workspace of the repository.
func buildChat(t *testing.T) string {
	program := filepath.Join(t.TempDir(), "chat")
	command(t, "../examples/chat", "go", "build", "-o", program, ".")
	return program
}

// user is somebody at the page of the chat.
type user struct {
	t   *testing.T
	ctx context.Context
	tab *drive.Tab
}

func visit(t *testing.T, ctx context.Context, browser, addr string) *user {
	u := &user{t, ctx, open(t, ctx, browser, "http://"+addr+"/")}
	u.wait(`document.querySelector("#state").textContent === "connected"`)
	return u
}

func (u *user) wait(expression string) { require.NoError(u.t, u.tab.Wait(u.ctx, expression)) }

// fill types a text, which may end with Enter, into an empty field.
func (u *user) fill(selector, text string) {
	require.NoError(u.t, u.tab.Eval(u.ctx, fmt.Sprintf(`document.querySelector(%q).value = ""`, selector), nil))
	require.NoError(u.t, u.tab.Click(u.ctx, selector))
	require.NoError(u.t, u.tab.Type(u.ctx, text))
}

func (u *user) enter(name string) {
	u.fill("#name", name)
	require.NoError(u.t, u.tab.Click(u.ctx, "#enter"))
}

// say types a text and presses Enter.
func (u *user) say(text string) { u.fill("#text", text+drive.Enter) }

// hears waits for a line in the log, which has it as text.
func (u *user) hears(line string) {
	quoted, err := json.Marshal(line)
	require.NoError(u.t, err)
	u.wait(fmt.Sprintf(`[...document.querySelectorAll("#log li")].some((li) => li.textContent === %s)`, quoted))
}

func (u *user) online(names ...string) {
	u.wait(fmt.Sprintf(`[...document.querySelectorAll("#online li")].map((li) => li.textContent).join() === %q`, strings.Join(names, ",")))
}

// TestChat opens the page of the chat in each browser: two users talk, the server is
// restarted, they talk on.
func TestChat(t *testing.T) {
	program := buildChat(t)
	for _, name := range drive.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c := startChat(t, program, "127.0.0.1:0")

			ann, bob := visit(t, ctx, name, c.addr), visit(t, ctx, name, c.addr)
			ann.enter("ann")
			ann.online("ann")
			bob.enter("ann") // the server asks for another name
			bob.wait(`document.querySelector("#dialog").open`)
			bob.fill("#reply", "<i>bob</i>"+drive.Enter)
			for _, u := range []*user{ann, bob} {
				u.online("<i>bob</i>", "ann")
			}
			ann.say(`hello "bob"`)
			bob.say("<img src=x onerror=document.title=1> é 中")
			for _, u := range []*user{ann, bob} {
				u.hears(`ann: hello "bob"`)
				u.hears("<i>bob</i>: <img src=x onerror=document.title=1> é 中")
				u.wait(`!document.querySelector("#log img, #log i, #online i")`)
			}

			for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
				c.process.end(signal)
				for _, u := range []*user{ann, bob} {
					u.wait(`document.querySelector("#state").textContent !== "connected"`)
				}
				ann.say(fmt.Sprint("said while the server was away, ", signal))
				c.start(t)
				for _, u := range []*user{ann, bob} {
					u.wait(`document.querySelector("#state").textContent === "connected"`)
					u.online("<i>bob</i>", "ann")
				}
				bob.say(fmt.Sprint("we talk on after ", signal))
				ann.hears(fmt.Sprint("<i>bob</i>: we talk on after ", signal))
				ann.hears(fmt.Sprint("ann: said while the server was away, ", signal))
			}
			require.NoError(t, bob.tab.Click(ctx, "#leave"))
			ann.hears("<i>bob</i> has left")
			ann.online("ann")
		})
	}
}
