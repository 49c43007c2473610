package tp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
)

// What comes with a record must be what it says.
func TestSplitRecord(t *testing.T) {
	tcp := new(net.TCPConn)
	pipe, other := net.Pipe()
	defer other.Close()
	for _, test := range []struct {
		name          string
		conn          *moveConn
		below         net.Conn
		unread, state string
		err           string
	}{
		{"socket", nil, tcp, "unread-state", "", ""},
		{"socket without a descriptor", nil, nil, "", "", "no descriptor has arrived"},
		{"another connection", nil, pipe, "", "", "its connection is a *net.pipe"},
		{"wrapped", &moveConn{5, true}, tcp, "unread-", "state", ""},
		{"wrapped, all of it", &moveConn{12, true}, tcp, "", "unread-state", ""},
		{"wrapped, without a descriptor", &moveConn{5, true}, nil, "", "", "no descriptor has arrived"},
		{"without one", &moveConn{5, false}, nil, "unread-", "state", ""},
		{"without one, that has arrived", &moveConn{5, false}, tcp, "", "", "says that there is none"},
		{"too long", &moveConn{13, true}, tcp, "", "", "13 bytes, of the 12 that have come"},
		{"negative", &moveConn{-1, true}, tcp, "", "", "-1 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &moveRecord{Conn: test.conn}
			unread, state, err := r.split([]byte("unread-state"), test.below)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v; want %q", err, test.err)
				}
				return
			}
			if err != nil || string(unread) != test.unread || string(state) != test.state {
				t.Errorf("%q, %q, %v; want %q, %q", unread, state, err, test.unread, test.state)
			}
			if _ = append(unread, "xxx"...); string(state) != test.state {
				t.Error("the unread bytes grow into the state")
			}
		})
	}
}

// backLis is a listener that takes back one connection.
type backLis struct {
	net.Listener
	addr     net.Addr
	taken    chan net.Conn
	replaced bool
}

func (l *backLis) Addr() net.Addr                                 { return l.addr }
func (l *backLis) Restore([]byte, net.Conn) (HandOverConn, error) { return nil, nil }
func (l *backLis) Replaced()                                      { l.replaced = true; panic("a listener's panic") }

func (l *backLis) TakeBack(state []byte, conn net.Conn) (take func(), err error) {
	switch string(state) {
	case "mine":
		return func() { l.taken <- conn }, nil
	case "panic":
		panic("a listener's panic")
	case "nothing":
		return nil, nil
	case "late panic":
		return func() { panic("a listener's panic") }, nil
	}
	return nil, errors.New("it is not known")
}

// openTCP returns a connection, and whether it has been closed.
func openTCP(t *testing.T) (conn *net.TCPConn, closed func() bool) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	far, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	conn = near.(*net.TCPConn)
	return conn, func() bool { return errors.Is(conn.SetDeadline(time.Time{}), net.ErrClosed) }
}

// A connection that comes back finds its listener, or is closed; whatever the new process
// says, and the listener does.
func TestTakeBack(t *testing.T) {
	l := &backLis{addr: &net.TCPAddr{IP: net.IPv6unspecified, Port: 80}, taken: make(chan net.Conn, 1)}
	u := &backLis{addr: &net.UnixAddr{Net: "unix", Name: "/run/x"}, taken: make(chan net.Conn, 1)}
	b := backTaker{{"tcp", l, std}, {"unix", u, std}, {"faulty", nil, std}} // the last one's Addr panics
	good := `{"version":1,"network":"tcp","local":{"network":"tcp","text":"10.0.0.1:80"}}`
	for _, test := range []struct{ name, head, state, err string }{
		{"tcp", good, "mine", ""},
		{"unix", `{"version":1,"network":"unix","local":{"network":"unix","text":"/run/x"}}`, "mine", ""},
		{"not there", good, "other", "it is not known"},
		{"panic", good, "panic", "it panicked: a listener's panic"},
		{"nothing to take it", good, "nothing", "TakeBack has returned no function"},
		{"another port", strings.Replace(good, ":80", ":81", 1), "mine", "no listener of the network \"tcp\" has accepted"},
		{"no address", strings.Replace(good, "10.0.0.1:80", "x", 1), "mine", "no listener"},
		{"another network", strings.Replace(good, `"tcp"`, `"kcp"`, 1), "mine", "no listener of the network \"kcp\""},
		{"a listener without an address", strings.Replace(good, `"tcp"`, `"faulty"`, 1), "mine", "the address of a listener of the network \"faulty\": it panicked"},
		{"garbage", "x", "mine", "its record cannot be read"},
		{"version", strings.Replace(good, "1", "2", 1), "mine", "its record is of version 2, not 1"},
		{"unknown field", strings.Replace(good, "{", `{"x":1,`, 1), "mine", "unknown field"},
		{"more", good + "{}", "mine", "bytes behind its end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, closed := openTCP(t)
			settle, err := b.adopt([]byte(test.head), []byte(test.state), conn)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v; want %q", err, test.err)
				}
				if !closed() {
					t.Error("the connection is open")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			settle(true)
			select {
			case c := <-l.taken:
				if c != conn {
					t.Error("another connection was taken")
				}
			case <-u.taken:
			}
			if closed() {
				t.Error("the connection is closed")
			}
		})
	}
	conn, closed := openTCP(t)
	settle, err := b.adopt([]byte(good), []byte("mine"), conn)
	if err != nil {
		t.Fatal(err)
	}
	if settle(false); !closed() || len(l.taken) > 0 {
		t.Error("a connection that is the new process's was taken, or is open here")
	}
	if settle, err = b.adopt([]byte(good), []byte("mine"), nil); err != nil {
		t.Fatal(err)
	}
	settle(false)
	if settle(true); <-l.taken != nil {
		t.Error("a question has a connection")
	}
	pipe, other := net.Pipe()
	defer other.Close()
	if _, err = b.adopt([]byte(good), []byte("mine"), pipe); err == nil {
		t.Error("a pipe was taken back")
	}
	conn, closed = openTCP(t)
	if settle, err = b.adopt([]byte(good), []byte("late panic"), conn); err != nil {
		t.Fatal(err)
	}
	settle(true)
	soon(t, "a connection is closed whose taking panics", closed)
	b.replaced()
	if !l.replaced || !u.replaced {
		t.Error("a panic kept a listener from being told")
	}
}

// A record of a connection that comes back is refused or understood.
func FuzzBackRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"network":"tcp","local":{"network":"tcp","text":"10.0.0.1:80"}}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1} {}`))
	f.Add([]byte(`{"version":1,"x":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseBackRecord(b)
		if err != nil {
			return
		}
		r.from(&net.TCPAddr{Port: 80})
		once, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseBackRecord(once)
		if err != nil {
			t.Fatalf("%s, from %q, is refused: %v", once, b, err)
		}
		if twice, _ := json.Marshal(again); !bytes.Equal(once, twice) {
			t.Errorf("%s becomes %s", once, twice)
		}
	})
}

// lateAnswer is an old process that answers when the client's time is over.
type lateAnswer struct{ end func() }

func (o lateAnswer) Offer(ctx context.Context, _, _ []byte, _ net.Conn, ready func() bool) error {
	if at, ok := ctx.Deadline(); ok {
		return fmt.Errorf("the line ends at %v", at)
	}
	if o.end(); !ready() {
		return inherit.ErrNotReady
	}
	return nil
}

// A client whose time is nearly over when it asks for a stream does not end the line to the old
// process, which all others need; what crosses too late is not the old process's.
func TestHandBackAtTheEndOfAHandshake(t *testing.T) {
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	p := NewPeer(PeerConfig{}).(*peer)
	defer p.Close()
	for _, test := range []struct {
		name string
		late bool
		want error
	}{{"in time", false, nil}, {"late", true, inherit.ErrNotReady}} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			end := func() {}
			if test.late {
				end = cancel
			}
			if err := p.handBackBy(lateAnswer{end})(ctx, nil, conn); !errors.Is(err, test.want) {
				t.Errorf("error %v; want %v", err, test.want)
			}
		})
	}
}
