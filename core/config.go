package tp

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// PeerConfig is what a peer is made with. The zero value is a usable client.
// Durations and sizes not above 0 mean the default that is given, or no limit
// where the comment says so. DefaultDialTimeout is 10s by default, and no limit
// below 0. The longest time.Duration is no limit either. With the network unix LocalIP
// is the path of the socket.
type PeerConfig struct {
	Network            string        `yaml:"network"              ini:"network"              comment:"Network; tcp, tcp4, tcp6, unix, unixpacket or quic"`
	LocalIP            string        `yaml:"local_ip"             ini:"local_ip"             comment:"Local IP"`
	ListenPort         uint16        `yaml:"listen_port"          ini:"listen_port"          comment:"Listen port; for server role"`
	DefaultDialTimeout time.Duration `yaml:"default_dial_timeout" ini:"default_dial_timeout" comment:"Default maximum duration for dialing; for client role; ns,µs,ms,s,m,h"`
	RedialTimes        int32         `yaml:"redial_times"         ini:"redial_times"         comment:"The maximum times of attempts to redial, after the connection has been unexpectedly broken; Unlimited when <0; for client role"`
	RedialInterval     time.Duration `yaml:"redial_interval"      ini:"redial_interval"      comment:"Interval of redialing each time, default 100ms; for client role; ns,µs,ms,s,m,h"`
	DefaultBodyCodec   string        `yaml:"default_body_codec"   ini:"default_body_codec"   comment:"Default body codec type id"`
	DefaultSessionAge  time.Duration `yaml:"default_session_age"  ini:"default_session_age"  comment:"Default session max age, if less than or equal to 0, no time limit; ns,µs,ms,s,m,h"`
	DefaultContextAge  time.Duration `yaml:"default_context_age"  ini:"default_context_age"  comment:"Default PULL or PUSH context max age, if less than or equal to 0, no time limit; ns,µs,ms,s,m,h"`
	SlowCometDuration  time.Duration `yaml:"slow_comet_duration"  ini:"slow_comet_duration"  comment:"Slow operation alarm threshold; ns,µs,ms,s ..."`
	PrintDetail        bool          `yaml:"print_detail"         ini:"print_detail"         comment:"Is print body and metadata or not"`
	CountTime          bool          `yaml:"count_time"           ini:"count_time"           comment:"Is count cost time or not"`

	LocalPort          uint16        `yaml:"local_port"           ini:"local_port"           comment:"Source port of dialed connections; 0 picks one; for client role"`
	DefaultCallTimeout time.Duration `yaml:"default_call_timeout" ini:"default_call_timeout" comment:"Deadline of a call whose context has none; 0 is none; ns,µs,ms,s,m,h"`
	CloseTimeout       time.Duration `yaml:"close_timeout"        ini:"close_timeout"        comment:"Longest wait of Close for pending calls and replies, default 5s; ns,µs,ms,s,m,h"`
	HandshakeTimeout   time.Duration `yaml:"handshake_timeout"    ini:"handshake_timeout"    comment:"Longest time for TLS, for the PostDial or PostAccept hooks, and to recognise one of several protocols, default 10s; ns,µs,ms,s,m,h"`
	WriteTimeout       time.Duration `yaml:"write_timeout"        ini:"write_timeout"        comment:"Longest write without progress, default 30s; ns,µs,ms,s,m,h"`
	FrameTimeout       time.Duration `yaml:"frame_timeout"        ini:"frame_timeout"        comment:"Longest time in which a message arrives, from its first bytes on, and a second more for each KiB of it; default 30s, negative: no limit; ns,µs,ms,s,m,h"`
	IdleTimeout        time.Duration `yaml:"idle_timeout"         ini:"idle_timeout"         comment:"A session that receives nothing for so long is closed, unless it has pending calls or running handlers; default 0: no limit; ns,µs,ms,s,m,h"`
	RedialWait         time.Duration `yaml:"redial_wait"          ini:"redial_wait"          comment:"Longest wait of a call without deadline for a redial, default 30s; ns,µs,ms,s,m,h"`
	MaxHandlers        int           `yaml:"max_handlers"         ini:"max_handlers"         comment:"Handlers that run at once per session, default 10000"`
	WriteBound         int           `yaml:"write_bound"          ini:"write_bound"          comment:"Bytes per session that may be queued for writing, default 4194304"`
	PushPolicy         PushPolicy    `yaml:"push_policy"          ini:"push_policy"          comment:"What happens to a push for which there is no room: wait (the default), fail, drop-newest, drop-oldest, latest or disconnect"`
	BusyPoll           time.Duration `yaml:"busy_poll"            ini:"busy_poll"            comment:"Longest time a reader whose messages come in quick succession polls before it sleeps, default 150µs; negative: never; ns,µs,ms,s,m,h"`
	Loops              int           `yaml:"loops"                ini:"loops"                comment:"Event loops that serve all sessions, also a few, with a listener each for TCP on Linux; negative: one per processor; default 0: one per processor for sessions from the 16th on"`
	ReadMemory         int64         `yaml:"read_memory"          ini:"read_memory"          comment:"Bytes that received messages of all sessions may take until they are handled, default 1073741824"`
	SessionMemory      int64         `yaml:"session_memory"       ini:"session_memory"       comment:"Bytes that the requests of one session may take until they are answered, default a quarter of read_memory"`
	StreamWindow       int64         `yaml:"stream_window"        ini:"stream_window"        comment:"Bytes of a stream that the other side may send before they are received, default 262144; at most 16 MiB for all streams of a session"`
	Extensions         bool          `yaml:"extensions"           ini:"extensions"           comment:"Say hello over protocols that do not show what the peer is: no peer is of v5 or v7, or older than streams"`
	MessageSizeLimit   uint32        `yaml:"message_size_limit"   ini:"message_size_limit"   comment:"Largest message in bytes; 0 is the process-wide limit"`
	UnixMode           os.FileMode   `yaml:"unix_mode"            ini:"unix_mode"            comment:"Mode of a unix socket file, default 0600"`
	TrustedProxies     []string      `yaml:"trusted_proxies"      ini:"trusted_proxies"      comment:"Networks (CIDR) whose X-Real-IP is believed, default none"`
	AccessLog          bool          `yaml:"access_log"           ini:"access_log"           comment:"Log one line per message at INFO, not at DEBUG; print_detail includes it"`
	HidePanics         bool          `yaml:"hide_panics"          ini:"hide_panics"          comment:"Do not send the text of a handler's panic to the caller"`

	DefaultXferPipe []string `yaml:"default_xfer_pipe" ini:"default_xfer_pipe" comment:"Names of the filters of calls, pushes and replies that name none, outermost first, such as gzip; the peers must have them"`
	XferPipeMin     int      `yaml:"xfer_pipe_min"     ini:"xfer_pipe_min"     comment:"Bytes of an encoded body from which on default_xfer_pipe is used, default 1024"`

	Protocols []string `yaml:"protocols" ini:"protocols" comment:"Names of the protocols spoken on one port, recognised by the first bytes; the first one speaks until the peer has"`

	// Net is the network, in place of the one with the name Network: for one that has
	// options, or that no other peer should find by its name. If Network is set too, it
	// must be Net's name. The peer uses a copy.
	Net *Network `yaml:"-" ini:"-"`
	// Protocol is the protocol of connections unless Dial, Listen or ServeConn is
	// given another; nil is Protocols, or else the process-wide default. It is an
	// error to set both.
	Protocol ProtoFunc `yaml:"-" ini:"-"`
	// Mapper names the routes; nil is the process-wide default.
	Mapper ServiceMethodMapper `yaml:"-" ini:"-"`
	// Tuning sets the socket options of TCP connections; nil is the process-wide
	// default.
	Tuning *socket.Tuning `yaml:"-" ini:"-"`
	// Logger receives the peer's log lines; nil is the process-wide logger, also
	// when that is replaced later. The logger of the oldest open peer receives the
	// lines of the process too: its PID, signals, shutdown.
	Logger *slog.Logger `yaml:"-" ini:"-"`
	// Private says that the peer is part of a module, such as of a filter that asks another
	// process, which the other peers need until their last message: Shutdown and Reboot do
	// not close it, its owner does, and no lines of the process go to its logger.
	Private bool `yaml:"-" ini:"-"`

	// CarrySwap saves a value of a session's Swap for the new process, when a Reboot hands
	// the session over. If it returns false, or is nil and the Swap is not empty, the session
	// stays with the old process. Values of plugins are not its: see [SwapOwner].
	CarrySwap func(key, value any) (saved []byte, ok bool) `yaml:"-" ini:"-"`
	// RestoreSwap stores a value in the new process that CarrySwap has saved in the old one.
	// After an error the session stays with the old process.
	RestoreSwap func(swap *Swap, saved []byte) error `yaml:"-" ini:"-"`

	trusted []netip.Prefix
	codecID byte           // of DefaultBodyCodec; 0: resolved at the first Dial or Listen
	pipe    *xfer.XferPipe // of DefaultXferPipe; resolved then too
}

const (
	// maxPollers is the most pollers of a peer that has one per processor.
	maxPollers = 16
	// maxLoops is the most that can be configured.
	maxLoops = 1024
)

// network returns the configured network, and makes Network its name.
func (c *PeerConfig) network() (n Network, err error) {
	switch {
	case c.Net == nil:
		n, err = LookupNetwork(c.Network)
	case c.Net.Name == "":
		err = errors.New("tp: config: the network Net has no Name, which log lines show")
	case c.Network != "" && c.Network != c.Net.Name:
		err = fmt.Errorf("tp: config: Network is %q, and Net is the network %q; set one of them", c.Network, c.Net.Name)
	default:
		n = c.Net.complete()
	}
	c.Network = n.Name
	return n, err
}

// check fills in defaults and returns an error for a configuration that cannot work.
func (c *PeerConfig) check() error {
	positive(&c.RedialInterval, 100*time.Millisecond)
	positive(&c.CloseTimeout, 5*time.Second)
	positive(&c.HandshakeTimeout, 10*time.Second)
	positive(&c.WriteTimeout, 30*time.Second)
	if c.FrameTimeout == 0 {
		c.FrameTimeout = 30 * time.Second
	}
	c.FrameTimeout = max(c.FrameTimeout, 0)
	c.IdleTimeout = max(c.IdleTimeout, 0)
	positive(&c.RedialWait, 30*time.Second)
	if c.BusyPoll == 0 {
		c.BusyPoll = 150 * time.Microsecond
	}
	if c.Loops < 0 {
		c.Loops = min(runtime.GOMAXPROCS(0), maxPollers)
	}
	if c.Loops > maxLoops {
		return fmt.Errorf("tp: config: loops: %d, at most %d are possible", c.Loops, maxLoops)
	}
	positive(&c.WriteBound, 4<<20)
	if err := c.PushPolicy.Check(); err != nil {
		return fmt.Errorf("tp: config: push_policy: %w", err)
	}
	if c.PushPolicy == "" {
		c.PushPolicy = PushWait
	}
	positive(&c.ReadMemory, 1<<30)
	positive(&c.SessionMemory, c.ReadMemory/4)
	positive(&c.XferPipeMin, 1024)
	positive(&c.StreamWindow, 256<<10)
	c.StreamWindow = min(c.StreamWindow, c.mostWindows())
	if c.DefaultDialTimeout == 0 {
		c.DefaultDialTimeout = 10 * time.Second
	}
	if c.MessageSizeLimit == 0 {
		c.MessageSizeLimit = MessageSizeLimit()
	}
	if c.Mapper == nil {
		c.Mapper = defaultMapper()
	}
	if c.Tuning == nil {
		t := socket.DefaultTuning()
		c.Tuning = &t
	}
	if c.Protocol != nil && len(c.Protocols) > 0 {
		return fmt.Errorf("tp: config: Protocol and Protocols %q are both set; register what is not the protocol of a package under a name of its own, such as by httproto.Register", c.Protocols)
	}
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, aerr := netip.ParseAddr(text)
			if aerr != nil {
				return fmt.Errorf("tp: config: trusted_proxies %q: %w", text, err)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		c.trusted = append(c.trusted, p.Masked())
	}
	return nil
}

// firstWindow is the most that may be sent before a stream is accepted: with the CALL that
// opens it nobody knows how many others are open.
const firstWindow = 16 << 10

// firstWindow is the window of a stream before it is accepted.
func (c *PeerConfig) firstWindow() int64 { return min(c.StreamWindow, firstWindow) }

// mostWindows is how large the windows of a session's streams may be together.
func (c *PeerConfig) mostWindows() int64 { return min(16<<20, c.SessionMemory/2) }

// live returns the part that can change, with defaults.
func (c *PeerConfig) live() *Live {
	l := &Live{
		DefaultSessionAge: c.DefaultSessionAge, DefaultContextAge: c.DefaultContextAge,
		DefaultCallTimeout: c.DefaultCallTimeout, MaxHandlers: c.MaxHandlers,
		SlowCometDuration: c.SlowCometDuration, AccessLog: c.AccessLog,
		PrintDetail: c.PrintDetail, CountTime: c.CountTime,
	}
	l.fill()
	return l
}

func (l *Live) fill() {
	l.DefaultSessionAge = max(l.DefaultSessionAge, 0)
	l.DefaultContextAge = max(l.DefaultContextAge, 0)
	l.DefaultCallTimeout = max(l.DefaultCallTimeout, 0)
	positive(&l.MaxHandlers, 10_000)
	positive(&l.SlowCometDuration, math.MaxInt64)
}

// resolve looks up the codec and the protocols by name. It runs at the first Listen
// or Dial, since a package-level peer may be made before the init of an import
// registers them.
func (c *PeerConfig) resolve() error {
	if c.DefaultBodyCodec == "" {
		c.codecID = defaultBodyCodecID()
	} else {
		k, err := codec.GetByName(c.DefaultBodyCodec)
		if err != nil {
			return fmt.Errorf("tp: config: default_body_codec: %w", err)
		}
		c.codecID = k.ID()
	}
	for _, name := range c.DefaultXferPipe {
		f, err := xfer.GetByName(name)
		if err == nil {
			if c.pipe == nil {
				c.pipe = new(xfer.XferPipe)
			}
			err = c.pipe.Append(f.ID())
		}
		if err != nil {
			return fmt.Errorf("tp: config: default_xfer_pipe: %w", err)
		}
	}
	if c.Protocol != nil {
		return nil
	}
	for _, name := range c.Protocols {
		if _, err := socket.LookupProto(name); err != nil {
			return fmt.Errorf("tp: config: protocols: %w", err)
		}
	}
	if len(c.Protocols) > 0 {
		c.Protocol = socket.AnyProto(c.Protocols...)
	}
	return nil
}

// protocol returns the protocol of connections for which the caller names none.
func (c *PeerConfig) protocol() (ProtoFunc, error) {
	if c.Protocol != nil {
		return c.Protocol, nil
	}
	fn, err := socket.DefaultProtoFunc()
	if err != nil {
		return nil, fmt.Errorf("tp: default protocol: %w", err)
	}
	return fn, nil
}

func positive[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}
