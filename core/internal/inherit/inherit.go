// Package inherit hands listening sockets to a child process that replaces this one,
// so that a restart refuses no connection.
//
// The parent calls HandOver. The child is the same command with the sockets as
// open files and their table in the environment variable Env. In the child, each
// Listen for a network and an address that the parent had listened on returns the
// parent's socket, in the parent's order. Since it is the same socket in the
// kernel, no connection in its queue is lost.
//
// The child reports that it is ready when it has claimed all sockets. Since a new
// configuration may need fewer, it also is ready when it has listened on an address and
// then on no further one for a second. A socket that is not claimed stays open for a
// minute, so that a peer that listens late still gets the waiting connections; then it
// is closed. A child that never listens is never ready.
//
// From then on connections cross, each over a Line: those that the parent has accepted go to
// the child, and some that the child accepts come back. What a session needs for that is in
// core/move.go, with a picture.
package inherit

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Env is the environment variable with the table of sockets: JSON of
//
//	{"ready": 5, "line": 6, "back": 7, "older": [8], "listeners": [{"network": "tcp", "addr": "0.0.0.0:0", "real": "[::]:4711", "fd": 3}, …]}
//
// It is removed from the child's environment when the child starts.
const Env = "TELEPORT_LISTENERS"

// ErrNotSupported says that this system cannot hand over sockets.
var ErrNotSupported = errors.New("not supported")

const (
	quietTime   = time.Second // without a further Listen, until the child is ready
	unclaimTime = time.Minute // after being ready, until unclaimed sockets are closed
)

// table is the value of the environment variable.
type table struct {
	Ready     int     `json:"ready"`           // descriptor of the pipe to write a byte to
	Line      int     `json:"line"`            // descriptor of the child's end of a Line; 0: there is none
	Back      int     `json:"back"`            // of another one, over which the child offers; 0: there is none
	Older     []int   `json:"older,omitempty"` // of lines like Back to the processes before the parent, the last one first
	Listeners []entry `json:"listeners"`
}

type entry struct {
	Network string `json:"network"`
	Addr    string `json:"addr"` // as configured, perhaps with port 0
	Real    string `json:"real"` // as bound
	FD      int    `json:"fd"`
}

// Listener is a listening socket that can be handed over.
type Listener struct {
	net.Listener
	network, addr string // as configured
	seq           uint64 // order of listening

	file    string      // absolute path of a unix socket's file; empty for none
	info    os.FileInfo // of file when the socket was made
	handed  atomic.Bool // the file belongs to the child
	retired atomic.Pointer[retirement]
	paused  atomic.Pointer[chan struct{}] // closed by Resume; nil: not paused
	unlink  sync.Once
	left    error // why unlink has left the file
	once    sync.Once
	err     error // of Close
}

// retirement is how long a Listener that has retired accepts connections.
type retirement struct {
	quiet time.Duration // after the last one
	end   time.Time     // zero: no new ones come in, so it ends by itself
}

var lastSeq atomic.Uint64

// Listen returns the parent's socket for this network and address, if one is left, else
// the result of fresh: a *net.TCPListener or *net.UnixListener. The address is the
// configured one, before a port is chosen for 0.
//
// Close in the last process that owns a unix socket removes its file, if it is still
// the same file.
func Listen(network, addr string, fresh func() (net.Listener, error)) (*Listener, error) {
	return successor.listen(network, addr, fresh)
}

func newListener(network, addr string, lis net.Listener) *Listener {
	l := &Listener{Listener: lis, network: network, addr: addr, seq: lastSeq.Add(1)}
	u, ok := lis.(*net.UnixListener)
	if !ok {
		return l
	}
	u.SetUnlinkOnClose(false)
	path := u.Addr().String()
	if path == "" || path[0] == '@' {
		return l
	}
	file, err := filepath.Abs(path)
	if err != nil {
		return l
	}
	if info, err := os.Lstat(file); err == nil {
		l.file, l.info = file, info
	}
	return l
}

// Accept waits for the next connection. After Retire it is os.ErrDeadlineExceeded that
// there are no more.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		l.limit()
		c, err := l.Listener.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		if r := l.retired.Load(); r != nil {
			if r.isOver() || !l.hasWaiting() { // else this goroutine was held up until the deadline, and has not looked
				return c, err
			}
			continue
		}
		if p := l.paused.Load(); p != nil { // else Resume was called meanwhile
			<-*p
		}
	}
}

// Pause makes Accept wait until Resume, Retire or Close: connections stay in the queue,
// which a child that has the socket accepts from.
func (l *Listener) Pause() {
	d, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if !ok || l.retired.Load() != nil {
		return
	}
	p := make(chan struct{})
	if l.paused.CompareAndSwap(nil, &p) {
		_ = d.SetDeadline(time.Unix(1, 0)) // an error says that it is closed
	}
}

// Resume ends a Pause.
func (l *Listener) Resume() {
	p := l.paused.Swap(nil)
	if p == nil {
		return
	}
	if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Time{})
	}
	close(*p)
}

// limit lets Accept end in time if the listener has retired.
func (l *Listener) limit() {
	r := l.retired.Load()
	if r == nil {
		return
	}
	at := time.Now().Add(r.quiet)
	if !r.end.IsZero() && at.After(r.end) {
		at = r.end
	}
	if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(at) // an error says that it is closed
	}
}

// Retire prepares Close: the kernel holds connections that this process has not accepted
// yet, whose clients may have sent something already, and Close would reset them. So
// from now on no new ones come in, as far as the system can do that, and Accept returns
// those that are there, until there has been none for quiet; and not longer than limit if
// new ones still come in.
// It returns false if Close is right at once: a child that has the socket goes on accepting,
// or the system has no deadlines for it.
func (l *Listener) Retire(quiet, limit time.Duration) bool {
	_, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if !ok || l.handed.Load() {
		return false
	}
	l.Resume()
	r := &retirement{quiet: quiet}
	if !l.refuse() {
		r.end = time.Now().Add(limit)
	}
	l.retired.Store(r)
	l.limit() // for an Accept that waits
	return true
}

func (r *retirement) isOver() bool { return !r.end.IsZero() && !time.Now().Before(r.end) }

// refuse lets no new connections in. It returns false if they come in nevertheless.
func (l *Listener) refuse() bool {
	l.removeFile()
	if _, ok := l.Listener.(*net.UnixListener); ok {
		return l.file != "" && l.left == nil
	}
	return l.filter(refuseNew)
}

// filter calls set, which is for TCP only, and returns its result.
func (l *Listener) filter(set func(syscall.RawConn) bool) bool {
	if t, ok := l.Listener.(*net.TCPListener); ok {
		if c, err := t.SyscallConn(); err == nil {
			return set(c)
		}
	}
	return false
}

// hasWaiting reports whether a connection waits to be accepted, as far as the system tells.
func (l *Listener) hasWaiting() bool {
	c, err := l.SyscallConn()
	return err == nil && hasWaiting(c)
}

// removeFile removes the file of a unix socket.
func (l *Listener) removeFile() {
	l.unlink.Do(func() {
		if l.file == "" || l.handed.Load() {
			return
		}
		if now, err := os.Lstat(l.file); err == nil && os.SameFile(now, l.info) {
			l.left = os.Remove(l.file)
		}
	})
}

// Close closes the socket in this process. A child that has the socket keeps it.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.removeFile() // before the socket: a client that still finds the name is served or queued
		if l.retired.Load() != nil {
			l.filter(acceptNew)
		}
		l.err = errors.Join(l.left, l.Listener.Close())
		l.Resume()
	})
	return l.err
}

// SyscallConn gives access to the socket's descriptor.
func (l *Listener) SyscallConn() (syscall.RawConn, error) {
	c, ok := l.Listener.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("inherit: %T has no descriptor", l.Listener)
	}
	return c.SyscallConn()
}

// sorted returns the listeners in the order of listening, each once.
func sorted(listeners []*Listener) []*Listener {
	s := slices.Clone(listeners)
	slices.SortFunc(s, func(a, b *Listener) int { return cmp.Compare(a.seq, b.seq) })
	return slices.Compact(s)
}

// takeover is the child's side. The zero value has nothing to take over.
type takeover struct {
	quiet, unclaim time.Duration

	parent int // process id, 0 without one; set when the process starts

	mu      sync.Mutex
	left    []claim
	line    *Line           // nil: there is none, or TakeLine has taken it
	adopted <-chan struct{} // of the line; nil: there was none. Not changed when the process has started
	backs   []*Line         // to the parent and those before it, the last one first; not changed when the process has started
	ready   func()          // notifies the parent; nil when it has, or without a parent
	timer   *time.Timer     // runs quiet, then unclaim; nil before the first Listen
	report  func(error)
	errs    []error // errors before report is set
}

type claim struct {
	entry
	lis net.Listener
}

var successor = takeover{quiet: quietTime, unclaim: unclaimTime}

// Report sets the function that is called for sockets that could not be taken over or
// that were not claimed. It is called at once for the errors so far.
func Report(f func(error)) {
	successor.mu.Lock()
	defer successor.mu.Unlock()
	successor.report = f
	for _, err := range successor.errs {
		f(err)
	}
	successor.errs = nil
}

// OlderLives reports whether the parent, or a process before it, has not ended, if this
// process has been started by HandOver. They keep sockets that cannot be handed over until then.
func OlderLives() bool {
	return successor.parent != 0 && os.Getppid() == successor.parent || slices.ContainsFunc(successor.backs, (*Line).lives)
}

// TakeLine returns the line over which this process gets connections of its parent, nil if
// there is none. Only the first call gets it. The parent offers connections after this
// process is ready.
func TakeLine() *Line {
	successor.mu.Lock()
	defer successor.mu.Unlock()
	l := successor.line
	successor.line = nil
	return l
}

// Adopted returns what is closed when this process has got all connections of its parent that
// it gets; nil: it has no parent that has handed over to it.
func Adopted() <-chan struct{} { return successor.adopted }

// BackLines returns the lines over which this process offers connections to the processes
// before it, the last one first. Each ends with its process.
func BackLines() []*Line { return successor.backs }

// problem reports an error, or keeps it until report is set. The caller holds t.mu.
func (t *takeover) problem(err error) {
	if t.report == nil {
		t.errs = append(t.errs, err)
		return
	}
	t.report(err)
}

func (t *takeover) listen(network, addr string, fresh func() (net.Listener, error)) (*Listener, error) {
	lis := t.claim(network, addr)
	if lis == nil {
		var err error
		if lis, err = fresh(); err != nil {
			return nil, err
		}
	}
	l := newListener(network, addr, lis)
	t.listened()
	return l, nil
}

func (t *takeover) claim(network, addr string) net.Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.left, func(c claim) bool { return c.Network == network && c.Addr == addr })
	if i < 0 { // the configuration may now name the port that was chosen
		i = slices.IndexFunc(t.left, func(c claim) bool { return c.Network == network && c.Real == addr })
	}
	if i < 0 {
		return nil
	}
	lis := t.left[i].lis
	t.left = slices.Delete(t.left, i, i+1)
	return lis
}

// listened notifies the parent if all sockets are claimed, else it restarts the timer.
func (t *takeover) listened() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ready == nil:
	case len(t.left) == 0:
		t.notify()
	case t.timer == nil:
		t.timer = time.AfterFunc(t.quiet, t.quietOver)
	default:
		t.timer.Reset(t.quiet)
	}
}

// notify notifies the parent that this process is ready. The caller holds t.mu.
func (t *takeover) notify() {
	t.ready()
	t.ready = nil
	if t.timer != nil {
		t.timer.Stop()
	}
	if len(t.left) > 0 {
		t.timer = time.AfterFunc(t.unclaim, t.closeUnclaimed)
	}
}

func (t *takeover) quietOver() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ready != nil {
		t.notify()
	}
}

func (t *takeover) closeUnclaimed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.left {
		err := newListener(c.Network, c.Addr, c.lis).Close()
		t.problem(errors.Join(fmt.Errorf("inherit: closed the socket of %s %s, on which the new process does not listen", c.Network, c.Real), err))
	}
	t.left = nil
}
