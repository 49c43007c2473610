package main

import (
	"fmt"
	"strings"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/auth"
	"github.com/teleport-go/teleport/plugins/heartbeat"
	"github.com/teleport-go/teleport/plugins/overloader"
	"github.com/teleport-go/teleport/plugins/proxy"
	"github.com/teleport-go/teleport/plugins/stats"
)

// gateway serves many clients on one address, in front of a few backends.
type gateway struct {
	front  tp.Peer // clients come here
	inside tp.Peer // has one session with each backend
	counts *stats.Stats
}

func newPong() tp.Plugin { return heartbeat.NewPong() }

// newGateway opens one. users are names by token; backends are addresses by the
// beginning of the service methods they serve.
func newGateway(users, backends map[string]string) (*gateway, error) {
	g := &gateway{counts: stats.New()}

	// A lost backend is redialled without end. A client does not wait for that: after
	// RedialWait its call is a 502.
	g.inside = tp.NewPeer(tp.PeerConfig{
		RedialTimes: -1, RedialInterval: 50 * time.Millisecond, RedialWait: time.Second,
	}, heartbeat.NewPing(1, true), g.counts)
	sessions := make(map[string]tp.Session)
	for prefix, addr := range backends {
		sess, rerr := g.inside.Dial(addr)
		if rerr != nil {
			g.Close()
			return nil, fmt.Errorf("backend of %s: %w", prefix, rerr.Err())
		}
		sessions[prefix] = sess
	}

	// The hooks run in this order: a client without a token is not even counted.
	g.front = tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"},
		auth.NewCheckerPlugin(func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			var token string
			if rerr := recv(&token); rerr != nil {
				return nil, rerr
			}
			user, ok := users[token]
			if !ok {
				return nil, tp.NewRerror(403, "Forbidden", "nobody has this token")
			}
			sess.SetID(user)
			return "welcome, " + user, nil
		}),
		overloader.New(overloader.LimitConfig{
			MaxConn: 1000, MaxTotalQPS: 20_000,
			MaxHandlerQPS: []overloader.HandlerLimit{{ServiceMethod: "/prices/report", MaxQPS: 1}},
		}),
		newPong(),
		identity{},
		g.counts,
		proxy.NewPlugin(func(l *proxy.Label) proxy.Forwarder {
			for prefix, sess := range sessions {
				if strings.HasPrefix(l.ServiceMethod, prefix) {
					return sess
				}
			}
			return nil // 404
		}),
	)
	if err := g.front.Listen(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Close ends the clients' sessions first: their last calls still need the others.
func (g *gateway) Close() {
	if g.front != nil {
		g.front.Close()
	}
	g.inside.Close()
}

// metaUser is the metadata key of the sender's name, for backends.
const metaUser = "X-User"

// identity writes the user's name, which the checker has made the session's id,
// into the metadata of the user's messages, over any name the client has put there.
type identity struct{}

var (
	_ tp.PostReadCallHeaderPlugin = identity{}
	_ tp.PostReadPushHeaderPlugin = identity{}
)

func (identity) Name() string { return "identity" }

func (identity) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	ctx.Input().Meta().Set(metaUser, ctx.Session().ID())
	return nil
}

func (i identity) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror { return i.PostReadCallHeader(ctx) }
