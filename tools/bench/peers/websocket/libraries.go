package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	nbio "github.com/lesismal/nbio/nbhttp/websocket"
	"github.com/lxzan/gws"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

// libraries are calls as one writes them by hand: a JSON document with a number, the name
// of a method, and a body, answered by one with that number. The client sends them under a
// lock, and has a table of pending calls. Each has the server and the client of its library.
func libraries() []harness.Candidate {
	const note = "calls by hand: JSON documents with a number, encoding/json"
	return []harness.Candidate{
		{Name: "gorilla", Serve: serveGorilla, Dial: dialer(dialGorilla), Note: note},
		{Name: "coder", Serve: serveCoder, Dial: dialer(dialCoder), Note: note},
		{Name: "gws", Serve: serveGws, Dial: dialer(dialGws), Note: note},
		{Name: "nbio", Serve: serveNbio, Dial: dialer(dialNbio), Note: note + "; its event loops"},
	}
}

// envelope is a call, or a reply.
type envelope struct {
	Seq    uint64           `json:"seq"`
	Method string           `json:"method,omitempty"`
	Body   *benchmsg.Record `json:"body"`
}

// answer handles a call.
func answer(b []byte) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, err
	}
	if e.Method != "/json" {
		return nil, fmt.Errorf("method %q", e.Method)
	}
	e.Method = ""
	e.Body.ID = benchmsg.Answered
	return json.Marshal(&e)
}

// wire is a client's connection. received is called for each message, by one goroutine.
type wire struct {
	send func(b []byte) error

	mu      sync.Mutex // guards what follows, and send
	seq     uint64
	pending map[uint64]chan *benchmsg.Record
	err     error
}

func (w *wire) received(b []byte) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		w.fail(err)
		return
	}
	w.mu.Lock()
	ch := w.pending[e.Seq]
	delete(w.pending, e.Seq)
	w.mu.Unlock()
	if ch != nil {
		ch <- e.Body
	}
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	for seq, ch := range w.pending {
		delete(w.pending, seq)
		close(ch)
	}
}

func (w *wire) call(request *benchmsg.Record) (*benchmsg.Record, error) {
	ch := make(chan *benchmsg.Record, 1)
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		return nil, w.err
	}
	w.seq++
	e := envelope{w.seq, "/json", request}
	w.pending[w.seq] = ch
	w.mu.Unlock()
	b, err := json.Marshal(&e)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	err = w.send(b)
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	reply, ok := <-ch
	if !ok {
		return nil, w.err
	}
	return reply, nil
}

// dialer makes a Dial of a function that connects w.
func dialer(dial func(addr string, w *wire) error) func(addr string) (func() error, error) {
	return func(addr string) (func() error, error) {
		w := &wire{pending: map[uint64]chan *benchmsg.Record{}}
		if err := dial(addr, w); err != nil {
			return nil, err
		}
		request := benchmsg.NewRecord()
		return func() error {
			reply, err := w.call(request)
			if err != nil {
				return err
			}
			return reply.Check()
		}, nil
	}
}

// listen serves a handler on a free port.
func listen(h http.HandlerFunc) (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go http.Serve(lis, h)
	return lis.Addr().String(), nil
}

func serveGorilla() (string, error) {
	var upgrader gorilla.Upgrader
	return listen(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			_, b, err := c.ReadMessage()
			if err != nil {
				return
			}
			if b, err = answer(b); err != nil {
				return
			}
			if c.WriteMessage(gorilla.TextMessage, b) != nil {
				return
			}
		}
	})
}

func dialGorilla(addr string, w *wire) error {
	c, _, err := gorilla.DefaultDialer.Dial("ws://"+addr+"/", nil)
	if err != nil {
		return err
	}
	w.send = func(b []byte) error { return c.WriteMessage(gorilla.TextMessage, b) }
	go func() {
		for {
			_, b, err := c.ReadMessage()
			if err != nil {
				w.fail(err)
				return
			}
			w.received(b)
		}
	}()
	return nil
}

func serveCoder() (string, error) {
	return listen(func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		ctx := context.Background()
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			if b, err = answer(b); err != nil {
				return
			}
			if c.Write(ctx, coder.MessageText, b) != nil {
				return
			}
		}
	})
}

func dialCoder(addr string, w *wire) error {
	ctx := context.Background()
	c, _, err := coder.Dial(ctx, "ws://"+addr+"/", nil)
	if err != nil {
		return err
	}
	w.send = func(b []byte) error { return c.Write(ctx, coder.MessageText, b) }
	go func() {
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				w.fail(err)
				return
			}
			w.received(b)
		}
	}()
	return nil
}

// gwsServer and gwsClient are the handlers of gws.
type gwsServer struct{ gws.BuiltinEventHandler }

func (gwsServer) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	b, err := answer(m.Bytes())
	if err == nil {
		err = c.WriteMessage(gws.OpcodeText, b)
	}
	if err != nil {
		c.WriteClose(1011, nil)
	}
}

type gwsClient struct {
	gws.BuiltinEventHandler
	w *wire
}

func (h gwsClient) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer m.Close()
	h.w.received(m.Bytes())
}

func (h gwsClient) OnClose(_ *gws.Conn, err error) { h.w.fail(err) }

func serveGws() (string, error) {
	upgrader := gws.NewUpgrader(gwsServer{}, nil)
	return listen(func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r); err == nil {
			go c.ReadLoop() // so that the memory of the request is released, as its documentation says
		}
	})
}

func dialGws(addr string, w *wire) error {
	c, _, err := gws.NewClient(gwsClient{w: w}, &gws.ClientOption{Addr: "ws://" + addr + "/"})
	if err != nil {
		return err
	}
	w.send = func(b []byte) error { return c.WriteMessage(gws.OpcodeText, b) }
	go c.ReadLoop()
	return nil
}

func serveNbio() (string, error) {
	logging.SetLevel(logging.LevelNone)
	upgrader := nbio.NewUpgrader()
	upgrader.OnMessage(func(c *nbio.Conn, _ nbio.MessageType, b []byte) {
		b, err := answer(b)
		if err == nil {
			err = c.WriteMessage(nbio.TextMessage, b)
		}
		if err != nil {
			c.Close()
		}
	})
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network: "tcp", Addrs: []string{"127.0.0.1:0"}, MaxLoad: 100_000,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { upgrader.Upgrade(w, r, nil) }),
	})
	if err := engine.Start(); err != nil {
		return "", err
	}
	return engine.Addrs[0], nil
}

// nbioEngine runs the clients' connections.
var nbioEngine = sync.OnceValues(func() (*nbhttp.Engine, error) {
	logging.SetLevel(logging.LevelNone)
	e := nbhttp.NewEngine(nbhttp.Config{})
	return e, e.Start()
})

func dialNbio(addr string, w *wire) error {
	engine, err := nbioEngine()
	if err != nil {
		return err
	}
	upgrader := nbio.NewUpgrader()
	upgrader.OnMessage(func(_ *nbio.Conn, _ nbio.MessageType, b []byte) { w.received(b) })
	upgrader.OnClose(func(_ *nbio.Conn, err error) { w.fail(err) })
	c, _, err := (&nbio.Dialer{Engine: engine, Upgrader: upgrader}).Dial("ws://"+addr+"/", nil)
	if err != nil {
		return err
	}
	w.send = func(b []byte) error { return c.WriteMessage(nbio.TextMessage, b) }
	return nil
}
