package browsers

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/browsers/drive"
)

// rebootLimit bounds a page that lives through a Reboot.
const rebootLimit = time.Minute

// load is what a page has seen that calls in loops.
type load struct {
	Calls   int      // that were made, with the keys from 0 on
	Pid     int      // of the process that has answered last
	Errors  []string // of calls that may have run; each begins with its code
	Repeats int      // of calls that have not
	Events  []string // of the session
}

// loadScript lets a page call in loops; its argument is the option resume. A call that has
// not run is made again, after a pause.
const loadScript = `(async () => {
	const session = connect("/ws", { resume: %s, reconnect: { min: 1, max: 100 } });
	globalThis.load = { calls: 0, pid: 0, errors: [], repeats: 0, events: [], stop: false };
	for (const type of ["close", "lost", "resumed"]) session.addEventListener(type, () => load.events.push(type));
	const call = async (key) => {
		for (;;) {
			try {
				load.pid = await session.call("/tally", key);
				return;
			} catch (err) {
				if (!err.notRun) return load.errors.push(err.code + " " + err.reason);
				load.repeats++;
				await new Promise((resolve) => setTimeout(resolve, 50));
			}
		}
	};
	const loop = async () => {
		while (!load.stop) await call(load.calls++);
	};
	await session.ready;
	globalThis.loops = Promise.all([loop(), loop(), loop(), loop()]).then(() => load);
})()`

// TestReboot lets pages call while the server's process is replaced. No call runs twice, and
// each with a reply has run once.
func TestReboot(t *testing.T) {
	for _, test := range []struct {
		name   string
		tls    bool
		resume string // the option of connect
		check  func(t *testing.T, l load)
	}{
		// The session crosses without its connection, and the page connects again.
		{"ws with resume", false, "resume()", resumed},
		{"wss with resume", true, "resume()", resumed},
		// The session crosses with its connection.
		{"ws", false, "undefined", func(t *testing.T, l load) {
			require.Empty(t, l.Errors)
			require.Empty(t, l.Events)
			require.Zero(t, l.Repeats)
		}},
		// The session is drained, and the page opens another connection. Calls that are refused
		// meanwhile have not run; those under way at the end may have.
		{"wss", true, "undefined", func(t *testing.T, l load) {
			require.Contains(t, l.Events, "close")
			for _, err := range l.Errors {
				require.Regexp(t, "^102 ", err)
			}
		}},
	} {
		for _, browser := range drive.Names() {
			t.Run(test.name+" "+browser, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), rebootLimit)
				defer cancel()
				scheme, settings := "http://", url.Values{}
				if test.tls {
					scheme = "https://"
					settings.Set("tls", "yes")
				}
				srv := mainServer(t, settings)
				t.Cleanup(srv.endAll)
				tab := open(t, ctx, browser, scheme+srv.address+"/")
				require.NoError(t, tab.Eval(ctx, fmt.Sprintf(loadScript, test.resume), nil))

				old := srv.cmd.Process.Pid
				require.NoError(t, tab.Wait(ctx, fmt.Sprintf("load.pid === %d && load.calls > 100", old)))
				require.NoError(t, srv.cmd.Process.Signal(syscall.SIGUSR2))
				require.NoError(t, tab.Wait(ctx, fmt.Sprintf("load.pid !== %d && (globalThis.mark ??= load.calls)", old)))
				require.NoError(t, tab.Wait(ctx, "load.calls > mark + 100"))
				var l load
				require.NoError(t, tab.Eval(ctx, "(load.stop = true, loops)", &l))

				t.Logf("%d calls, %d repeated, %v, %v", l.Calls, l.Repeats, l.Errors, l.Events)
				require.NotEqual(t, old, l.Pid)
				test.check(t, l)
				srv.endAll()
				counted := make(map[string]int)
				for line := range strings.Lines(srv.out.String()) {
					if key, ok := strings.CutPrefix(line, "counted "); ok {
						counted[strings.TrimSpace(key)]++
					}
				}
				for key, n := range counted {
					require.Equal(t, 1, n, "call %s", key)
				}
				require.LessOrEqual(t, l.Calls-len(counted), len(l.Errors), "calls that have not run")
			})
		}
	}
}

// resumed checks that the page has connected again, and that its session has not noticed.
func resumed(t *testing.T, l load) {
	require.Empty(t, l.Errors)
	require.Zero(t, l.Repeats)
	require.NotContains(t, l.Events, "close")
	require.Contains(t, l.Events, "resumed")
}
