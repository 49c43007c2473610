package tp

import (
	"context"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

// faultyListener is a listener whose methods are those that a test sets.
type faultyListener struct {
	net.Listener
	accept func() (net.Conn, error)
	addr   func() net.Addr
	close  func() error
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if l.accept != nil {
		return l.accept()
	}
	return l.Listener.Accept()
}

func (l *faultyListener) Addr() net.Addr {
	if l.addr != nil {
		return l.addr()
	}
	return l.Listener.Addr()
}

func (l *faultyListener) Close() error {
	err := l.Listener.Close()
	if l.close != nil {
		return l.close()
	}
	return err
}

// What a network's listener does wrong is an error of Listen, or of ListenAndServe. The peer
// goes on.
func TestFaultyListener(t *testing.T) {
	closed := func() func() error { // a second close panics
		ch := make(chan struct{})
		return func() error { close(ch); return nil }
	}
	const stack = "listen_fault_test.go" // is in it
	for _, test := range []struct {
		name   string
		make   func(net.Listener) net.Listener
		err    string // of ListenAndServe; "": it listens until Close
		logged string // besides the error
	}{
		{"Listen panics", func(net.Listener) net.Listener { panic("boom") }, ": Listen panicked: boom", stack},
		{"Listen ends its goroutine", func(net.Listener) net.Listener { runtime.Goexit(); return nil }, ": Listen has ended its goroutine (runtime.Goexit)", stack},
		{"Listen returns nothing", func(net.Listener) net.Listener { return nil }, "Listen has returned no listener", ""},
		{"Addr panics", func(l net.Listener) net.Listener {
			return &faultyListener{Listener: l, addr: func() net.Addr { panic("boom") }}
		}, ": Addr of the listener panicked: boom", stack},
		{"Addr is nil", func(l net.Listener) net.Listener {
			return &faultyListener{Listener: l, addr: func() net.Addr { return nil }}
		}, "", ""},
		{"Accept panics", func(l net.Listener) net.Listener {
			return &faultyListener{Listener: l, accept: func() (net.Conn, error) { panic("boom") }}
		}, ": Accept panicked: boom", stack},
		{"Accept ends its goroutine", func(l net.Listener) net.Listener {
			return &faultyListener{Listener: l, accept: func() (net.Conn, error) { runtime.Goexit(); return nil, nil }}
		}, ": Accept has ended its goroutine (runtime.Goexit)", stack},
		{"Accept returns nothing", func(l net.Listener) net.Listener {
			return &faultyListener{Listener: l, accept: func() (net.Conn, error) { return nil, nil }}
		}, "Accept has returned no connection", ""},
		{"Close panics", func(l net.Listener) net.Listener {
			return &faultyListener{Listener: l, close: func() error { panic("boom") }}
		}, "", ": Close of the listener panicked: boom"},
		{"the second Close panics", func(l net.Listener) net.Listener {
			return &faultyListener{Listener: l, close: closed()}
		}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				var log lockedBuffer
				name := w.name + "-faulty"
				RegisterNetwork(Network{
					Name: name,
					Dial: func(ctx context.Context, d DialConfig) (net.Conn, error) { return w.net.Dial(ctx, d.Addr) },
					Listen: func(context.Context, ListenConfig) (net.Listener, error) {
						inner, err := w.net.Listen("")
						if err != nil {
							return nil, err
						}
						ok := false
						defer func() {
							if !ok {
								inner.Close()
							}
						}()
						lis := test.make(inner)
						ok = lis != nil
						return lis, nil
					},
				})
				p := w.peer(func(cfg *PeerConfig) {
					cfg.Network, cfg.Logger = name, slog.New(slog.NewTextHandler(&log, nil))
				})
				served := make(chan error, 1)
				go func() { served <- p.ListenAndServe() }()
				synctest.Wait()
				if test.err == "" {
					if addrs := p.Addrs(); len(addrs) != 1 || addrs[0] == nil {
						t.Errorf("the addresses are %v; want one", addrs)
					}
				} else if err := <-served; err == nil || !strings.HasPrefix(err.Error(), "tp: ") || !strings.Contains(err.Error(), test.err) {
					t.Errorf("ListenAndServe returns %v; want %q", err, test.err)
				}
				sess, r := p.Dial(w.addr)
				wantRerror(t, r, 0)
				wantReply(t, sess.Call("/echo", "x", new(string)), "x")
				if err := p.Close(); err != nil {
					t.Errorf("Close = %v", err)
				}
				if test.err == "" {
					if err := <-served; err != ErrListenClosed {
						t.Errorf("ListenAndServe returns %v; want ErrListenClosed", err)
					}
				}
				if got := log.String(); !strings.Contains(got, test.logged) || test.logged == "" && strings.Contains(got, "panic in") {
					t.Errorf("log is\n%swant %q in it", got, test.logged)
				}
			})
		})
	}
}

// So is a Dial that returns neither a connection nor an error.
func TestDialReturnsNothing(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		name := w.name + "-nothing"
		RegisterNetwork(Network{Name: name, Dial: func(context.Context, DialConfig) (net.Conn, error) { return nil, nil }})
		p := w.peer(func(cfg *PeerConfig) { cfg.Network = name })
		_, r := p.Dial(w.addr)
		wantRerror(t, r, CodeDialFailed, "Dial has returned no connection")
	})
}
