package websocket

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// pages is the web server of a Server, for requests that are not for WebSocket: it takes
// their connections over. The zero value is ready.
type pages struct {
	mux http.ServeMux

	mu      sync.Mutex // guards what follows
	closed  bool
	web     *http.Server // nil until a page is asked for
	lis     *pageListener
	serving sync.WaitGroup
}

const (
	// pageHeadTimeout and pageIdleTimeout are those of http.Server.
	pageHeadTimeout = 10 * time.Second
	pageIdleTimeout = 2 * time.Minute
)

// serve serves the requests of a connection, on goroutines of the web server. upgrade
// handles those for WebSocket that come behind another request.
func (p *pages) serve(conn net.Conn, upgrade http.Handler) {
	p.mu.Lock()
	if !p.closed && p.web == nil {
		p.start(upgrade)
	}
	lis := p.lis
	p.mu.Unlock()
	if lis == nil {
		conn.Close()
		return
	}
	select {
	case lis.conns <- conn:
	case <-lis.done:
		conn.Close()
	}
}

// start starts the web server. The caller holds p.mu.
func (p *pages) start(upgrade http.Handler) {
	p.web = &http.Server{
		ReadHeaderTimeout: pageHeadTimeout, IdleTimeout: pageIdleTimeout,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, pageConn{}, c) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.TLS = tlsState(r.Context().Value(pageConn{}))
			if isUpgrade(r) {
				upgrade.ServeHTTP(w, r)
				return
			}
			p.mux.ServeHTTP(w, r)
		}),
	}
	p.lis = &pageListener{conns: make(chan net.Conn), done: make(chan struct{})}
	web, lis := p.web, p.lis
	p.serving.Go(func() { web.Serve(lis) })
}

// pageConn is the key of the connection in the context of a request.
type pageConn struct{}

// tlsState returns the TLS state of a connection, nil if there is none.
func tlsState(conn any) *tls.ConnectionState {
	if c, ok := conn.(*readConn); ok {
		conn = c.Conn
	}
	c, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return nil
	}
	state := c.ConnectionState()
	return &state
}

// close closes the web server and its connections.
func (p *pages) close() {
	p.mu.Lock()
	p.closed = true
	web := p.web
	p.mu.Unlock()
	if web != nil {
		web.Close()
		p.serving.Wait()
	}
}

// pageListener is the listener of the web server.
type pageListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pageListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pageListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pageListener) Addr() net.Addr { return pageAddr{} }

// pageAddr is the address of a pageListener.
type pageAddr struct{}

func (pageAddr) Network() string { return "tcp" }
func (pageAddr) String() string  { return "pages of a websocket server" }
