package browsers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/resume"
	"github.com/teleport-go/teleport/mixers/websocket"
	"github.com/teleport-go/teleport/mixers/websocket/js"
	"github.com/teleport-go/teleport/plugins/auth"
	"github.com/teleport-go/teleport/plugins/heartbeat"

	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	_ "github.com/teleport-go/teleport/codecs/plaincodec"
)

// serve is the server of the cases, a process of its own, so that it can be killed. Its
// settings are a query: port, origins, via=handler (net/http instead of websocket.Server),
// tls, auth, heartbeat. It writes its address to stdout, and ends with its stdin, by SIGTERM
// after a Close, or by SIGUSR2 with a Reboot.
func serve(settings string) {
	set, err := url.ParseQuery(settings)
	check(err)
	tp.SetLoggerLevel("ERROR")
	tp.SetShutdown(20*time.Second, nil, nil) // on a busy machine a process takes long to start
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR2) // before the process is known to anybody
	port, err := strconv.ParseUint("0"+set.Get("port"), 10, 16)
	check(err)

	h := newHandlers()
	plugins := []tp.Plugin{h}
	if password := set.Get("auth"); password != "" {
		plugins = append(plugins, checker(password))
	}
	if rate := set.Get("heartbeat"); rate != "" {
		every, err := time.ParseDuration(rate)
		check(err)
		plugins = append(plugins, heartbeat.NewPingEvery(every, true), heartbeat.NewPong())
	}
	cfg := tp.PeerConfig{LocalIP: "127.0.0.1", ListenPort: uint16(port), MessageSizeLimit: 2 << 20}
	options := websocket.Options{Resume: resume.NewStreams(resume.Options{})}
	if origins := set.Get("origins"); origins != "" {
		options.Origins = []string{origins}
	}
	pages := map[string]http.Handler{
		"/teleport/": http.StripPrefix("/teleport/", http.FileServerFS(js.FS)),
		"/":          http.FileServer(http.Dir("testdata")),
	}

	var peer tp.Peer
	var address string
	if set.Get("via") == "handler" {
		peer = tp.NewPeer(cfg, plugins...)
		mux := http.NewServeMux()
		for pattern, page := range pages {
			mux.Handle(pattern, page)
		}
		mux.Handle("/ws", websocket.NewHandler(peer, options))
		lis, err := net.Listen("tcp", net.JoinHostPort(cfg.LocalIP, strconv.Itoa(int(port))))
		check(err)
		address = lis.Addr().String()
		go http.Serve(lis, mux)
	} else {
		srv := websocket.NewServer("/ws", cfg, plugins...)
		srv.SetOptions(options)
		if set.Has("tls") {
			check(srv.SetTLSConfig(tp.GenerateTLSConfigForServer()))
		}
		for pattern, page := range pages {
			srv.Handle(pattern, page)
		}
		check(srv.Listen())
		peer, address = srv, srv.Addrs()[0].String()
	}
	h.register(peer)
	h.registerStreams(peer)
	fmt.Println(address)

	go func() {
		io.Copy(io.Discard, os.Stdin)
		signals <- syscall.SIGKILL
	}()
	for s := range signals {
		switch s {
		case syscall.SIGUSR2:
			tp.Reboot() // returns if it fails
		case syscall.SIGTERM:
			check(peer.Close())
			return
		default:
			return
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal("server: ", err)
	}
}

func checker(password string) tp.Plugin {
	return auth.NewCheckerPlugin(func(_ auth.Session, receive auth.RecvOnce) (any, *tp.Rerror) {
		var got string
		if rerr := receive(&got); rerr != nil {
			return nil, rerr
		}
		if got != password {
			return nil, tp.NewRerror(tp.CodeUnauthorized, "Unauthorized", "wrong password")
		}
		return "welcome", nil
	})
}

// handlers are the routes of cases.js.
type handlers struct {
	mu      sync.Mutex
	notes   map[tp.BaseSession][]note
	marks   map[string]tp.Session // by the names that clients give themselves
	ended   map[string]string     // how sessions with a mark have ended, and handlers of /slow
	running map[string]bool       // of /slow
	beats   int
	joined  int
	flooded map[string]int // messages of /flood
}

type note struct {
	Body json.RawMessage `json:"body"`
	Who  string          `json:"who"`
}

func newHandlers() *handlers {
	return &handlers{
		notes:   make(map[tp.BaseSession][]note),
		marks:   make(map[string]tp.Session),
		ended:   make(map[string]string),
		running: make(map[string]bool),
		flooded: make(map[string]int),
	}
}

var (
	_ tp.PostDisconnectPlugin      = (*handlers)(nil)
	_ tp.PostReadReplyHeaderPlugin = (*handlers)(nil)
)

func (h *handlers) Name() string { return "handlers" }

// PostDisconnect records the close reasons of sessions that have a mark.
func (h *handlers) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	h.mu.Lock()
	defer h.mu.Unlock()
	for mark, marked := range h.marks {
		if tp.BaseSession(marked) == sess {
			h.ended[mark] = marked.CloseReason().Error()
			delete(h.marks, mark)
		}
	}
	delete(h.notes, sess)
	return nil
}

// PostReadReplyHeader counts the answers to heartbeats.
func (h *handlers) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror {
	if ctx.ServiceMethod() == heartbeat.HeartbeatServiceMethod {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.beats++
	}
	return nil
}

// session returns the session of a handler.
func session(ctx interface{ Session() tp.CtxSession }) tp.Session { return ctx.Session().(tp.Session) }

// locked runs f with the lock.
func locked[T any](h *handlers, f func() T) T {
	h.mu.Lock()
	defer h.mu.Unlock()
	return f()
}

func (h *handlers) register(peer tp.Peer) {
	tp.HandleCall(peer, "/math/add", func(_ tp.CallCtx, arg *[]int) (sum int, err error) {
		for _, n := range *arg {
			sum += n
		}
		return sum, nil
	})
	tp.HandleCall(peer, "/tally", func(_ tp.CallCtx, key *int) (pid int, err error) {
		fmt.Println("counted", *key) // one write, to the pipe that all processes of the server have
		return os.Getpid(), nil
	})
	tp.HandleCall(peer, "/echo", func(_ tp.CallCtx, arg *json.RawMessage) (json.RawMessage, error) { return *arg, nil })
	tp.HandleCall(peer, "/bytes", func(_ tp.CallCtx, arg *[]byte) ([]byte, error) { return append([]byte(nil), *arg...), nil })
	tp.HandleCall(peer, "/askbytes", func(ctx tp.CallCtx, arg *[]byte) (got []byte, err error) {
		err = session(ctx).Call("/heard", *arg, &got).Rerror().Err()
		return got, err
	})
	tp.HandleCall(peer, "/fail", func(_ tp.CallCtx, arg *tp.Rerror) (any, error) { return nil, arg.Err() })
	tp.HandleCall(peer, "/panic", func(tp.CallCtx, *any) (any, error) { panic("a panic of the test") })
	tp.HandleCall(peer, "/meta", h.meta)
	tp.HandleCall(peer, "/ask", h.ask)
	tp.HandleCall(peer, "/slow", h.slow)
	tp.HandleCall(peer, "/running", func(_ tp.CallCtx, key *string) (bool, error) {
		return locked(h, func() bool { return h.running[*key] }), nil
	})
	tp.HandleCall(peer, "/ended", func(_ tp.CallCtx, key *string) (string, error) {
		return locked(h, func() string { return h.ended[*key] }), nil
	})
	tp.HandleCall(peer, "/beats", func(tp.CallCtx, *any) (int, error) {
		return locked(h, func() int { return h.beats }), nil
	})
	tp.HandlePush(peer, "/note", func(ctx tp.PushCtx, arg *json.RawMessage) error {
		n := note{append(json.RawMessage(nil), *arg...), string(ctx.PeekMeta("who"))}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.notes[session(ctx)] = append(h.notes[session(ctx)], n)
		return nil
	})
	tp.HandleCall(peer, "/noted", func(ctx tp.CallCtx, _ *any) ([]note, error) {
		return locked(h, func() []note { return h.notes[session(ctx)] }), nil
	})
	tp.HandleCall(peer, "/pushme", func(ctx tp.CallCtx, n *int) (any, error) {
		for i := range *n {
			rerr := session(ctx).Push("/heard", fmt.Sprintf("push %d", i), tp.WithAddMeta("i", strconv.Itoa(i)))
			if rerr != nil {
				return nil, rerr.Err()
			}
		}
		return nil, nil
	})
	tp.HandleCall(peer, "/mark", func(ctx tp.CallCtx, mark *string) (any, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.marks[*mark] = session(ctx)
		return nil, nil
	})
	tp.HandleCall(peer, "/tell", func(ctx tp.CallCtx, arg *struct{ To, Text string }) (any, error) {
		to := locked(h, func() tp.Session { return h.marks[arg.To] })
		if to == nil {
			return nil, fmt.Errorf("there is no %s", arg.To)
		}
		return nil, to.Push("/heard", arg.Text).Err()
	})
	tp.HandleCall(peer, "/join", func(_ tp.CallCtx, room *string) (string, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.joined++
		return fmt.Sprintf("joined %s as %d", *room, h.joined), nil
	})
	tp.HandleCall(peer, "/close", func(ctx tp.CallCtx, _ *any) (any, error) {
		go session(ctx).Close()
		return nil, nil
	})
	tp.HandleCall(peer, "/kick", func(ctx tp.CallCtx, reason *string) (any, error) {
		go session(ctx).CloseWith(tp.NewRerror(tp.CodeForbidden, "Forbidden", *reason))
		return nil, nil
	})
}

// meta returns the metadata and the query of the call.
func (h *handlers) meta(ctx tp.CallCtx, _ *any) (map[string][]string, error) {
	seen := make(map[string][]string)
	for k, v := range ctx.CopyMeta().All() {
		seen[string(k)] = append(seen[string(k)], string(v))
	}
	seen["q"] = ctx.Query()["q"]
	ctx.SetMeta("seen", "é +")
	return seen, nil
}

type question struct {
	Route string          `json:"route"`
	Body  json.RawMessage `json:"body"`
	Ms    int             `json:"ms"`
}

type answer struct {
	Body json.RawMessage `json:"body"`
	Mood string          `json:"mood,omitempty"`
}

// ask calls the client, and returns what it says.
func (h *handlers) ask(ctx tp.CallCtx, arg *question) (answer, error) {
	call, cancel := context.WithTimeout(ctx.Context(), time.Minute)
	if arg.Ms > 0 {
		call, cancel = context.WithTimeout(ctx.Context(), time.Duration(arg.Ms)*time.Millisecond)
	}
	defer cancel()
	var a answer
	cmd := session(ctx).Call(arg.Route, arg.Body, &a.Body, tp.WithContext(call), tp.WithAddMeta("who", "server"))
	if rerr := cmd.Rerror(); rerr != nil {
		return a, rerr.Err()
	}
	a.Mood = string(cmd.InputMeta().Peek("mood"))
	return a, nil
}

// slow waits for the end of its context, or as its argument says.
func (h *handlers) slow(ctx tp.CallCtx, key *string) (string, error) {
	locked(h, func() bool { h.running[*key] = true; return true })
	wait, cancel := ctx.Context(), context.CancelFunc(func() {})
	if ms, ok := strings.CutSuffix(*key, " ms"); ok {
		n, err := strconv.Atoi(ms)
		if err != nil {
			return "", err
		}
		wait, cancel = context.WithTimeout(wait, time.Duration(n)*time.Millisecond)
	}
	defer cancel()
	<-wait.Done()
	locked(h, func() bool { h.ended[*key] = wait.Err().Error(); return true })
	if ctx.Context().Err() == nil {
		return "done", nil
	}
	return "", ctx.Context().Err() // the caller's error, if it is still there
}
