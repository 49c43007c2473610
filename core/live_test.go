package tp

import (
	"context"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Live has the names and types of PeerConfig's fields, and Open takes all of them.
func TestLiveIsPartOfTheConfig(t *testing.T) {
	var cfg PeerConfig
	of := reflect.ValueOf(&cfg).Elem()
	live := reflect.TypeFor[Live]()
	for i := range live.NumField() {
		field := of.FieldByName(live.Field(i).Name)
		if !field.IsValid() || field.Type() != live.Field(i).Type {
			t.Fatalf("PeerConfig has no %s of the type %s", live.Field(i).Name, live.Field(i).Type)
		}
		if field.Kind() == reflect.Bool {
			field.SetBool(true)
		} else {
			field.SetInt(int64(i) + 1)
		}
	}
	got := reflect.ValueOf(cfg.live()).Elem()
	for i := range live.NumField() {
		name := live.Field(i).Name
		if !reflect.DeepEqual(got.Field(i).Interface(), of.FieldByName(name).Interface()) {
			t.Errorf("%s is %v; want %v", name, got.Field(i), of.FieldByName(name))
		}
	}
}

func TestAdjust(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, s := w.pair()
		w.server.Adjust(func(l *Live) {
			if l.MaxHandlers != 10_000 {
				t.Errorf("MaxHandlers is %d; want the default", l.MaxHandlers)
			}
			l.MaxHandlers = 1
			l.DefaultSessionAge = time.Minute
			l.DefaultContextAge = time.Second
		})
		if age := s.SessionAge(); age != 0 {
			t.Errorf("a session that is there has the age %v", age)
		}
		blocked := call(c, "/block", "x")
		wantRerror(t, c.Call("/echo", "y", new(string)).Rerror(), CodeBusy)
		w.server.Adjust(func(l *Live) { l.MaxHandlers = 0 }) // the default
		wantReply(t, c.Call("/echo", "y", new(string)), "y")

		w.client.Adjust(func(l *Live) { l.DefaultCallTimeout = time.Second })
		start := time.Now()
		wantRerror(t, c.Call("/block", "z", nil).Rerror(), CodeHandleTimeout)
		if took := time.Since(start); took < time.Second || took > 1100*time.Millisecond {
			t.Errorf("the call took %v; want that of DefaultCallTimeout, 1s", took)
		}
		w.release()
		<-blocked

		_, later := w.pair()
		if later.SessionAge() != time.Minute || later.ContextAge() != time.Second {
			t.Errorf("a later session has the ages %v and %v; want 1m and 1s", later.SessionAge(), later.ContextAge())
		}
	})
}

func TestAdjustTheLog(t *testing.T) {
	lines := make(chan string, 100)
	log := func(cfg *PeerConfig) {
		cfg.Logger = slog.New(slogFunc(func(r slog.Record) {
			if strings.HasPrefix(r.Message, "CALL<-") {
				lines <- r.Level.String()
			}
		}))
	}
	inWorld(t, log, func(t *testing.T, w *world) {
		c, _ := w.pair()
		level := func() string {
			c.Call("/echo", "x", new(string))
			pass(time.Second)
			select {
			case l := <-lines:
				return l
			default:
				return "none"
			}
		}
		quiet := level()
		w.server.Adjust(func(l *Live) { l.AccessLog = true })
		loud := level()
		w.server.Adjust(func(l *Live) { l.AccessLog, l.PrintDetail = false, true })
		detailed := level()
		w.server.Adjust(func(l *Live) { l.PrintDetail = false })
		if got, want := []string{quiet, loud, detailed, level()}, []string{quiet, "INFO", "INFO", quiet}; !reflect.DeepEqual(got, want) {
			t.Errorf("the lines of a call are logged at %v; want %v", got, want)
		}
	})
}

// slogFunc is a slog.Handler that is one function, for all levels.
type slogFunc func(slog.Record)

func (f slogFunc) Enabled(context.Context, slog.Level) bool      { return true }
func (f slogFunc) Handle(_ context.Context, r slog.Record) error { f(r); return nil }
func (f slogFunc) WithAttrs([]slog.Attr) slog.Handler            { return f }
func (f slogFunc) WithGroup(string) slog.Handler                 { return f }
