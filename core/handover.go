package tp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/teleport-go/teleport/core/internal/inherit"
)

// HandOverConn is a connection of a network that wraps those of another one, such as
// resume+tcp, and that a Reboot can hand to the new process with its session. Its methods are
// called by the engine, for accepted sessions only.
type HandOverConn interface {
	net.Conn

	// Save is called in the old process, while no Read or Write runs. It stops the
	// connection: nothing more is read or written before Settle. It returns what the new
	// process needs to go on, at most 4 MiB together with what has arrived and was not read,
	// and the connection below whose descriptor crosses, a *net.TCPConn or
	// *net.UnixConn. That is nil if there is none at the moment, or none that can cross,
	// as with TLS: then the other side has to connect again. Save does not wait for the
	// other side. After an error the connection goes on, and the engine tries again, unless
	// the error matches errors.ErrUnsupported.
	Save() (state []byte, below net.Conn, err error)

	// Settle ends what Save has begun in the old process, or [HandOverListener.Restore] in
	// the new one. If mine is true, the connection is this process's, and goes on. If
	// not, it is the other process's: it ends here, and closes what it has of descriptors,
	// without a word to the other side. Close may have been called since; then a
	// connection that is this process's closes now.
	Settle(mine bool)
}

// HandOverListener is a listener whose connections are [HandOverConn]s. It may be below
// others, which have a method Unwrap() net.Listener.
type HandOverListener interface {
	net.Listener

	// Restore is called in the new process: it makes a connection of what Save has returned
	// in the old one. It must neither read nor write below before Settle, nor wait. The
	// state may be that of another version of the program, so Restore checks it, and also that
	// both processes run TLS, or neither does. After an
	// error the connection stays with the old process; the engine closes this process's
	// descriptor of below.
	Restore(state []byte, below net.Conn) (HandOverConn, error)

	// TakeBack is called in the old process, also after Close: a newer one has accepted conn,
	// and says by state, which its listener has given to ListenConfig.HandBack, to which
	// connection of this process it belongs. An error says that there is no such
	// connection here. take is called on a goroutine of its own when conn is this process's,
	// and must end within a few seconds; until then conn must not be used. If conn is nil, the newer process only asks.
	// TakeBack may be called concurrently, and must not wait.
	TakeBack(state []byte, conn net.Conn) (take func(), err error)

	// Replaced is called in the old process before Close, when the new one has taken over:
	// from now on new connections arrive by TakeBack alone, as long as this process runs.
	Replaced()
}

// listenerBelow returns the T among a listener and those below it.
func listenerBelow[T net.Listener](lis net.Listener) (l T, ok bool) {
	for {
		if l, ok = lis.(T); ok {
			return l, true
		}
		w, wraps := lis.(interface{ Unwrap() net.Listener })
		if !wraps {
			return l, false
		}
		lis = w.Unwrap()
	}
}

// unwrapListener returns the socket below a listener.
func unwrapListener(lis net.Listener) (*inherit.Listener, bool) {
	return listenerBelow[*inherit.Listener](lis)
}

// handOverListener returns the HandOverListener among a listener and those below it; nil:
// there is none.
func handOverListener(lis net.Listener) HandOverListener {
	l, _ := listenerBelow[HandOverListener](lis)
	return l
}

// accepts reports whether a connection with this local address comes from the listener.
func accepts(listener, local net.Addr) bool {
	if a, ok := listener.(*net.TCPAddr); ok {
		b, ok := local.(*net.TCPAddr)
		return ok && a.Port == b.Port && (a.IP.IsUnspecified() || a.IP.Equal(b.IP))
	}
	return addrKey(listener) == addrKey(local)
}

// moveAddr is an address that is not the connection's own.
type moveAddr struct {
	Net  string `json:"network"`
	Text string `json:"text"`
}

func (a *moveAddr) Network() string { return a.Net }
func (a *moveAddr) String() string  { return a.Text }

// addrKey is how a record names an address that a peer listens on.
func addrKey(a net.Addr) string { return a.Network() + " " + a.String() }

// backRecord says for which listener a connection that is handed back was accepted. It is
// JSON, as moveRecord is.
type backRecord struct {
	Version int      `json:"version"` // backVersion
	Network string   `json:"network"` // of the peer
	Local   moveAddr `json:"local"`   // of the connection
}

const backVersion = 1

func parseBackRecord(b []byte) (*backRecord, error) {
	r := new(backRecord)
	if err := readRecord(b, r); err != nil {
		return nil, err
	}
	if r.Version != backVersion {
		return nil, fmt.Errorf("its record is of version %d, not %d", r.Version, backVersion)
	}
	return r, nil
}

// readRecord reads a record from JSON, of which it must know all fields.
func readRecord(b []byte, record any) error {
	if len(b) > inherit.MaxHead {
		return fmt.Errorf("its record of %d bytes is over the limit of %d", len(b), inherit.MaxHead)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(record); err != nil {
		return fmt.Errorf("its record cannot be read: %w", err)
	}
	if d.More() {
		return errors.New("its record has bytes behind its end")
	}
	return nil
}

// from reports whether the listener with this address has accepted the connection.
func (r *backRecord) from(listener net.Addr) bool {
	if a, ok := listener.(*net.TCPAddr); ok {
		local, err := netip.ParseAddrPort(r.Local.Text)
		return err == nil && accepts(a, net.TCPAddrFromAddrPort(local))
	}
	return addrKey(listener) == addrKey(&r.Local)
}

// backTaker takes connections that the new process hands back. It is made before a Reboot,
// since the peers forget their listeners when they close them.
type backTaker []backListener

type backListener struct {
	network string // of the peer
	HandOverListener
	log logger
}

// adopt is an inherit.Adopter.
func (b backTaker) adopt(head, state []byte, conn net.Conn) (settle func(mine bool), err error) {
	end := func() {
		if conn != nil {
			conn.Close()
		}
	}
	l, take, err := b.take(head, state, conn)
	if err != nil {
		end()
		return nil, err
	}
	return func(mine bool) {
		if !mine {
			end()
			return
		}
		go func() { // ends within a few seconds; see HandOverListener
			if err := protected("it", func() error { take(); return nil }); err != nil {
				l.log.Errorf("tp: reboot: network %s: taking back a connection: %v", l.network, err)
				end()
			}
		}()
	}, nil
}

// take finds the listener whose connection it is.
func (b backTaker) take(head, state []byte, conn net.Conn) (l backListener, take func(), err error) {
	r, err := parseBackRecord(head)
	if err != nil {
		return l, nil, err
	}
	switch conn.(type) {
	case nil, *net.TCPConn, *net.UnixConn:
	default:
		return l, nil, fmt.Errorf("its connection is a %T", conn)
	}
	i := -1
	err = protected("it", func() error {
		i = slices.IndexFunc(b, func(l backListener) bool { return l.network == r.Network && r.from(l.Addr()) })
		return nil
	})
	switch {
	case err != nil:
		return l, nil, fmt.Errorf("the address of a listener of the network %.64q: %w", r.Network, err)
	case i < 0:
		return l, nil, fmt.Errorf("no listener of the network %.64q has accepted connections on %.64q", r.Network, r.Local.Text)
	}
	l = b[i]
	err = protected("it", func() (err error) { take, err = l.TakeBack(state, conn); return err })
	if err == nil && take == nil {
		err = errors.New("the listener's TakeBack has returned no function")
	}
	return l, take, err
}

// replaced tells the listeners that the new process has taken over.
func (b backTaker) replaced() {
	for _, l := range b {
		if err := protected("it", func() error { l.Replaced(); return nil }); err != nil {
			l.log.Errorf("tp: reboot: network %s: telling the listener that it was replaced: %v", l.network, err)
		}
	}
}

// stayedLines is how many reasons for which sessions do not move have a line of the log each:
// a reason may name its session, and there may be thousands.
const stayedLines = 10

// logStayed logs why sessions do not move, the most frequent reasons first, and returns how
// many sessions these are.
func logStayed(log logger, stayed map[string]int) (sessions int) {
	reasons := slices.SortedFunc(maps.Keys(stayed), func(a, b string) int { return stayed[b] - stayed[a] })
	rest := 0
	for i, why := range reasons {
		n := stayed[why]
		sessions += n
		if i < stayedLines {
			log.Infof("tp: reboot: %d sessions do not move: %s", n, why)
		} else {
			rest += n
		}
	}
	if rest > 0 {
		log.Infof("tp: reboot: %d sessions do not move, for %d other reasons", rest, len(reasons)-stayedLines)
	}
	return sessions
}
