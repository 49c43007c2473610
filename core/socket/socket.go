package socket

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Socket is a net.Conn with a protocol and without a session: it dispatches, retries
// and answers nothing. WriteMessage is safe for concurrent use; ReadMessage is for
// one goroutine at a time. Read and Write bypass the protocol: they read and write
// the bytes of the connection itself, after what ReadMessage has buffered.
type Socket interface {
	net.Conn
	// ControlFD calls f with the file descriptor. It fails with syscall.EINVAL
	// where there is none (TLS, in-memory).
	ControlFD(f func(fd uintptr)) error
	// WriteMessage packs the message and writes its frame out before it returns,
	// or until the message's context ends.
	WriteMessage(Message) error
	// ReadMessage reads one message into m. Its body is decoded into the value of
	// SetBody or SetNewBody; without one it stays encoded.
	ReadMessage(Message) error
	// Swap holds the values that users store with the socket.
	Swap() *Swap
	// SwapLen is Swap().Len().
	SwapLen() int
	// ID is the remote address unless SetID has set another.
	ID() string
	SetID(string)
	// Reset makes the socket a new one over conn; the old connection is not closed.
	Reset(conn net.Conn, protoFunc ...ProtoFunc)
	// Raw returns the connection below.
	Raw() net.Conn
}

// UnsafeSocket is the Socket of v5 and v7 whose connection can be taken out.
type UnsafeSocket interface {
	Socket
	// RawLocked returns the connection below.
	RawLocked() net.Conn
}

// ErrProactivelyCloseSocket is what ReadMessage and WriteMessage return after Close.
var ErrProactivelyCloseSocket = errors.New("socket is closed proactively")

var defaultProto struct {
	sync.RWMutex
	fn ProtoFunc
}

// SetDefaultProtoFunc sets the process-wide protocol; nil means the registered
// "raw".
func SetDefaultProtoFunc(fn ProtoFunc) {
	defaultProto.Lock()
	defer defaultProto.Unlock()
	defaultProto.fn = fn
}

// DefaultProtoFunc returns the process-wide protocol. The error names the missing
// import.
func DefaultProtoFunc() (ProtoFunc, error) {
	defaultProto.RLock()
	fn := defaultProto.fn
	defaultProto.RUnlock()
	if fn != nil {
		return fn, nil
	}
	p, err := LookupProto("raw")
	return p.New, err
}

// NewSocket makes a Socket of conn. Without a protoFunc it has the default protocol;
// it panics if none is registered.
func NewSocket(conn net.Conn, protoFunc ...ProtoFunc) Socket {
	s := new(plainSocket)
	s.Reset(conn, protoFunc...)
	return s
}

// GetSocket is NewSocket. v5 and v7 pooled sockets; this one does not, since a socket
// that is still referred to must not be used again.
func GetSocket(conn net.Conn, protoFunc ...ProtoFunc) Socket { return NewSocket(conn, protoFunc...) }

type plainSocket struct {
	mu     sync.RWMutex // guards what follows
	conn   *Conn
	id     string
	swap   *Swap
	closed bool
}

func (s *plainSocket) Reset(conn net.Conn, protoFunc ...ProtoFunc) {
	pf := firstProto(protoFunc)
	if pf == nil {
		var err error
		if pf, err = DefaultProtoFunc(); err != nil {
			panic(err)
		}
	}
	DefaultTuning().Apply(conn)
	c := NewConn(conn, pf, Options{})
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.conn
	s.conn, s.id, s.swap, s.closed = c, "", new(Swap), false
	if old != nil {
		old.Stop(ErrProactivelyCloseSocket)
	}
}

func firstProto(protoFunc []ProtoFunc) ProtoFunc {
	for _, pf := range protoFunc {
		if pf != nil {
			return pf
		}
	}
	return nil
}

func (s *plainSocket) link() (*Conn, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return s.conn, ErrProactivelyCloseSocket
	}
	return s.conn, nil
}

func (s *plainSocket) WriteMessage(m Message) error {
	c, err := s.link()
	if err != nil {
		return err
	}
	ctx := m.Context()
	if err := c.Enqueue(ctx, m.envelope()); err != nil {
		return s.why(err)
	}
	if ctx.Done() != nil {
		c.Flush(NoBlock) // this goroutine has to be back when the context ends
	} else {
		c.Flush(0)
	}
	return s.why(c.WaitFlushed(ctx))
}

func (s *plainSocket) ReadMessage(m Message) error {
	c, err := s.link()
	if err != nil {
		return err
	}
	if err := c.Wait(); err != nil {
		return s.why(err)
	}
	return s.why(c.ReadInto(m.envelope()))
}

// why returns err, or that the user has closed the socket if that is the reason.
func (s *plainSocket) why(err error) error {
	if err == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrProactivelyCloseSocket
	}
	return err
}

func (s *plainSocket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	c := s.conn
	s.mu.Unlock()
	err := c.conn.Close()
	c.Stop(ErrProactivelyCloseSocket)
	c.Join()
	return err
}

func (s *plainSocket) ControlFD(f func(fd uintptr)) error { return ControlFD(s.Raw(), f) }

// ControlFD calls f with the file descriptor of conn. It returns syscall.EINVAL if conn
// has none of its own.
func ControlFD(conn net.Conn, f func(fd uintptr)) error {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return syscall.EINVAL
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return fmt.Errorf("socket: file descriptor: %w", err)
	}
	return raw.Control(f)
}

func (s *plainSocket) ID() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.id == "" {
		return s.conn.conn.RemoteAddr().String()
	}
	return s.id
}

func (s *plainSocket) SetID(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
}

func (s *plainSocket) Raw() net.Conn {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.conn.conn
}

func (s *plainSocket) RawLocked() net.Conn { return s.Raw() }

func (s *plainSocket) Swap() *Swap {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.swap
}

func (s *plainSocket) SwapLen() int { return s.Swap().Len() }

func (s *plainSocket) Read(p []byte) (int, error) {
	c, err := s.link()
	if err != nil {
		return 0, err
	}
	return c.in.Read(p)
}

func (s *plainSocket) Write(p []byte) (int, error)        { return s.Raw().Write(p) }
func (s *plainSocket) LocalAddr() net.Addr                { return s.Raw().LocalAddr() }
func (s *plainSocket) RemoteAddr() net.Addr               { return s.Raw().RemoteAddr() }
func (s *plainSocket) SetDeadline(t time.Time) error      { return s.Raw().SetDeadline(t) }
func (s *plainSocket) SetReadDeadline(t time.Time) error  { return s.Raw().SetReadDeadline(t) }
func (s *plainSocket) SetWriteDeadline(t time.Time) error { return s.Raw().SetWriteDeadline(t) }

var _ UnsafeSocket = (*plainSocket)(nil)

// SocketHub keeps sockets by their id. Safe for concurrent use.
type SocketHub struct {
	mu sync.RWMutex
	m  map[string]Socket
}

// NewSocketHub returns an empty hub.
func NewSocketHub() *SocketHub { return &SocketHub{m: make(map[string]Socket)} }

// Set adds the socket under its id. A different one under that id is closed.
func (h *SocketHub) Set(s Socket) {
	h.mu.Lock()
	id := s.ID() // once: another goroutine may call SetID
	old := h.m[id]
	h.m[id] = s
	h.mu.Unlock()
	if old != nil && old != s {
		old.Close()
	}
}

// Get returns the socket with the id.
func (h *SocketHub) Get(id string) (Socket, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	s, ok := h.m[id]
	return s, ok
}

// Range calls f for each socket until it returns false.
func (h *SocketHub) Range(f func(Socket) bool) {
	h.mu.RLock()
	all := make([]Socket, 0, len(h.m))
	for _, s := range h.m {
		all = append(all, s)
	}
	h.mu.RUnlock()
	for _, s := range all {
		if !f(s) {
			return
		}
	}
}

// Random returns one of the sockets; false if there is none.
func (h *SocketHub) Random() (Socket, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, s := range h.m {
		return s, true
	}
	return nil, false
}

// Len is the number of sockets.
func (h *SocketHub) Len() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.m)
}

// Delete removes the id; the socket is not closed.
func (h *SocketHub) Delete(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.m, id)
}

// ChangeID gives the socket a new id. A different one under that id is closed.
func (h *SocketHub) ChangeID(newID string, s Socket) {
	h.mu.Lock()
	if id := s.ID(); h.m[id] == s {
		delete(h.m, id)
	}
	s.SetID(newID)
	old := h.m[newID]
	h.m[newID] = s
	h.mu.Unlock()
	if old != nil && old != s {
		old.Close()
	}
}
