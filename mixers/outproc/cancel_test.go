package outproc

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
	"github.com/teleport-go/teleport/protos/rawproto"
)

func init() {
	roles["waits"] = func() {
		guest.Serve(&waits{begun: make(chan struct{}, 10), ended: make(chan string, 10)})
	}
}

// waits is a decider that waits for the end of its context, and says with what that ended.
type waits struct {
	begun chan struct{}
	ended chan string
}

func (*waits) Name() string        { return "waits" }
func (*waits) Hooks() []guest.Hook { return []guest.Hook{guest.OnCall} }
func (w *waits) Decide(ctx context.Context, q guest.Question) guest.Decision {
	switch q.Method {
	case "/hang":
		w.begun <- struct{}{}
		<-ctx.Done()
		w.ended <- context.Cause(ctx).Error()
	case "/begun":
		<-w.begun
		return guest.Deny(4000, "begun", "")
	case "/ended":
		return guest.Deny(4000, "ended", <-w.ended)
	}
	return guest.Decision{}
}

// A guest learns that nobody waits for its answer any more.
func TestCanceledItem(t *testing.T) {
	h := loadRole(t, "waits")
	ask := decided(t, h, "waits", patient)()
	said := func(method string) string {
		_, r := call(ask, method)
		require.NotNil(t, r)
		require.EqualValues(t, 4000, r.Code, "%s: %s", method, r)
		return r.Reason
	}
	for _, test := range []struct {
		name   string
		config PluginConfig
		limit  time.Duration // of the call
		end    func(served tp.Session)
		want   string
	}{
		{"the caller's deadline", patient, 3 * time.Second, nil, context.DeadlineExceeded.Error()},
		{"the plugin's Timeout", PluginConfig{Timeout: 3 * time.Second}, time.Minute, nil, context.DeadlineExceeded.Error()},
		{"the session is cut off", patient, time.Minute, func(served tp.Session) {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			served.Drain(ended)
		}, tp.ErrCallerGone.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := h.Plugin("waits", test.config)
			require.NoError(t, err)
			served := make(chan tp.Session, 1)
			srv := tptest.NewPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc()}, p,
				&tp.PluginImpl{PluginName: "served", OnPostReady: func(s tp.Session) { served <- s }})
			cli := tptest.NewPeer(t, tp.PeerConfig{Protocol: rawproto.NewRawProtoFunc()})
			sess := tptest.Dial(t, cli, tptest.Listen(t, srv))
			ctx, cancel := context.WithTimeout(t.Context(), test.limit)
			defer cancel()
			cmd := sess.AsyncCall("/hang", "", new(string), make(chan tp.CallCmd, 1), tp.WithContext(ctx))
			said("/begun")
			if test.end != nil {
				test.end(<-served)
			}
			require.Equal(t, test.want, said("/ended"))
			<-cmd.Done()
			require.Error(t, cmd.Rerror().Err())
		})
	}
}
