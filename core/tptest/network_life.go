package tptest

import (
	"context"
	"errors"
	"io"
	"net"

	tp "github.com/teleport-go/teleport/core"
)

func checkConnClose(r *recorder, s *suite) {
	LeakCheck(r)
	for _, end := range []int{0, 1} {
		var ends [2]net.Conn
		ends[0], ends[1] = s.conns(r)
		c := ends[end]
		done := make(chan error, 1)
		reading := make(chan struct{})
		go func() {
			close(reading)
			_, err := c.Read(make([]byte, readRoom))
			done <- err
		}()
		<-reading
		c.Close()
		if err := receive(r, done, "the end of a Read after Close of the same end"); err == nil {
			r.Errorf("Read after Close of the same end = nil; want an error")
		}
		if _, err := c.Write([]byte("x")); err == nil {
			r.Errorf("Write after Close = nil; want an error")
		}
		c.Close() // again: an error is fine, a panic is not
	}
}

func checkEnd(r *recorder, s *suite) {
	if s.without[End] {
		return
	}
	LeakCheck(r)
	for _, end := range []int{0, 1} {
		var ends [2]net.Conn
		ends[0], ends[1] = s.conns(r)
		last := []byte("the last bytes")
		if err := s.send(ends[end], last); err != nil {
			r.Fatalf("%v", err)
		}
		if err := ends[end].Close(); err != nil {
			r.Errorf("Close = %v", err)
		}
		if err := s.expect(ends[1-end], last); err != nil {
			r.Errorf("bytes written before Close: %v", err)
			continue
		}
		if n, err := ends[1-end].Read(make([]byte, readRoom)); n != 0 || err != io.EOF {
			r.Errorf("Read after the other end has closed = %d, %v; want 0, io.EOF", n, err)
		}
	}
}

func checkHalfClose(r *recorder, s *suite) {
	a, b := s.conns(r)
	for _, c := range [][2]net.Conn{{a, b}, {b, a}} {
		half, ok := c[0].(interface{ CloseWrite() error })
		if !ok {
			return
		}
		if c[0] == a {
			s.pass(r, a, b, "before")
			s.pass(r, b, a, "before")
		}
		if err := half.CloseWrite(); err != nil {
			r.Errorf("CloseWrite = %v", err)
			return
		}
		if n, err := c[1].Read(make([]byte, readRoom)); n != 0 || err != io.EOF {
			r.Errorf("Read after the other end's CloseWrite = %d, %v; want 0, io.EOF", n, err)
		}
		if c[0] == a {
			s.pass(r, b, a, "the other direction")
		}
	}
}

func checkAccept(r *recorder, s *suite) {
	LeakCheck(r)
	lis := s.listener(r)
	a, b := s.connsOf(r, lis)
	done := make(chan error, 1)
	accepting := make(chan struct{})
	go func() {
		close(accepting)
		_, err := lis.Accept()
		done <- err
	}()
	<-accepting
	if err := lis.Close(); err != nil {
		r.Errorf("Close of the listener = %v", err)
	}
	if err := receive(r, done, "the end of Accept after Close"); !errors.Is(err, net.ErrClosed) {
		r.Errorf("Accept while the listener is closed: %v; want net.ErrClosed", err)
	}
	if _, err := lis.Accept(); !errors.Is(err, net.ErrClosed) {
		r.Errorf("Accept after Close: %v; want net.ErrClosed", err)
	}
	lis.Close() // again: an error is fine, a panic is not
	s.pass(r, a, b, "accepted connections stay open")
	s.pass(r, b, a, "accepted connections stay open")
}

func checkDial(r *recorder, s *suite) {
	LeakCheck(r)
	lis := s.listener(r)
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	done := make(chan error, 1)
	go func() {
		conn, err := s.net.dial(ctx, lis.Addr().String())
		if conn != nil {
			conn.Close()
		}
		done <- err
	}()
	if err := receive(r, done, "the end of a dial with a context that is over"); err == nil {
		r.Errorf("dial with a context that is over = nil; want an error")
	}
	s.connsOf(r, s.listener(r)) // the network still works
}

// checkPeers makes two peers call and push: over a network of this kind, then over
// connections that were accepted elsewhere.
func checkPeers(r *recorder, s *suite) {
	LeakCheck(r)
	cfg := s.cfg
	cfg.Network = register(r,
		func(ctx context.Context, d tp.DialConfig) (net.Conn, error) { return s.net.dial(ctx, d.Addr) },
		func(context.Context, tp.ListenConfig) (net.Listener, error) { return s.net.listen() }, s.handshake)
	for _, elsewhere := range []bool{false, true} {
		if elsewhere && s.handshake != nil {
			break // ServeConn runs none
		}
		g := &rig{recorder: r, s: s}
		g.srv, g.cli = s.newEnd(r, "accepting", cfg), s.newEnd(r, "dialling", cfg)
		if !elsewhere && !s.without[Silent] {
			g.silent(cfg)
		}
		if elsewhere {
			lis := s.listener(r)
			g.addr = lis.Addr().String()
			go func() {
				if conn, err := lis.Accept(); err == nil && g.srv.peer.ServeConn(conn) == nil {
					r.Errorf("ServeConn made no session of an accepted connection")
				}
			}()
		}
		g.connect()
		g.works()
		g.concurrent(4, 25)
		g.large(300_000)
		cmd := g.cli.wait(g.srv)
		g.srv.releaseAll()
		wantCode(r, "a call", reply(r, cmd, "a call"), 0)
		for _, e := range []*end{g.cli, g.srv} {
			if err := e.peer.Close(); err != nil {
				g.Errorf("%s side: close peer: %v", e.name, err)
			}
		}
	}
	if !s.without[End] && s.handshake == nil {
		s.breaks(r, cfg)
	}
}

// silent checks that a session that sends nothing gets a push.
func (g *rig) silent(cfg tp.PeerConfig) {
	ready := make(chan tp.Session, 1)
	srv := g.s.newEnd(g.recorder, "accepting", cfg, &tp.PluginImpl{
		PluginName:  "tptest ready",
		OnPostReady: func(s tp.Session) { ready <- s },
	})
	Dial(g, g.cli.peer, Listen(g, srv.peer))
	srv.sess = receive(g.recorder, ready, "the session of a side that has dialled and sends nothing")
	srv.note(g.cli, "you have said nothing")
	if err := srv.peer.Close(); err != nil {
		g.Errorf("accepting side: close peer: %v", err)
	}
}

// breaks checks that a session notices that the other side closes its connection.
func (s *suite) breaks(r *recorder, cfg tp.PeerConfig) {
	peer := s.newEnd(r, "accepting", cfg)
	a, b := s.conns(r)
	sess := peer.peer.ServeConn(b)
	if sess == nil {
		r.Fatalf("ServeConn made no session of an accepted connection")
	}
	a.Close()
	receive(r, sess.CloseNotify(), "the end of a session whose connection was closed by the other side,")
	if reason := sess.CloseReason(); reason == nil || reason.Side == tp.SideLocal {
		r.Errorf("a session whose connection was closed by the other side has the reason %v", reason)
	}
}
