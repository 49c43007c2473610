package tp_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

func logEnds(t *testing.T, change func(*tp.PeerConfig)) *ends {
	e := &ends{both: func(cfg *tp.PeerConfig) {
		cfg.AccessLog = true
		if change != nil {
			change(cfg)
		}
	}, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/echo", func(ctx tp.CallCtx, a *string) (string, error) {
			ctx.SetMeta("reply", "m")
			return *a, nil
		})
		tp.HandleCall(p, "/raw", func(_ tp.CallCtx, a *[]byte) ([]byte, error) { return *a, nil })
		tp.HandleCall(p, "/fail", func(tp.CallCtx, *string) (string, error) { return "", tp.NewRerror(1001, "mine", "why").Err() })
		tp.HandlePush(p, "/push", func(tp.PushCtx, *string) error { return nil })
	}}
	return e.dial(t)
}

// wantLine finds the one line of a kind and compares it with a pattern.
func wantLine(t *testing.T, l *lineLog, kind, pattern string) {
	t.Helper()
	line := l.want(t, kind)
	if !regexp.MustCompile("^" + pattern + "$").MatchString(line) {
		t.Errorf("the line is\n %s; want\n %s", line, pattern)
	}
}

func TestAccessLog(t *testing.T) {
	const addr = `[^ ]+`
	t.Run("plain", func(t *testing.T) {
		e := logEnds(t, nil)
		e.call(t, "/echo?q=1", "hi", nil, tp.WithSetMeta("k", "v"))
		wantLine(t, e.srvLines, "CALL<-", `INFO CALL<- addr=`+addr+` real=same method=/echo\?q=1 recv=\[size=\d\d\d?\] send=\[size=\d\d\]`)
		wantLine(t, e.cliLines, "CALL->", `INFO CALL-> addr=`+addr+` real=- method=/echo\?q=1 send=\[size=\d\d\d?\] recv=\[size=\d\d\]`)
		e.sess.Push("/push", "hi")
		wantLine(t, e.srvLines, "PUSH<-", `INFO PUSH<- addr=`+addr+` real=same method=/push recv=\[size=\d\d\]`)
		wantLine(t, e.cliLines, "PUSH->", `INFO PUSH-> addr=`+addr+` real=- method=/push send=\[size=\d\d\]`)
	})
	t.Run("errors", func(t *testing.T) {
		e := logEnds(t, nil)
		e.call(t, "/fail", "hi", nil)
		const rerr = `\{"code":1001,"message":"mine","reason":"why"\}`
		wantLine(t, e.srvLines, "CALL<-", `INFO CALL<- .*method=/fail recv=\[size=\d+\] send=\[size=\d+ error=`+rerr+`\]`)
		wantLine(t, e.cliLines, "CALL->", `INFO CALL-> .*method=/fail send=\[size=\d+\] recv=\[size=\d+ error=`+rerr+`\]`)
	})
	t.Run("404", func(t *testing.T) {
		e := logEnds(t, nil)
		e.call(t, "/no", "hi", nil)
		wantLine(t, e.srvLines, "CALL<-", `INFO CALL<- .*method=/no recv=\[size=\d+\] send=\[size=\d+ error=\{"code":404,"message":"Not Found"\}\]`)
		e.sess.Push("/no", "hi")
		wantLine(t, e.srvLines, "PUSH<-", `INFO PUSH<- .*method=/no recv=\[size=\d+ error=\{"code":404.*\}\]`)
	})
	t.Run("late", func(t *testing.T) {
		over := make(chan struct{})
		e := &ends{both: func(cfg *tp.PeerConfig) { cfg.AccessLog, cfg.DefaultContextAge = true, time.Millisecond }, routes: func(p tp.Peer) {
			tp.HandleCall(p, "/late", func(ctx tp.CallCtx, _ *string) (string, error) { <-over; return "", nil })
		}}
		e.dial(t)
		wantRerror(t, "the call", e.call(t, "/late", "", nil), 408)
		close(over)
		wantLine(t, e.srvLines, "CALL<-", `INFO CALL<- .*method=/late recv=\[size=\d+\] send=\[size=0 error=\{"code":408.*\}\]`)
	})
	t.Run("calls that were not sent", func(t *testing.T) {
		e := logEnds(t, nil)
		e.sess.Call("/x", stubborn{}, nil)
		wantLine(t, e.cliLines, "CALL->", `INFO CALL-> addr=.* real=- method=/x send=\[size=0\] recv=\[size=0 error=\{"code":104.*\}\]`)
		e.sess.Push("/x", stubborn{})
		wantLine(t, e.cliLines, "PUSH->", `INFO PUSH-> addr=.* real=- method=/x send=\[size=0 error=\{"code":104.*\}\]`)
	})
	t.Run("fast", func(t *testing.T) {
		e := logEnds(t, func(c *tp.PeerConfig) { c.CountTime = true })
		e.call(t, "/echo", "hi", nil)
		e.sess.Push("/push", "hi")
		for _, l := range []struct {
			log  *lineLog
			kind string
		}{{e.srvLines, "CALL<-"}, {e.cliLines, "CALL->"}, {e.srvLines, "PUSH<-"}, {e.cliLines, "PUSH->"}} {
			wantLine(t, l.log, l.kind, `INFO `+l.kind+` addr=`+addr+` real=(same|-) cost=[0-9.]+(ns|µs|ms|s) mark=fast method=.*`)
		}
	})
	t.Run("slow", func(t *testing.T) {
		e := logEnds(t, func(c *tp.PeerConfig) { c.CountTime, c.SlowCometDuration = true, 1 })
		e.call(t, "/echo", "hi", nil)
		e.sess.Push("/push", "hi")
		for _, l := range []struct {
			log  *lineLog
			kind string
		}{{e.srvLines, "CALL<-"}, {e.cliLines, "CALL->"}, {e.srvLines, "PUSH<-"}, {e.cliLines, "PUSH->"}} {
			wantLine(t, l.log, l.kind, `WARN `+l.kind+` .* cost=[0-9.]+(ns|µs|ms|s) mark=slow method=.*`)
		}
	})
	t.Run("real ip", func(t *testing.T) {
		srvLog := new(lineLog)
		cfg := tp.PeerConfig{AccessLog: true, LocalIP: "127.0.0.1", TrustedProxies: []string{"127.0.0.1"}, Protocol: testwire.New, DefaultBodyCodec: "testjson", Logger: newQuiet(srvLog)}
		srv := tp.NewPeer(cfg)
		defer srv.Close()
		cfg.Logger = newQuiet(nil)
		cli := tp.NewPeer(cfg)
		defer cli.Close()
		if err := srv.Listen(); err != nil {
			t.Fatal(err)
		}
		s, r := cli.Dial(srv.Addrs()[0].String())
		if r != nil {
			t.Fatal(r)
		}
		s.Call("/x", nil, nil, tp.WithRealIP("6.6.6.6"))
		wantLine(t, srvLog, "CALL<-", `INFO CALL<- addr=127.0.0.1:\d+ real=6.6.6.6 .*`)
	})
}

// Neither SlowCometDuration nor another peer's CountTime makes a line slow.
func TestNothingIsSlowWithoutCountTime(t *testing.T) {
	counting := logEnds(t, func(c *tp.PeerConfig) { c.CountTime = true })
	e := logEnds(t, func(c *tp.PeerConfig) { c.SlowCometDuration = 1 })
	for range 50 {
		counting.call(t, "/echo", "hi", nil)
		e.call(t, "/echo", "hi", nil)
		e.sess.Push("/push", "hi")
	}
	for _, l := range []*lineLog{e.srvLines, e.cliLines} {
		if lines := l.with("WARN"); len(lines) > 0 {
			t.Fatalf("lines are slow: %s", lines[0])
		}
	}
}

func TestPrintDetail(t *testing.T) {
	e := logEnds(t, func(c *tp.PeerConfig) { c.PrintDetail = true })
	e.call(t, "/echo", "hi\n\x00", new(string), tp.WithSetMeta("k", "v\n"))
	wantLine(t, e.srvLines, "CALL<-", `INFO CALL<- .* recv=\[size=\d+ meta=k=v%0A.* body="hi\\n\\u0000"\] send=\[size=\d+ meta=reply=m body="hi\\n\\u0000"\]`)
	wantLine(t, e.cliLines, "CALL->", `INFO CALL-> .* send=\[size=\d+ meta=k=v%0A.* body="hi\\n\\u0000"\] recv=\[size=\d+ meta=reply=m body="hi\\n\\u0000"\]`)
	e.sess.Push("/push", "ho")
	wantLine(t, e.srvLines, "PUSH<-", `INFO PUSH<- .* recv=\[size=\d+ body="ho"\]`)
	wantLine(t, e.cliLines, "PUSH->", `INFO PUSH-> .* send=\[size=\d+ body="ho"\]`)

	var back []byte
	e.call(t, "/raw", []byte("r\xffw\x1b[31m\n"), &back)
	line := e.srvLines.want(t, "CALL<-", "/raw")
	if strings.Count(line, `body="r\xffw\x1b[31m\n"`) != 2 {
		t.Errorf("bytes are not escaped: %q", line)
	}
	e.sess.Push("/push", make(chan int))
	e.cliLines.want(t, "PUSH->", "error", "body=")
	itself := map[any]any{}
	itself["self"] = itself
	e.sess.Push("/push?itself", itself)
	e.cliLines.want(t, "PUSH->", "/push?itself", "error", "it contains itself")
}

func TestPrintDetailIsCut(t *testing.T) {
	e := logEnds(t, func(c *tp.PeerConfig) { c.PrintDetail = true })
	for _, test := range []struct {
		name string
		arg  any
		set  tp.MessageSetting
	}{
		{"/echo", strings.Repeat("x", 100_000), nil},
		{"/raw", []byte(strings.Repeat("\x00", 100_000)), nil},
		{"/echo?meta", "x", tp.WithSetMeta("k", strings.Repeat("x", 100_000))},
		{"/echo?umlauts", strings.Repeat("ü", 50_001), nil},
	} {
		e.call(t, test.name, test.arg, nil, test.set)
		for _, l := range []*lineLog{e.srvLines, e.cliLines} {
			line := l.want(t, "CALL", "method="+test.name+" ")
			if len(line) < 4<<10 || len(line) > 2*(4<<10)+600 {
				t.Errorf("%s: a line of %d bytes; want details cut at 4 KiB", test.name, len(line))
			}
			if !regexp.MustCompile(`\(\d{6} bytes\)`).MatchString(line) {
				t.Errorf("%s: the line does not say how much there was: …%s", test.name, line[len(line)-200:])
			}
			if strings.ToValidUTF8(line, "") != line {
				t.Errorf("%s: the line is cut inside a character", test.name)
			}
		}
	}
}

// Passwords travel in AUTH messages, before any session: no line shows them.
func TestAuthBodiesAreNotLogged(t *testing.T) {
	e := &ends{both: func(c *tp.PeerConfig) { c.PrintDetail, c.CountTime = true, true }}
	r := talk(t, e, func(s tp.PreSession) *tp.Rerror {
		s.PreSend(tp.TypeAuthCall, "/auth", "secret-password", nil)
		return s.PreReceive(text).Rerror()
	}, func(s tp.PreSession) *tp.Rerror {
		return s.PreReply(s.PreReceive(text), "secret-token", nil)
	})
	if r != nil {
		t.Fatal(r)
	}
	e.call(t, "/echo", nil, nil)
	e.srvLines.want(t, "CALL<-")
	// Sent by a ready session: nothing says so in the log either.
	e.sess.Push("/x", "secret-push", tp.WithMtype(tp.TypeAuthCall))
	e.cliLines.want(t, "PUSH->")
	e.srvLines.want(t, "AUTH_CALL<-", "405")
	for _, l := range []*lineLog{e.srvLines, e.cliLines} {
		if lines := l.with("secret"); len(lines) > 0 {
			t.Errorf("the log says %s", lines[0])
		}
	}
}

// The line of a message is below INFO, unless the peer is configured with AccessLog or
// the message was slow.
func TestAccessLogIsAskedFor(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*tp.PeerConfig)
		level  string
	}{
		{"by default", func(c *tp.PeerConfig) {}, "DEBUG"},
		{"CountTime", func(c *tp.PeerConfig) { c.CountTime = true }, "DEBUG"},
		{"AccessLog", func(c *tp.PeerConfig) { c.AccessLog = true }, "INFO"},
		{"PrintDetail", func(c *tp.PeerConfig) { c.PrintDetail = true }, "INFO"},
		{"slow", func(c *tp.PeerConfig) { c.CountTime, c.SlowCometDuration = true, 1 }, "WARN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := logEnds(t, func(c *tp.PeerConfig) { c.AccessLog = false; test.change(c) })
			e.call(t, "/echo", "hi", nil)
			e.sess.Push("/push", "hi")
			wantLine(t, e.srvLines, "CALL<-", test.level+" CALL<- .*")
			wantLine(t, e.cliLines, "CALL->", test.level+" CALL-> .*")
			wantLine(t, e.srvLines, "PUSH<-", test.level+" PUSH<- .*")
			wantLine(t, e.cliLines, "PUSH->", test.level+" PUSH-> .*")
		})
	}
}

func TestAccessLogIsOff(t *testing.T) {
	was := tp.GetLoggerLevel()
	defer func() { tp.SetLoggerLevel2(was) }()
	e := logEnds(t, func(c *tp.PeerConfig) { c.CountTime, c.SlowCometDuration = true, time.Hour })
	for _, test := range []struct {
		level string
		lines bool
	}{{"OFF", false}, {"ERROR", false}, {"WARNING", false}, {"NOTICE", false}, {"INFO", true}, {"ERROR", false}} {
		e.cliLines.mu.Lock()
		e.cliLines.lines = nil
		e.cliLines.mu.Unlock()
		tp.SetLoggerLevel(test.level)
		e.call(t, "/echo", "x", nil)
		if got := len(e.cliLines.with("CALL->")) == 1; got != test.lines {
			t.Errorf("at level %s there is a line: %v; want %v", test.level, got, test.lines)
		}
	}
}
