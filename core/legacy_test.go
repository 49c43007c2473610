package tp_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Older names mean what the present ones do.
func TestLegacyErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		got   *tp.Status
		want  string
		cause error
	}{
		{"no cause", tp.NewStatus(1000, "mine"), `{"code":1000,"message":"mine"}`, nil},
		{"nil", tp.NewStatus(1000, "mine", nil), `{"code":1000,"message":"mine"}`, nil},
		{"text", tp.NewStatus(1000, "mine", "why"), `{"code":1000,"message":"mine","reason":"why"}`, nil},
		{"error", tp.NewStatus(1000, "", io.EOF), `{"code":1000,"reason":"EOF"}`, io.EOF},
		{"number", tp.NewStatus(0, "", 7), `{"code":0,"reason":"7"}`, nil},
	} {
		if test.got.String() != test.want || test.got.Cause() != test.cause {
			t.Errorf("%s: %s, cause %v; want %s, %v", test.name, test.got, test.got.Cause(), test.want, test.cause)
		}
	}
	if r := tp.NewStatus(tp.CodeConnClosed, ""); !tp.IsConnError(r) || tp.IsConnError(tp.NewStatus(404, "")) {
		t.Error("IsConnError is not IsConnRerror")
	}
	r := tp.NewRerror(1000, "mine", "")
	if m := tp.GetMessage(tp.WithStatus(r)); m.Rerror() != r {
		t.Errorf("WithStatus: the message has %v", m.Rerror())
	}
	var meta tp.Meta
	if r := tp.NewRerrorFromMeta(&meta); r != nil {
		t.Errorf("NewRerrorFromMeta of nothing: %v", r)
	}
	meta.Set(tp.MetaRerror, r.String())
	if got := tp.NewRerrorFromMeta(&meta); got == nil || *got != *r {
		t.Errorf("NewRerrorFromMeta = %v; want %v", got, r)
	}
}

func TestLegacyGo(t *testing.T) {
	tp.SetGopool(1, time.Second)
	var wg sync.WaitGroup
	wg.Add(3)
	tp.TryGo(wg.Done)
	tp.AnywayGo(wg.Done)
	if err := tp.MustGo(wg.Done, nil); err != nil {
		t.Error(err)
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tp.MustGo(func() { t.Error("fn runs although the context has ended") }, ctx); err != context.Canceled {
		t.Errorf("MustGo = %v; want context.Canceled", err)
	}
}
