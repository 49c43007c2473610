package tp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/teleport-go/teleport/core/internal/suite"
)

var levelAtStart LoggerLevel

func init() {
	levelAtStart = GetLoggerLevel()
	SetLoggerLevel2(DEBUG) // most tests read lines at DEBUG
}

// captureLog sends the default logger's lines into a buffer during a test, at
// the level DEBUG.
func captureLog(t *testing.T) *lockedBuffer {
	t.Helper()
	buf := new(lockedBuffer)
	level := GetLoggerLevel()
	SetLoggerLevel2(DEBUG)
	SetLogger(slog.New(&textHandler{out: &logOutput{w: buf}}))
	t.Cleanup(func() {
		SetLogger(nil)
		SetLoggerLevel2(level)
	})
	return buf
}

// lockedBuffer counts writes, and may be read while it is written.
type lockedBuffer struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	writes int
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// take returns what was written since the last take.
func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.buf.String()
	b.buf.Reset()
	return s
}

func thisLine() int {
	_, _, line, _ := runtime.Caller(1)
	return line
}

func TestLogLine(t *testing.T) {
	buf := captureLog(t)
	SetLoggerLevel2(TRACE)
	sess := struct{ logger }{newLogger(nil)}
	for _, test := range []struct {
		name string
		log  func() int
		want string // without time and caller
	}{
		{"print", func() int { Printf("a %d", 1); return thisLine() }, "[PRIN] a 1"},
		{"critical", func() int { Criticalf("a"); return thisLine() }, "[CRIT] a"},
		{"error", func() int { Errorf("a"); return thisLine() }, "[ERRO] a"},
		{"warning", func() int { Warnf("a"); return thisLine() }, "[WARN] a"},
		{"notice", func() int { Noticef("a"); return thisLine() }, "[NOTI] a"},
		{"info", func() int { Infof("author: %s", "me"); return thisLine() }, "[INFO] author: me"},
		{"debug", func() int { Debugf("100%%"); return thisLine() }, "[DEBU] 100%"},
		{"trace", func() int { Tracef("a"); return thisLine() }, "[TRAC] a"},
		{"lazy", func() int { LazyInfof(func() string { return "a%d" }); return thisLine() }, "[INFO] a%d"},
		{"GetLogger", func() int { GetLogger().Infof("a"); return thisLine() }, "[INFO] a"},
		{"embedded", func() int { sess.Infof("a"); return thisLine() }, "[INFO] a"},
		{"embedded, as interface", func() int { Logger(sess).Warnf("a"); return thisLine() }, "[WARN] a"},
		{"slog", func() int { processLogger.Load().Info("a", "k", 1); return thisLine() }, "[INFO] a k=1"},
		{"end of line", func() int { Infof("a\r\n"); return thisLine() }, "[INFO] a"},
		{"two lines", func() int { Infof("a\n[2026/01/01 00:00:00.000] [PRIN] b"); return thisLine() },
			"[INFO] a\n\t[2026/01/01 00:00:00.000] [PRIN] b"},
		{"terminal control", func() int { Infof("\x1b[2J\tä\xff\ufffd\x00"); return thisLine() },
			"[INFO] \\x1b[2J\tä\\xff\ufffd\\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			line := test.log()
			got := buf.take()
			stamp := regexp.MustCompile(`^\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{3}\] `).FindString(got)
			if stamp == "" {
				t.Errorf("line %q does not begin with a time", got)
			}
			want := fmt.Sprintf("%s%s <core/log_test.go:%d>\n", stamp, test.want, line)
			if got != want {
				t.Errorf("line is %q; want %q", got, want)
			}
		})
	}
}

func TestLogAttrs(t *testing.T) {
	buf := captureLog(t)
	l := newLogger(nil)
	for _, test := range []struct {
		name string
		attr slog.Attr
		want string
	}{
		{"word", slog.String("k", "v"), ` k=v`},
		{"empty", slog.String("k", ""), ` k=""`},
		{"spaces", slog.String("k", "a b"), ` k="a b"`},
		{"newline", slog.String("k", "a\nb"), ` k="a\nb"`},
		{"quote", slog.String("k", `"`), ` k="\""`},
		{"path", slog.String("k", "/a/b?c"), ` k=/a/b?c`},
		{"equals sign", slog.String("k", "a=b"), ` k="a=b"`},
		{"duration", slog.Duration("k", 1500*time.Millisecond), ` k=1.5s`},
		{"int", slog.Int("k", -1), ` k=-1`},
		{"error", slog.Any("k", errors.New("no way")), ` k="no way"`},
		{"nil", slog.Any("k", nil), ` k=<nil>`},
		{"group", slog.Group("g", slog.Int("a", 1), slog.Group("h", slog.Int("b", 2))), ` g.a=1 g.h.b=2`},
		{"none", slog.Attr{}, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			l.attrs(INFO, "m", test.attr)
			_, got, _ := strings.Cut(buf.take(), "[INFO] ")
			if want := "m" + test.want + "\n"; got != want {
				t.Errorf("line ends in %q; want %q", got, want)
			}
		})
	}
}

func TestLoggerLevel(t *testing.T) {
	buf := captureLog(t)
	all := []func(string, ...any){Printf, Criticalf, Errorf, Warnf, Noticef, Infof, Debugf, Tracef}
	for _, test := range []struct {
		set  string
		want LoggerLevel
	}{
		{"OFF", OFF}, {"PRINT", PRINT}, {"CRITICAL", CRITICAL}, {"ERROR", ERROR}, {"WARNING", WARNING}, {"warn", WARNING},
		{" Notice ", NOTICE}, {"INFO", INFO}, {"DEBUG", DEBUG}, {"TRACE", TRACE},
	} {
		t.Run(test.set, func(t *testing.T) {
			if err := SetLoggerLevel(test.set)(); err != nil {
				t.Errorf("flush: %v", err)
			}
			if got := GetLoggerLevel(); got != test.want {
				t.Fatalf("level is %v; want %v", got, test.want)
			}
			for i, f := range all {
				level := LoggerLevel(i + 1)
				f("x")
				got, want := buf.take() != "", level <= test.want
				if got != want {
					t.Errorf("at %v a line of %v is written: %v; want %v", test.want, level, got, want)
				}
				if EnableLoggerLevel(level) != want {
					t.Errorf("at %v EnableLoggerLevel(%v) = %v; want %v", test.want, level, !want, want)
				}
			}
			if EnableLoggerLevel(OFF) {
				t.Error("EnableLoggerLevel(OFF) = true; want false")
			}
		})
	}
}

func TestLoggerLevelUnknown(t *testing.T) {
	buf := captureLog(t)
	SetLoggerLevel2(NOTICE)
	SetLoggerLevel("LOUD")
	want := `unknown logger level "LOUD": use one of OFF, PRINT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG, TRACE; the level stays NOTICE <core/log_test.go:`
	if got := buf.take(); !strings.Contains(got, "[ERRO] ") || !strings.Contains(got, want) {
		t.Errorf("line is %q; want an ERROR with %q", got, want)
	}
	if got := GetLoggerLevel(); got != NOTICE {
		t.Errorf("level is %v; want NOTICE", got)
	}
	for _, test := range []struct{ set, want LoggerLevel }{{-1, OFF}, {100, TRACE}} {
		if SetLoggerLevel2(test.set); GetLoggerLevel() != test.want {
			t.Errorf("after SetLoggerLevel2(%d) the level is %v; want %v", test.set, GetLoggerLevel(), test.want)
		}
	}
}

func TestLazyIsNotCalledWhenDisabled(t *testing.T) {
	captureLog(t)
	SetLoggerLevel2(ERROR)
	for name, f := range map[string]func(func() string){"warn": LazyWarnf, "notice": LazyNoticef, "info": LazyInfof, "debug": LazyDebugf, "trace": LazyTracef} {
		f(func() string { t.Errorf("lazy %s made its message", name); return "" })
	}
}

func TestDisabledLevelAllocatesNothing(t *testing.T) {
	captureLog(t)
	SetLoggerLevel2(ERROR)
	l := newLogger(nil)
	if n := suite.Allocs(0, func() { Infof("a"); l.Infof("b"); l.attrs(INFO, "c") }); n != 0 {
		t.Errorf("three disabled lines allocate %v times; want 0", n)
	}
}

type outputterFunc func(calldepth int, msg []byte, level LoggerLevel)

func (f outputterFunc) Output(calldepth int, msg []byte, level LoggerLevel) { f(calldepth, msg, level) }
func (f outputterFunc) Flush() error                                        { return io.ErrClosedPipe }

func TestLoggerOutputter(t *testing.T) {
	t.Cleanup(func() { SetLoggerOutputter(nil) })
	var got []string
	SetLoggerOutputter(outputterFunc(func(depth int, msg []byte, level LoggerLevel) {
		where := ""
		if depth >= 0 {
			_, file, line, _ := runtime.Caller(depth + 1) // one more: the method Output calls this function
			where = fmt.Sprintf("%s:%d", file[strings.LastIndexByte(file, '/')+1:], line)
		}
		got = append(got, fmt.Sprintf("%v %s %s", level, msg, where))
	}))
	Infof("a %d", 1)
	line := thisLine()
	LazyWarnf(func() string { return "b" })
	defaultSlog.Error("c", "k", "v")
	std.attrs(NOTICE, "d", slog.Int("n", 1))
	want := []string{
		fmt.Sprintf("INFO a 1 log_test.go:%d", line-1),
		fmt.Sprintf("WARNING b log_test.go:%d", line+1),
		fmt.Sprintf("ERROR c k=v log_test.go:%d", line+2),
		"NOTICE d n=1 ",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("outputter got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := FlushLogger(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("FlushLogger() = %v; want the outputter's error", err)
	}
}

func TestSetLoggerAndOwnLogger(t *testing.T) {
	captureLog(t)
	var process, own lockedBuffer
	options := &slog.HandlerOptions{Level: slog.LevelWarn}
	SetLogger(slog.New(slog.NewTextHandler(&process, options)))
	l := newLogger(slog.New(slog.NewTextHandler(&own, options)))
	Infof("below the handler's level")
	Printf("below it too")
	Warnf("p")
	l.Errorf("q")
	if got := process.take(); !strings.Contains(got, "level=WARN msg=p") || strings.Contains(got, "below") {
		t.Errorf("process-wide logger got %q; want the one line p", got)
	}
	if got := own.take(); !strings.Contains(got, "level=ERROR msg=q") {
		t.Errorf("own logger got %q; want q", got)
	}
	SetLoggerLevel2(CRITICAL)
	l.Errorf("r")
	if got := own.take(); got != "" || l.enabled(ERROR) {
		t.Errorf("own logger got %q below the level in force; want nothing", got)
	}
}

// A handler that is not ours knows only the levels of slog: lines at PRINT must not be
// errors there, and raise no alert.
func TestLevelsOfOtherHandlers(t *testing.T) {
	captureLog(t)
	SetLoggerLevel2(TRACE)
	var buf lockedBuffer
	l := newLogger(slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.Level(-8)})))
	for _, test := range []struct {
		name string
		log  func(string, ...any)
		want string
	}{
		{"print", l.Printf, "INFO"}, {"critical", l.Criticalf, "ERROR+4"}, {"error", l.Errorf, "ERROR"}, {"warning", l.Warnf, "WARN"},
		{"notice", l.Noticef, "INFO"}, {"info", l.Infof, "INFO"}, {"debug", l.Debugf, "DEBUG"}, {"trace", l.Tracef, "DEBUG-4"},
	} {
		test.log("x")
		if got := buf.take(); !strings.Contains(got, " level="+test.want+" ") {
			t.Errorf("%s: the line is %q; want level %s", test.name, got, test.want)
		}
	}
}

// Our own handler knows them, also with attributes.
func TestLevelsOfOurHandler(t *testing.T) {
	buf := captureLog(t)
	newLogger(processLogger.Load().With("a", 1)).Noticef("x")
	if got := buf.take(); !strings.Contains(got, "[NOTI] x a=1") {
		t.Errorf("the line is %q; want [NOTI]", got)
	}
}

func TestFirstLevel(t *testing.T) {
	if levelAtStart != INFO {
		t.Errorf("the level at the start is %v; want INFO", levelAtStart)
	}
	captureLog(t)
	open := func(detail bool) {
		p, err := Open(PeerConfig{PrintDetail: detail})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	fresh := func() {
		levelMu.Lock()
		defer levelMu.Unlock()
		levelChosen = false
		loggerLevel.Store(int32(INFO))
	}
	fresh()
	if open(false); GetLoggerLevel() != INFO {
		t.Errorf("with a peer without PrintDetail the level is %v; want INFO", GetLoggerLevel())
	}
	if open(true); GetLoggerLevel() != DEBUG {
		t.Errorf("with PrintDetail the level is %v; want DEBUG", GetLoggerLevel())
	}
	fresh()
	SetLoggerLevel("INFO")
	if open(true); GetLoggerLevel() != INFO {
		t.Errorf("with PrintDetail a level that was chosen is %v; want INFO", GetLoggerLevel())
	}
}

// The logger of the oldest peer receives the lines of the process.
func TestPIDLineGoesToThePeersLogger(t *testing.T) {
	process := captureLog(t)
	pidPrinted = sync.Once{}
	var own lockedBuffer
	for range 2 {
		p, err := Open(PeerConfig{Logger: slog.New(slog.NewTextHandler(&own, nil))})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	if got := own.take(); strings.Count(got, "level=INFO msg=\"The current process PID: ") != 1 {
		t.Errorf("the peers' logger got %q; want one line with the PID at INFO", got)
	}
	if got := process.take(); got != "" {
		t.Errorf("the process-wide logger got %q; want nothing", got)
	}
}

func TestFatalfAndPanicf(t *testing.T) {
	buf := captureLog(t)
	var codes []int
	exit = func(code int) { codes = append(codes, code) }
	t.Cleanup(func() { exit = os.Exit })
	Fatalf("f%d", 1)
	std.Fatalf("f%d", 2)
	LazyFatalf(func() string { return "f3" })
	if fmt.Sprint(codes) != "[1 1 1]" {
		t.Errorf("exit codes are %v; want 1 three times", codes)
	}
	for _, f := range []func(){
		func() { Panicf("p%d", 1) },
		func() { std.Panicf("p%d", 1) },
		func() { LazyPanicf(func() string { return "p1" }) },
	} {
		func() {
			defer func() {
				if got := recover(); got != "p1" {
					t.Errorf("panic with %v; want p1", got)
				}
			}()
			f()
		}()
	}
	if got := strings.Count(buf.take(), "[CRIT] "); got != 6 {
		t.Errorf("%d lines at CRITICAL; want 6", got)
	}
}

// flushed is a slog.Handler that counts how often it was flushed.
type flushed struct {
	slog.Handler
	times *int
}

func (f flushed) Flush() error { *f.times++; return nil }

// Before a line at Fatalf ends the process the logger that has it is flushed, whichever it is.
func TestFatalfFlushes(t *testing.T) {
	captureLog(t)
	exit = func(int) {}
	t.Cleanup(func() { exit = os.Exit })
	var process, own int
	SetLogger(slog.New(flushed{slog.DiscardHandler, &process}))
	if Fatalf("x"); process != 1 {
		t.Errorf("the logger of the process was flushed %d times; want once", process)
	}
	if newLogger(slog.New(flushed{slog.DiscardHandler, &own})).Fatalf("x"); own != 1 {
		t.Errorf("the logger of a peer was flushed %d times; want once", own)
	}
}

func TestOneWritePerLine(t *testing.T) {
	buf := captureLog(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				Infof("line %s", strings.Repeat("x", 100))
			}
		})
	}
	wg.Wait()
	if buf.writes != 400 {
		t.Errorf("%d writes for 400 lines", buf.writes)
	}
	for line := range strings.Lines(buf.String()) {
		if strings.Count(line, "[INFO]") != 1 || !strings.HasSuffix(line, ">\n") {
			t.Fatalf("broken line %q", line)
		}
	}
}

func TestTextHandlerColour(t *testing.T) {
	var buf bytes.Buffer
	h := &textHandler{out: &logOutput{w: &buf, colour: true}}
	if err := h.Handle(t.Context(), slog.NewRecord(time.Time{}, slog.LevelInfo, "m", 0)); err != nil {
		t.Fatal(err)
	}
	if got, want := buf.String(), "[\x1b[32mINFO\x1b[0m] m\n"; got != want {
		t.Errorf("line is %q; want %q", got, want)
	}
}

// slogtest needs a handler's output as maps: parse our lines.
func TestTextHandlerConformance(t *testing.T) {
	captureLog(t)
	SetLoggerLevel2(TRACE)
	var buf bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		buf.Reset()
		return &textHandler{out: &logOutput{w: &buf}}
	}, func(t *testing.T) map[string]any {
		m := map[string]any{}
		line := strings.TrimSpace(buf.String())
		if rest, ok := strings.CutPrefix(line, "[2"); ok {
			m[slog.TimeKey], line, _ = strings.Cut(rest, "] ")
		}
		m[slog.LevelKey], line, _ = strings.Cut(line, " ")
		m[slog.MessageKey], line, _ = strings.Cut(line, " ")
		for word := range strings.FieldsSeq(line) {
			key, value, ok := strings.Cut(word, "=")
			if !ok {
				continue // the caller
			}
			in := m
			path := strings.Split(key, ".")
			for _, group := range path[:len(path)-1] {
				if in[group] == nil {
					in[group] = map[string]any{}
				}
				in = in[group].(map[string]any)
			}
			in[path[len(path)-1]] = value
		}
		return m
	})
}

func BenchmarkInfof(b *testing.B) {
	l := newLogger(slog.New(&textHandler{out: &logOutput{w: io.Discard}}))
	b.ReportAllocs()
	for b.Loop() {
		l.Infof("call %s took %v", "/math/add", time.Millisecond)
	}
}

func BenchmarkAttrs(b *testing.B) {
	l := newLogger(slog.New(&textHandler{out: &logOutput{w: io.Discard}}))
	b.ReportAllocs()
	for b.Loop() {
		l.attrs(INFO, "call", slog.String("method", "/math/add"), slog.Duration("cost", time.Millisecond))
	}
}
