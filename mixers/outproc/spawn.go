package outproc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// program is the file of a guest, open since it was hashed. All processes that are started
// from it run the same bytes, also when another file has its name.
type program struct {
	guest *Guest
	file  *os.File

	mu     sync.Mutex
	hashed fs.FileInfo // of the file when it was hashed
	hash   string      // SHA-256, hexadecimal
}

// openProgram opens the guest's file and checks its hash.
func openProgram(g *Guest) (*program, error) {
	if info, err := os.Stat(g.Path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", g.Path) // to open a FIFO would wait
	}
	file, err := os.Open(g.Path)
	if err != nil {
		return nil, err
	}
	p := &program{guest: g, file: file}
	if err := p.check(); err != nil {
		file.Close()
		return nil, err
	}
	return p, nil
}

// check checks the file; it hashes it the first time, and when it was written to since.
func (p *program) check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", p.guest.Path)
	}
	if info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not executable: chmod +x %[1]s", p.guest.Path)
	}
	if p.hashed != nil && p.hashed.Size() == info.Size() && p.hashed.ModTime().Equal(info.ModTime()) && changeTime(p.hashed) == changeTime(info) {
		return nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(p.file, 0, info.Size())); err != nil {
		return err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if p.hash != "" && p.hash != sum {
		return fmt.Errorf("%s was written to since it was loaded: if the new bytes are those to run, call Reload of its Handle, and next time rename a new file to that name", p.guest.Path)
	}
	if want := strings.ToLower(p.guest.SHA256); want != "" && sum != want {
		return fmt.Errorf("%s has the SHA-256 %s, not %s: if the new file is the one to run, change SHA256", p.guest.Path, sum, want)
	}
	p.hashed, p.hash = info, sum
	return nil
}

func (p *program) sum() string { return p.hash }
func (p *program) close()      { p.file.Close() }

// hostVariables are those of the host's environment that each guest gets.
var hostVariables = []string{"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL"}

// environment returns the variables that the guest gets by its allow-list.
func environment(allowed []string) []string {
	var env []string
	for _, entry := range slices.Concat(hostVariables, allowed) {
		if strings.Contains(entry, "=") {
			env = append(env, entry)
		} else if value, ok := os.LookupEnv(entry); ok {
			env = append(env, entry+"="+value)
		}
	}
	return env
}

// spawned is a process whose lane listens.
type spawned struct {
	*process
	client *plugin.Client
	addr   net.Addr
	token  string
}

// open starts a process of the program.
func (p *program) open(ctx context.Context, dir string) (endpoint, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s, err := p.spawn(ctx, dir)
	if err != nil {
		return nil, err // and not an endpoint that holds nil
	}
	return s, nil
}

// spawn starts a process of the program, whose socket is made in dir, and waits until it
// listens.
func (p *program) spawn(ctx context.Context, dir string) (*spawned, error) {
	s := &spawned{token: rand.Text()}
	var made atomic.Pointer[process]
	begun, timeout := time.Now(), p.guest.StartTimeout
	if at, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(at))
	}
	s.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: contract.EnvCookie, MagicCookieValue: contract.Cookie},
		VersionedPlugins: map[int]plugin.PluginSet{contract.Version: {}},
		AllowedProtocols: []plugin.Protocol{contract.Protocol},
		SkipHostEnv:      true,
		StartTimeout:     timeout,
		Logger:           hclog.NewNullLogger(),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: dir},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			own := &exec.Cmd{
				Path: p.guest.Path,
				Args: append([]string{p.guest.Path}, p.guest.Args...),
				Env:  slices.Concat(environment(p.guest.Env), cmd.Env, []string{contract.EnvToken + "=" + s.token}),
			}
			isolate(own, p.file)
			made.Store(newProcess(own, &logs{to: p.guest.Logger.With("guest", filepath.Base(p.guest.Path))}))
			return made.Load(), nil
		},
	})
	stop := context.AfterFunc(ctx, func() {
		if p := made.Load(); p != nil {
			p.Kill(ctx) // and not client.Kill, which waits for client.Start
		}
	})
	defer stop()
	var err error
	s.addr, err = s.client.Start()
	s.process = made.Load()
	if err != nil {
		err = s.whyNot(err, time.Since(begun))
		s.client.Kill()
		return nil, err
	}
	return s, nil
}

// whyNot returns the error for a guest that did not start.
func (s *spawned) whyNot(err error, waited time.Duration) error {
	if s.process == nil || s.ID() == "" {
		return fmt.Errorf("start it: %w", err)
	}
	<-s.exited // go-plugin has killed it
	fields := strings.Split(s.handshake, "|")
	switch {
	case s.handshake == "" && s.killed.Load():
		err = fmt.Errorf("it has not said within %v that it is ready: it is no guest of Teleport, or it hangs", waited.Round(100*time.Millisecond))
	case s.handshake == "":
		err = fmt.Errorf("it has ended before it was ready (%w)", s.exitErr)
	case len(fields) < 5 || fields[0] != "1":
		err = fmt.Errorf("it is no guest of Teleport: it has printed %.200q, where a guest prints %q", s.handshake, contract.Handshake("unix", "…"))
	case fields[1] != strconv.Itoa(contract.Version):
		err = fmt.Errorf("it has version %s of the contract, this host has version %d: build both with the same version of mixers/outproc", fields[1], contract.Version)
	case fields[4] != contract.Protocol:
		err = fmt.Errorf("its lane speaks %q, not %q: it is made for another program that uses go-plugin", fields[4], contract.Protocol)
	}
	return s.withTail(err)
}

// withTail returns err with the last lines of the guest's output.
func (p *process) withTail(err error) error {
	if tail := p.logs.last(); tail != "" {
		return fmt.Errorf("%w; its last lines:\n\t%s", err, tail)
	}
	return err
}

// exitError returns how the process has ended.
func (p *process) exitError() error { return fmt.Errorf("its process has ended: %w", p.exitErr) }

func (p *process) ended() <-chan struct{} { return p.exited }
func (p *process) pid() int               { return p.cmd.Process.Pid }

// kill ends the process at once, and waits for its end.
func (s *spawned) kill() { s.client.Kill() }

func (s *spawned) address() string           { return s.addr.String() }
func (s *spawned) secret() string            { return s.token }
func (s *spawned) verify(lane fdOwner) error { return checkPeer(lane, s.pid()) }
