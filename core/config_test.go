package tp_test

import (
	"errors"
	"net"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// seedPeerConfig is the configuration as the specification prints it.
type seedPeerConfig struct {
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
}

func TestPeerConfigIsTheSpecifications(t *testing.T) {
	want, got := reflect.TypeFor[seedPeerConfig](), reflect.TypeFor[tp.PeerConfig]()
	for i := range want.NumField() {
		w, g := want.Field(i), got.Field(i)
		if g.Name != w.Name || g.Type != w.Type || g.Tag != w.Tag {
			t.Errorf("field %d is\n %s %s %s; want\n %s %s %s", i, g.Name, g.Type, g.Tag, w.Name, w.Type, w.Tag)
		}
	}
	seen := map[string]bool{}
	for i := range got.NumField() {
		f := got.Field(i)
		if !f.IsExported() {
			continue
		}
		yaml, ini := f.Tag.Get("yaml"), f.Tag.Get("ini")
		if yaml == "" || yaml != ini || yaml != "-" && (seen[yaml] || f.Tag.Get("comment") == "") {
			t.Errorf("field %s: yaml %q, ini %q, comment %q; want one name, used once, and a comment", f.Name, yaml, ini, f.Tag.Get("comment"))
		}
		seen[yaml] = true
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		cfg   tp.PeerConfig
		words []string
	}{
		{"unknown network", tp.PeerConfig{Network: "carrier"}, []string{`"carrier"`, "Invalid network config, refer to the following: ", "tcp, tcp4, tcp6", "unix, unixpacket"}},
		{"network of a module", tp.PeerConfig{Network: "quic"}, []string{`import _ "github.com/teleport-go/teleport/mixers/quic"`}},
		{"two ways to name protocols", tp.PeerConfig{Protocol: testwire.New, Protocols: []string{"raw", "http"}},
			[]string{"Protocol and Protocols", `["raw" "http"]`, "both"}},
		{"bad proxy", tp.PeerConfig{TrustedProxies: []string{"10.0.0.0/8", "ten"}}, []string{"trusted_proxies", `"ten"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Logger = newQuiet(nil)
			p, err := tp.Open(test.cfg)
			if err == nil || p != nil {
				t.Fatalf("Open gives %v, %v; want nil and an error", p, err)
			}
			for _, w := range test.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("Open says %q; want %q in it", err, w)
				}
			}
			wantPanic(t, "NewPeer says the same", func() { tp.NewPeer(test.cfg) }, err.Error())
		})
	}
}

// seeConfig edits the configuration that a peer really uses.
type seeConfig struct{ edit func(*tp.PeerConfig) }

func (seeConfig) Name() string { return "see config" }

func (s seeConfig) PreNewPeer(c *tp.PeerConfig, _ *tp.PluginContainer) error { s.edit(c); return nil }

func TestAgesBelowZeroAreNone(t *testing.T) {
	e := &ends{both: func(c *tp.PeerConfig) { c.DefaultSessionAge, c.DefaultContextAge = -time.Second, -1 }}
	e.dial(t)
	if s, c := e.sess.SessionAge(), e.sess.ContextAge(); s != 0 || c != 0 {
		t.Errorf("ages are %v and %v; want 0, unlimited", s, c)
	}
}

func TestPeerTakesASnapshot(t *testing.T) {
	limit := tp.MessageSizeLimit()
	tp.SetMessageSizeLimit(1000)
	e := new(ends).listen(t)
	tp.SetMessageSizeLimit(limit)
	s, r := e.cli.Dial(e.addr)
	if r != nil {
		t.Fatal(r)
	}
	if r := s.Push("/x", strings.Repeat("x", 2000)); r == nil || r.Code != tp.CodeWriteFailed {
		t.Errorf("a push over the limit of its day gives %v; want code 104", r)
	}
	if tp.GetReadLimit() != limit {
		t.Errorf("GetReadLimit is %d; want %d", tp.GetReadLimit(), limit)
	}
}

func TestPreNewPeerEditsTheConfig(t *testing.T) {
	e := &ends{
		cliPlugin: []tp.Plugin{seeConfig{func(c *tp.PeerConfig) { c.DefaultBodyCodec = "testtext" }}},
		routes: func(p tp.Peer) {
			tp.HandleCall(p, "/codec", func(ctx tp.CallCtx, _ *[]byte) (string, error) {
				return strconv.Itoa(int(ctx.GetBodyCodec())), nil
			})
		},
	}
	e.dial(t)
	var got string
	if r := e.call(t, "/codec", "x", &got); r != nil || got != strconv.Itoa(int(testwire.Text)) {
		t.Errorf("the request's codec is %q, %v; want %d, which the hook chose", got, r, testwire.Text)
	}
	if e.cliCfg.DefaultBodyCodec != "testjson" {
		t.Errorf("the caller's own configuration was changed")
	}
}

func TestDialFailureIsNil(t *testing.T) {
	e := new(ends).listen(t)
	s, r := e.cli.Dial("nowhere")
	if s != nil {
		t.Errorf("the session of a failed Dial is %v; want nil", s)
	}
	wantRerror(t, "Dial without a listener", r, tp.CodeDialFailed, "dial nowhere", "no listener")
	if !tp.IsConnRerror(r) || !errors.Is(r.Err(), tp.ErrDialFailed) {
		t.Errorf("%v is no connection error", r)
	}
}

// The mistakes of a user's first minutes: each error says what to do.

func TestFirstMinutePortTaken(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	port := lis.Addr().(*net.TCPAddr).Port
	lines := new(lineLog)
	p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", ListenPort: uint16(port), Protocol: testwire.New, Logger: newQuiet(lines)})
	defer p.Close()
	err = p.Listen()
	for _, w := range []string{strconv.Itoa(port), "in use"} {
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), w) {
			t.Errorf("Listen on a taken port says %v; want %q in it", err, w)
		}
	}
	if err := p.ListenAndServe(); err == nil {
		t.Error("ListenAndServe on a taken port gives no error")
	}
	// The specification's samples drop both errors: they must not end in silence.
	if got := lines.with("ERROR", strconv.Itoa(port), "in use"); len(got) != 2 {
		t.Errorf("%d lines at ERROR say that the port is taken; want one each of Listen and ListenAndServe", len(got))
	}
}

func TestFirstMinuteProtocolNotImported(t *testing.T) {
	was, wasErr := socket.DefaultProtoFunc()
	tp.SetDefaultProtoFunc(nil)
	if wasErr == nil {
		defer tp.SetDefaultProtoFunc(was)
	}
	const line = `import _ "github.com/teleport-go/teleport/protos/rawproto"`
	p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Logger: newQuiet(nil)})
	defer p.Close()
	if err := p.Listen(); err == nil || !strings.Contains(err.Error(), line) {
		t.Errorf("Listen says %v; want the line %s", err, line)
	}
	s, r := p.Dial("127.0.0.1:1")
	if s != nil || r == nil || !strings.Contains(r.String(), strings.ReplaceAll(line, `"`, `\"`)) && !strings.Contains(r.Reason, line) {
		t.Errorf("Dial says %v, %v; want the line %s", s, r, line)
	}
	wantPanic(t, "DefaultProtoFunc", func() { tp.DefaultProtoFunc() }, line)
}

func TestFirstMinuteCodecNotImported(t *testing.T) {
	const line = `import _ "github.com/teleport-go/teleport/codecs/xmlcodec"`
	e := new(ends).dial(t)
	r := e.call(t, "/x", struct{}{}, nil, tp.WithBodyCodec(codec.XML))
	wantRerror(t, "a call with a codec that is not there", r, tp.CodeWriteFailed)
	if r != nil && !strings.Contains(r.Reason, line) {
		t.Errorf("its reason is %q; want the line %s", r.Reason, line)
	}
	if err := tp.SetDefaultBodyCodec(codec.XML); err == nil || !strings.Contains(err.Error(), line) {
		t.Errorf("SetDefaultBodyCodec says %v; want the line %s", err, line)
	}
}

func TestFirstMinuteUnknownCodecName(t *testing.T) {
	for _, test := range []struct{ name, codec, want string }{
		{"a slip of the pen", "testjsn", "testjson"},
		{"not imported", "cbor", `import _ "github.com/teleport-go/teleport/codecs/cborcodec"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := tp.Open(tp.PeerConfig{LocalIP: "127.0.0.1", DefaultBodyCodec: test.codec, Protocol: testwire.New, Logger: newQuiet(nil)})
			if err != nil {
				t.Fatal(err) // imports may still come
			}
			defer p.Close()
			err = p.Listen()
			if err == nil || !strings.Contains(err.Error(), "unsupported codec name: "+test.codec) || !strings.Contains(err.Error(), test.want) ||
				!strings.Contains(err.Error(), "default_body_codec") {
				t.Errorf("Listen says %v; want the setting, the name, and %q", err, test.want)
			}
			s, r := p.Dial("127.0.0.1:1")
			if s != nil {
				t.Errorf("there is a session: %v", s)
			}
			wantRerror(t, "Dial", r, tp.CodeDialFailed, "unsupported codec name: "+test.codec)
		})
	}
}

// hintProto gives a hint why a peer of another dialect hangs up.
type hintProto struct{ socket.Proto }

func (hintProto) Hint() string {
	return "an older server speaks another dialect: dial it with the option Seed"
}

func TestFirstMinuteOtherDialect(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	go func() { // hangs up once it has received something, as an older server does
		c, err := lis.Accept()
		if err != nil {
			return
		}
		one := make([]byte, 4096)
		c.Read(one)
		c.Close()
	}()
	p := tp.NewPeer(tp.PeerConfig{DefaultBodyCodec: "testjson", Logger: newQuiet(nil)})
	defer p.Close()
	s, r := p.Dial(lis.Addr().String(), func(rw socket.IOWithReadBuffer) tp.Proto { return hintProto{testwire.New(rw)} })
	if r != nil {
		t.Fatal(r)
	}
	r = s.Call("/x", nil, nil).Rerror()
	wantRerror(t, "a call", r, tp.CodeConnClosed, "dial it with the option Seed")
}
