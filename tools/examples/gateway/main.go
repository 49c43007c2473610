// Command gateway joins the plugins auth, heartbeat, overloader, stats and proxy:
// one address for many clients, in front of two backends. README.md explains it.
package main

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/plugins/auth"
	"github.com/teleport-go/teleport/plugins/heartbeat"
	"github.com/teleport-go/teleport/plugins/overloader"
	"github.com/teleport-go/teleport/plugins/stats"
)

func main() {
	tp.SetLoggerLevel("OFF") // redialling would log each attempt
	if err := run(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(w io.Writer) error {
	noted := make(chan string, 1)
	shop := newBackend(0, orders(noted))
	defer func() { shop.Close() }() // the one that is there by then
	reports := newBackend(0, prices)
	defer reports.Close()
	g, err := newGateway(map[string]string{"secret of ann": "ann"},
		map[string]string{"/orders/": shop.Addrs()[0].String(), "/prices/": reports.Addrs()[0].String()})
	if err != nil {
		return err
	}
	defer g.Close()

	fmt.Fprintln(w, "# Clients come")
	_, rerr := dial(g, "a guess", new(string))
	fmt.Fprintln(w, "a guess:", rerr.Err())
	var welcome string
	sess, rerr := dial(g, "secret of ann", &welcome)
	if rerr != nil {
		return rerr.Err()
	}
	defer sess.Peer().Close()
	fmt.Fprintln(w, "ann:", welcome)

	fmt.Fprintln(w, "\n# Calls and pushes are forwarded, errors come back")
	ask(w, sess, "/orders/buy", Order{"apples", 3}, tp.WithSetMeta(metaUser, "somebody else"))
	ask(w, sess, "/orders/buy", Order{"apples", 0})
	ask(w, sess, "/prices/report", "apples")
	ask(w, sess, "/admin/stop", "now")
	if rerr := sess.Push("/orders/viewed", "pears"); rerr != nil {
		return rerr.Err()
	}
	fmt.Fprintln(w, "the backend has noted:", <-noted)

	fmt.Fprintln(w, "\n# Too fast")
	wait := ask(w, sess, "/prices/report", "pears").GetUfloatOrZero(overloader.MetaRetryAfter)
	fmt.Fprintf(w, "Retry-After: %v\n", wait)
	time.Sleep(time.Duration(wait * float64(time.Second)).Round(time.Millisecond))
	ask(w, sess, "/prices/report", "pears")

	fmt.Fprintln(w, "\n# A backend dies, and comes back")
	addr := shop.Addrs()[0].(*net.TCPAddr)
	shop.Close()
	ask(w, sess, "/orders/buy", Order{"pears", 1})
	shop = newBackend(uint16(addr.Port), orders(noted))
	if !g.until(func(s stats.Snapshot) bool { return s.Redials > 0 }) {
		return fmt.Errorf("the backend on %v was not redialled", addr)
	}
	ask(w, sess, "/orders/buy", Order{"pears", 1})

	fmt.Fprintln(w, "\n# Heartbeats")
	for _, side := range []stats.Direction{stats.In, stats.Out} {
		if !g.until(func(s stats.Snapshot) bool { return beats(s, side) > 0 }) {
			return fmt.Errorf("no heartbeats (%s)", side)
		}
		fmt.Fprintf(w, "%s: seen\n", map[stats.Direction]string{stats.In: "from the client", stats.Out: "to the backends"}[side])
	}

	// An error is counted behind its reply.
	if !g.until(func(s stats.Snapshot) bool { return failed(s) == 4 }) {
		return fmt.Errorf("%d calls of the client are counted as failed", failed(g.counts.Snapshot()))
	}
	shot := g.counts.Snapshot()
	fmt.Fprintln(w, "\n# What the gateway has counted")
	table(w, shot)
	fmt.Fprintln(w, "\n# The same for Prometheus, in part")
	for line := range strings.Lines(string(shot.AppendOpenMetrics(nil))) {
		if strings.HasPrefix(line, "teleport_errors_total") || strings.HasPrefix(line, "teleport_sessions{") || strings.HasPrefix(line, "teleport_redials_total") {
			fmt.Fprint(w, line)
		}
	}
	return nil
}

// dial connects a client with that token.
func dial(g *gateway, token string, welcome *string) (tp.Session, *tp.Rerror) {
	cli := tp.NewPeer(tp.PeerConfig{DefaultCallTimeout: 10 * time.Second},
		auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { return send(token, welcome) }),
		heartbeat.NewPing(1, true))
	sess, rerr := cli.Dial(g.front.Addrs()[0].String())
	if rerr != nil {
		cli.Close()
	}
	return sess, rerr
}

// ask makes a call, prints its outcome, and returns the reply's metadata.
func ask(w io.Writer, sess tp.Session, method string, arg any, setting ...tp.MessageSetting) *tp.Meta {
	var answer string
	cmd := sess.Call(method, arg, &answer, setting...)
	if rerr := cmd.Rerror(); rerr != nil {
		answer = rerr.Err().Error()
	}
	fmt.Fprintf(w, "%s %v: %s\n", method, arg, answer)
	return cmd.InputMeta()
}

// until waits, at most ten seconds, until the counts satisfy a condition.
func (g *gateway) until(cond func(stats.Snapshot) bool) bool {
	deadline := time.After(10 * time.Second)
	for !cond(g.counts.Snapshot()) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			return false
		}
	}
	return true
}

// beats is the number of heartbeats in that direction.
func beats(s stats.Snapshot, d stats.Direction) (n uint64) {
	for _, r := range s.Routes {
		if r.Direction == d && r.Name == heartbeat.HeartbeatServiceMethod {
			n += r.Calls
		}
	}
	return n
}

// failed is the number of errors that clients got.
func failed(s stats.Snapshot) (n uint64) {
	for _, r := range s.Routes {
		if r.Direction == stats.In {
			for _, m := range r.Errors {
				n += m
			}
		}
	}
	return n
}

func table(w io.Writer, s stats.Snapshot) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "direction\troute\tcalls\tpushes\terrors\t99% within")
	for _, r := range s.Routes {
		if r.Calls+r.Pushes == 0 {
			continue
		}
		var errors []string
		for _, code := range slices.Sorted(maps.Keys(r.Errors)) {
			errors = append(errors, fmt.Sprintf("%d×%d", r.Errors[code], code))
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%v\n", r.Direction, r.Name, r.Calls, r.Pushes, strings.Join(errors, " "), r.Latency.Quantile(0.99))
	}
	t.Flush()
}
