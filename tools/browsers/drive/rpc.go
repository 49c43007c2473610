package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// writeTimeout is how long a browser may take to read a command.
const writeTimeout = 30 * time.Second

// rpc is a connection on which a browser answers commands: both protocols have
// {"id", "method", "params"}, and answers with the id.
type rpc struct {
	conn    *websocket.Conn
	onEvent func(e event)
	done    chan struct{} // closed when read has returned

	mu      sync.Mutex
	id      int
	pending map[int]chan<- answer
	err     error // why there are no more answers
}

type answer struct {
	result json.RawMessage
	err    error
}

type event struct {
	method  string
	session string // of CDP
	params  json.RawMessage
}

type command struct {
	ID        int    `json:"id"`
	Method    string `json:"method"`
	Params    any    `json:"params"`
	SessionID string `json:"sessionId,omitempty"` // of CDP
}

// dialRPC connects to a browser. Events are given to onEvent by the goroutine that reads,
// which must not wait for answers.
func dialRPC(ctx context.Context, url string, onEvent func(r *rpc, e event)) (*rpc, error) {
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(64 << 20)
	r := &rpc{conn: conn, done: make(chan struct{}), pending: make(map[int]chan<- answer)}
	r.onEvent = func(e event) { onEvent(r, e) }
	go r.read()
	return r, nil
}

// send sends a command whose answer does not matter.
func (r *rpc) send(session, method string, params any) {
	go r.do(context.Background(), session, method, params, nil) // until the connection is closed
}

func (r *rpc) read() {
	defer close(r.done)
	for {
		_, data, err := r.conn.Read(context.Background())
		if err != nil {
			r.fail(fmt.Errorf("the browser has closed the connection: %w", err))
			return
		}
		var m struct {
			ID        int
			Method    string
			SessionID string
			Params    json.RawMessage
			Result    json.RawMessage
			Error     json.RawMessage // an object of CDP, a text of BiDi
			Message   string          // of an error of BiDi
		}
		if err := json.Unmarshal(data, &m); err != nil {
			r.fail(fmt.Errorf("what the browser sent is no JSON: %w", err))
			return
		}
		if m.Method != "" {
			r.onEvent(event{m.Method, m.SessionID, m.Params})
			continue
		}
		a := answer{result: m.Result}
		if m.Error != nil {
			a.err = fmt.Errorf("the browser says %s %s", m.Error, m.Message)
		}
		r.mu.Lock()
		to := r.pending[m.ID]
		delete(r.pending, m.ID)
		r.mu.Unlock()
		if to != nil {
			to <- a
		}
	}
}

// fail ends all commands.
func (r *rpc) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	for _, to := range r.pending {
		to <- answer{err: err}
	}
	r.pending = nil
}

// do runs a command and decodes its result into result, if that is not nil.
func (r *rpc) do(ctx context.Context, session, method string, params, result any) error {
	if ctx.Err() != nil {
		return wrap(method, context.Cause(ctx))
	}
	reply := make(chan answer, 1)
	r.mu.Lock()
	if r.err != nil {
		defer r.mu.Unlock()
		return r.err
	}
	r.id++
	id := r.id
	r.pending[id] = reply
	r.mu.Unlock()

	data, err := json.Marshal(command{id, method, params, session})
	if err != nil {
		return err
	}
	if err := r.write(ctx, data); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, context.Cause(ctx))
	case a := <-reply:
		if a.err != nil || result == nil {
			return wrap(method, a.err)
		}
		return wrap(method, json.Unmarshal(a.result, result))
	}
}

// write sends a command. The end of ctx does not cut it short: the connection would be
// closed, for all other commands too.
func (r *rpc) write(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return r.conn.Write(ctx, websocket.MessageText, data)
}

func wrap(method string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", method, err)
}

func (r *rpc) close() {
	r.conn.CloseNow()
	<-r.done
}

var errNoBrowser = errors.New("the browser has ended before it could be reached")
