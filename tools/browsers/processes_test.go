package browsers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/resume/resumetest"
)

// settingsEnv has the settings of a server in the processes that are one.
const settingsEnv = "TELEPORT_BROWSERS_SERVER"

func TestMain(m *testing.M) {
	if settings, ok := os.LookupEnv(settingsEnv); ok {
		serve(settings)
		return
	}
	code := m.Run()
	closeBrowsers()
	os.Exit(code)
}

// server is a server process.
type server struct {
	settings url.Values
	address  string             // host and port
	cutter   *resumetest.Cutter // between the cases and the server, if they want one

	*process
}

// process is a command that says one line on stdout when it is ready, and ends with its
// stdin.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ready string
	out   strings.Builder // what follows; complete when done is closed
	done  chan struct{}
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	p.ready = strings.TrimSpace(line)
	go func() {
		defer close(p.done)
		io.Copy(&p.out, lines)
		cmd.Wait()
	}()
	if err != nil {
		p.end(syscall.SIGKILL)
		return nil, fmt.Errorf("%s has ended before it was ready: %w", cmd, err)
	}
	return p, nil
}

// end sends a signal and waits for the process.
func (p *process) end(signal syscall.Signal) {
	p.cmd.Process.Signal(signal)
	<-p.done
	p.stdin.Close()
}

// startServer starts a server with settings, at the port among them if there is one.
func startServer(settings url.Values) (*server, error) {
	s := &server{settings: settings}
	if err := s.start(); err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(s.address, ":")
	settings.Set("port", port) // for the next start
	return s, nil
}

func (s *server) start() error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), settingsEnv+"="+s.settings.Encode())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the processes of Reboots are in its group, too
	p, err := startProcess(cmd)
	if err != nil {
		return err
	}
	s.process, s.address = p, p.ready
	return nil
}

// endAll ends the process and those of Reboots, and waits for them.
func (s *server) endAll() {
	select {
	case <-s.done: // the group may be another one's by now
	default:
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.done
	}
	s.stdin.Close()
}

// control starts and ends servers for the cases, which ask for it by HTTP.
type control struct {
	t       *testing.T
	mu      sync.Mutex
	servers map[string]*server
}

// startControl returns the URL of a control, whose servers end with the test.
func startControl(t *testing.T) string {
	c := &control{t: t, servers: make(map[string]*server)}
	srv := httptest.NewServer(c)
	t.Cleanup(func() {
		srv.Close()
		for _, s := range c.servers {
			s.end(syscall.SIGKILL)
		}
	})
	return srv.URL
}

// ServeHTTP answers pages of any origin.
func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	reply, err := c.do(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	json.NewEncoder(w).Encode(reply)
}

func (c *control) do(r *http.Request) (any, error) {
	query := r.URL.Query()
	if r.URL.Path == "/start" {
		s, err := startServer(query)
		if err != nil {
			return nil, err
		}
		address := s.address
		if query.Has("cut") {
			s.cutter = resumetest.NewCutter(c.t, address, 0)
			address = s.cutter.Addr()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		id := strconv.Itoa(len(c.servers))
		c.servers[id] = s
		return map[string]string{"id": id, "url": "ws://" + address + "/ws"}, nil
	}
	c.mu.Lock()
	s := c.servers[query.Get("id")]
	c.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("there is no server %q", query.Get("id"))
	}
	switch how := r.URL.Path + query.Get("how"); how {
	case "/restart":
		return nil, s.start()
	case "/cut":
		most, err := strconv.ParseInt(query.Get("most"), 10, 64)
		if err != nil || s.cutter == nil {
			return nil, fmt.Errorf("server %q cannot be cut: %w", query.Get("id"), err)
		}
		s.cutter.Most.Store(most)
		s.cutter.CutAll()
	case "/endkill":
		s.end(syscall.SIGKILL)
	case "/endshutdown":
		s.end(syscall.SIGTERM)
	case "/endstop":
		return nil, s.cmd.Process.Signal(syscall.SIGSTOP)
	default:
		return nil, fmt.Errorf("there is no %s", how)
	}
	return nil, nil
}

// mainServer starts a server that lives as long as the test.
func mainServer(t *testing.T, settings url.Values) *server {
	s, err := startServer(settings)
	require.NoError(t, err)
	t.Cleanup(func() { s.end(syscall.SIGKILL) })
	return s
}
