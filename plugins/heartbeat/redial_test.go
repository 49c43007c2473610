package heartbeat_test

import (
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/heartbeat"
)

// slow is a plugin whose hook takes its time on a redialled connection.
type slow struct{ time.Duration }

func (slow) Name() string                          { return "slow" }
func (slow) PostDial(tp.PreSession) *tp.Rerror     { return nil }
func (s slow) PostRedial(tp.PreSession) *tp.Rerror { <-time.After(s.Duration); return nil }

// A handshake of several rates is not taken for silence, and what comes after it
// is watched as before.
func TestSlowRedial(t *testing.T) {
	for _, useCall := range []bool{true, false} {
		bubble(t, map[bool]string{true: "call", false: "push"}[useCall], func(t *testing.T) {
			rec := newRecorder()
			e := newEnds(t, plugins(heartbeat.NewPong(), rec), plugins(heartbeat.NewPing(1, useCall), slow{9 * time.Second}),
				func(c *tp.PeerConfig) { c.RedialTimes = 1 })
			e.conn().Cut()
			after(20 * time.Second)
			if e.cliSess.CloseReason() != nil {
				t.Fatalf("the session has ended: %v", e.cliSess.CloseReason())
			}
			before, _ := rec.recorded()
			after(10 * time.Second)
			if beats, _ := rec.recorded(); len(beats) < len(before)+9 {
				t.Errorf("%d beats in 10 rates", len(beats)-len(before))
			}
			if lines := e.log.Errors(); len(lines) > 0 {
				t.Errorf("logged: %q", lines)
			}
		})
	}
}

// A rate is sent anew on each connection: without it nothing is expected.
func TestRateOfConnection(t *testing.T) {
	bubble(t, "forgotten", func(t *testing.T) {
		e := newEnds(t, nil, plugins(heartbeat.NewPong()), func(c *tp.PeerConfig) { c.RedialTimes = 1 })
		if r := e.srvSess.Call("/heartbeat", nil, nil, tp.WithSetMeta("hb_", "2")).Rerror(); r != nil {
			t.Fatal(r)
		}
		e.conn().Cut()
		after(time.Second)
		conn := e.conn()
		after(time.Minute)
		if e.cliSess.CloseReason() != nil || e.conn() != conn {
			t.Errorf("the connection was given up: %v", e.cliSess.CloseReason())
		}
	})
}

// Silence is counted from when the connection was made, not from anything before.
func TestSilenceBegins(t *testing.T) {
	for _, name := range []string{"ping", "redialled"} {
		bubble(t, name, func(t *testing.T) {
			ping := heartbeat.NewPing(2, true)
			after(time.Hour)
			e := newEnds(t, plugins(heartbeat.NewPong()), plugins(ping), func(c *tp.PeerConfig) { c.RedialTimes = 1 })
			if name == "redialled" {
				after(time.Minute)
				e.conn().Cut()
				after(time.Second)
			}
			conn := e.conn()
			conn.Freeze()
			defer conn.Thaw()
			hangs := e.cliSess.AsyncCall("/hang", "x", nil, nil)
			if _, r := hangs.Reply(); r == nil || !strings.Contains(r.Reason, "nothing received for 4s at a rate of 2s") {
				t.Errorf("the pending call: %s; want 4s at a rate of 2s", r)
			}
			e.cliSess.Close()
		})
	}
}
