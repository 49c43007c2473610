// Package guest makes a program out of parts, such as filters and codecs, that a host
// with package outproc starts and uses from another process.
//
// It imports Teleport's core, its raw protocol and its JSON codec, and nothing else.
package guest

import (
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// Serve serves the parts to the host that has started the program, and ends the program
// when the host does: it does not return. It is Config{}.Serve.
//
// A part is an xfer.XferFilter, a codec.Codec, an Observer, a Decider or a
// Gateway. With the argument "describe" the
// program prints what it is as JSON, and ends.
func Serve(parts ...any) { Config{}.Serve(parts...) }

// Config is for a guest that needs more than its parts. The zero value is what Serve
// uses.
type Config struct {
	// Name is the guest's name; the default is that of its file.
	Name string
	// Version is the guest's version; the default is that of the main module in the
	// binary's build information.
	Version string
	// Configure is called with Guest.Config of the host, nil if there is none, before the
	// parts are used: once, or for each host of a guest that listens. An error makes Load
	// of the host fail.
	Configure func(config json.RawMessage) error
	// Schema is a JSON Schema of the configuration, for people and tools.
	Schema json.RawMessage

	// Listen is the address at which the guest serves any number of hosts when it was not
	// started by one: unix:///path, or tcp+tls://host:port, which needs TLS and Token.
	// "" is none, but "PROGRAM serve unix:///path" on the command line.
	Listen string
	// Token is what hosts of a guest that listens must have as Guest.Token. The default is
	// the variable TELEPORT_GUEST_TOKEN of its environment. With a unix socket, which
	// other users cannot connect to, it may be empty.
	Token string
	// TLS is the configuration for tcp+tls.
	TLS *tls.Config
}

// Serve is the function Serve with the configuration c.
func (c Config) Serve(parts ...any) {
	os.Exit(c.run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, parts))
}

// run returns the exit code of the program.
func (c Config) run(args []string, stdin io.Reader, stdout, stderr io.Writer, parts []any) int {
	slog.SetDefault(slog.New(slog.NewJSONHandler(stderr, nil)))
	// The engine's INFO lines, such as those of a connection, are the host's own too.
	tp.SetLogger(slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	s, err := newServer(c, parts)
	if err != nil {
		fmt.Fprintf(stderr, "guest: %v\n", err)
		return 1
	}
	if n := len(args); n > 0 && args[n-1] == "describe" { // behind the arguments of Guest.Args
		text, _ := json.MarshalIndent(s.desc, "", "  ")
		fmt.Fprintf(stdout, "%s\n", text)
		return 0
	}
	serve := func() error { return s.serve(stdin, stdout) }
	started := os.Getenv(contract.EnvCookie) == contract.Cookie
	if n := len(args); n > 1 && args[n-2] == "serve" {
		s.cfg.Listen, started = args[n-1], false
	}
	if started {
		s.cfg.Listen = "" // the host's lane is the only one
	} else {
		if s.cfg.Listen == "" {
			fmt.Fprintf(stderr, "%s is a guest of Teleport: a host starts it with outproc.Load.\nTo see its parts: %[2]s describe\nTo run it for hosts with Guest.Connect: %[2]s serve unix:///path\n", s.desc.Name, os.Args[0])
			return 2
		}
		serve = s.listen
	}
	if err := serve(); err != nil {
		slog.Error("guest: " + err.Error())
		return 1
	}
	return 0
}

// server is a guest that serves.
type server struct {
	cfg      Config
	desc     contract.Description
	parts    []any // of desc.Parts, in their order
	peer     tp.Peer
	gateways []*gateway

	translations map[string]translation         // by route, without a query
	chain        func(route string) translation // of several filters; nil if there are no filters

	token   string
	maxItem atomic.Int64  // size of the largest reply in bytes: the least that a host has asked for; 0: none has
	ended   chan struct{} // closed by end
	end     func()        // makes the guest end when it has answered what is under way
}

func newServer(c Config, parts []any) (*server, error) {
	s := &server{cfg: c, ended: make(chan struct{}), desc: contract.Description{
		Contract: contract.Version, Name: c.Name, Version: c.Version, Schema: c.Schema, Parts: []contract.Part{},
	}}
	s.end = sync.OnceFunc(func() { close(s.ended) })
	if s.desc.Name == "" {
		name := filepath.Base(os.Args[0])
		s.desc.Name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	if s.desc.Version == "" {
		s.desc.Version = buildVersion()
	}
	if len(parts) == 0 {
		return nil, errors.New("Serve needs at least one part")
	}
	for i, part := range parts {
		p, err := describe(part)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", i, err)
		}
		if p.Kind == contract.KindFilter || p.Kind == contract.KindCodec {
			s.desc.Bundle = bundleItems
		}
		s.desc.Parts = append(s.desc.Parts, p)
		s.parts = append(s.parts, part)
	}
	return s, nil
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// kind is one kind of part. A kind is a file of its own, with a line in kinds.
type kind struct {
	word  string // in a Description
	value string // what a part is, for an error
	// describe returns false for a part of another kind.
	describe func(part any) (contract.Part, bool)
	// serve registers the routes of all parts of the kind.
	serve func(s *server, parts []any)
}

// kinds has all kinds of parts. A part is of the first one that it fits.
var kinds = []kind{
	filterKind,
	codecKind,
	observerKind,
	decisionKind,
	gatewayKind,
}

func describe(part any) (contract.Part, error) {
	var values []string
	for _, k := range kinds {
		if p, ok := k.describe(part); ok {
			p.Kind = k.word
			return p, nil
		}
		values = append(values, k.value)
	}
	return contract.Part{}, fmt.Errorf("%T is no part: none of %s", part, strings.Join(values, ", "))
}

// serve listens for the host's lane, serves it, and returns when it has ended.
func (s *server) serve(stdin io.Reader, stdout io.Writer) error {
	if v := os.Getenv(contract.EnvVersions); v != "" && !slices.Contains(strings.Split(v, ","), strconv.Itoa(contract.Version)) {
		return fmt.Errorf("the host has the versions %s of the contract, this guest has %d: build both with the same version of mixers/outproc", v, contract.Version)
	}
	s.token = os.Getenv(contract.EnvToken)
	os.Unsetenv(contract.EnvToken) // not for the guest's own children
	dir := os.Getenv(contract.EnvDir)
	if dir == "" {
		return errors.New("the host has not set " + contract.EnvDir + ", the directory of the lane's socket")
	}
	path := filepath.Join(dir, "lane")
	lis, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on the lane's socket: %w", err)
	}
	defer lis.Close()
	if err := s.open(tp.PeerConfig{}); err != nil {
		return err
	}
	defer s.peer.Close()
	defer func() {
		for _, g := range s.gateways {
			g.close()
		}
	}()
	if _, err := fmt.Fprintln(stdout, contract.Handshake("unix", path)); err != nil {
		return fmt.Errorf("print the handshake: %w", err)
	}
	lane, err := s.accept(lis, stdin)
	if err != nil {
		return err
	}
	lis.Close() // a lane is opened once
	select {
	case <-lane.CloseNotify():
	case <-s.ended:
	}
	return nil
}

// open makes the peer of the lanes.
func (s *server) open(cfg tp.PeerConfig) (err error) {
	cfg.BusyPoll = -1 // a reader that polls takes the processor from the host
	cfg.Protocol = rawproto.NewRawProtoFunc()
	cfg.MessageSizeLimit = math.MaxInt32 // the host has the limit, and memory is taken as bytes arrive
	s.peer, err = tp.Open(cfg, &tp.PluginImpl{PluginName: "outproc", OnPostAccept: s.greet})
	if err == nil {
		s.routes()
	}
	return err
}

// How long a guest waits for its lane: at most, and when the host has closed the guest's
// standard input, as it does when it ends.
const (
	laneTime   = 30 * time.Second
	orphanTime = 5 * time.Second
)

// accept returns the session of the first connection that knows the token.
func (s *server) accept(lis net.Listener, stdin io.Reader) (tp.Session, error) {
	expired := time.AfterFunc(laneTime, func() { lis.Close() })
	defer expired.Stop()
	go func() { // ends with the process at the latest
		io.Copy(io.Discard, stdin)
		expired.Reset(orphanTime)
	}()
	for {
		conn, err := lis.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, errors.New("the host has not opened a lane: it has ended, or it hangs")
		}
		if err != nil {
			return nil, fmt.Errorf("accept the lane: %w", err)
		}
		if lane := s.peer.ServeConn(conn); lane != nil {
			return lane, nil
		}
	}
}

// greet reads the host's first message, which has the token.
func (s *server) greet(sess tp.PreSession) *tp.Rerror {
	var body []byte
	m, r := sess.Receive(func(tp.Header) any { return &body })
	if r.HasError() {
		return r
	}
	if m.Mtype() != tp.TypeCall || m.ServiceMethod() != contract.RouteHello {
		return tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), "the first message of a lane is a CALL of "+contract.RouteHello)
	}
	var hello contract.Hello
	if err := json.Unmarshal(body, &hello); err != nil {
		r = tp.NewRerror(tp.CodeBadMessage, tp.CodeText(tp.CodeBadMessage), err.Error())
	} else if subtle.ConstantTimeCompare([]byte(hello.Token), []byte(s.token)) != 1 {
		r = tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), "wrong token")
	}
	var reply any
	if !r.HasError() {
		reply, _ = json.Marshal(contract.Welcome{Contract: contract.Version})
	}
	if sent := sess.PreReply(m, reply, r); sent.HasError() {
		return sent
	}
	return r
}

// routes registers all routes of the lane.
func (s *server) routes() {
	handle(s.peer, contract.RouteDescribe, func(ctx tp.CallCtx, _ []byte) ([]byte, error) {
		return json.Marshal(s.desc)
	})
	handle(s.peer, contract.RouteConfigure, func(ctx tp.CallCtx, arg []byte) ([]byte, error) {
		var c contract.Configuration
		if err := json.Unmarshal(arg, &c); err != nil {
			return nil, refused(err)
		}
		if old := s.maxItem.Load(); c.MaxItem > 0 && (old == 0 || int64(c.MaxItem) < old) {
			s.maxItem.Store(int64(c.MaxItem))
		}
		if s.cfg.Configure == nil {
			if len(c.Config) > 0 {
				return nil, refused(fmt.Errorf("%s takes no configuration", s.desc.Name))
			}
			return nil, nil
		}
		if err := s.cfg.Configure(c.Config); err != nil {
			return nil, refused(err)
		}
		return nil, nil
	})
	handle(s.peer, contract.RoutePing, func(tp.CallCtx, []byte) ([]byte, error) { return s.pong() })
	handle(s.peer, contract.RouteDrain, func(tp.CallCtx, []byte) ([]byte, error) {
		if s.cfg.Listen == "" { // else other hosts go on
			s.end() // serve then closes the peer, which waits for its handlers
		}
		return nil, nil
	})
	s.translations = make(map[string]translation)
	tp.HandleCallInto(s.peer, contract.RouteBundle, s.bundle)
	for _, k := range kinds {
		var parts []any
		for i, p := range s.desc.Parts {
			if p.Kind == k.word {
				parts = append(parts, s.parts[i])
			}
		}
		if len(parts) > 0 {
			k.serve(s, parts)
		}
	}
}

// pong is the reply to a ping.
func (s *server) pong() ([]byte, error) {
	if len(s.gateways) == 0 {
		return nil, nil
	}
	p := contract.Pong{Refused: make(map[string]uint64)}
	for _, g := range s.gateways {
		p.Refused[g.part.Name()] = g.refused.Load()
	}
	return json.Marshal(p)
}

// handle registers a handler whose argument and reply are bytes. The reply may share memory
// with the argument, which is the handler's until the reply is sent.
func handle(r tp.Router, route string, f func(ctx tp.CallCtx, arg []byte) ([]byte, error)) {
	tp.HandleCallInto(r, route, func(ctx tp.CallCtx, arg, reply *[]byte) (err error) {
		*reply, err = f(ctx, *arg)
		return err
	})
}

// handleItem is handle for the items of a part.
func (s *server) handleItem(route string, f func(ctx tp.CallCtx, item []byte) ([]byte, error)) {
	handle(s.peer, route, func(ctx tp.CallCtx, item []byte) ([]byte, error) { return s.answer(f(ctx, item)) })
}

// A translation appends what a filter or a codec makes of an item to dst. If dst is nil the
// result may share memory with the item. max is the limit of an unpack route, in bytes.
// A translation has no effect but its result: an item may come twice.
type translation func(dst, item []byte, max int) ([]byte, error)

// handleTranslation registers the route of a translation. Small results lie behind their
// item, in memory that serves one item after the other: as garbage they would cost as much as
// all the rest of an item.
func (s *server) handleTranslation(route string, f translation) {
	s.translations[route] = f
	tp.HandleCallInto(s.peer, route, func(ctx tp.CallCtx, arg, reply *[]byte) (err error) {
		n := len(*arg)
		var dst []byte
		if n <= smallItem {
			*arg = slices.Grow(*arg, n+n/8+64)
			dst = (*arg)[n:n]
		}
		*reply, err = s.answer(f.of(ctx.ServiceMethod(), dst, *arg))
		return err
	})
}

// of is f with the limit in the query of the route.
func (f translation) of(route string, dst, item []byte) ([]byte, error) {
	_, query, _ := strings.Cut(route, "?")
	max, err := queryMax(query)
	if err != nil {
		return nil, err
	}
	return f(dst, item, max)
}

// smallItem is the size of the largest item that is small, in bytes: with its result it is
// within what HandleCallInto keeps.
const smallItem = 24 << 10

// answer is the reply to an item. Its size is bounded, and errors have the codes of the
// contract.
func (s *server) answer(out []byte, err error) ([]byte, error) {
	if most := s.maxItem.Load(); err == nil && most > 0 && int64(len(out)) > most {
		err = fmt.Errorf("%w: %d bytes, the host takes %d", xfer.ErrTooLarge, len(out), most)
	}
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, xfer.ErrTooLarge):
		return nil, tp.NewRerror(contract.CodeTooLarge, "Too Large", err.Error()).WithCause(err).Err()
	}
	return nil, refused(err)
}

// refused is the error of a part that does not accept what it was given.
func refused(err error) error {
	return tp.NewRerror(contract.CodeRefused, "Refused", err.Error()).WithCause(err).Err()
}
