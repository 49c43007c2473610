//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// attack is a line of the table: what is done to a victim, and what the victim may
// spend on it.
type attack struct {
	proto protocol
	what  string
	sends string   // what goes over the wire, for a reader of the table; {a|b}: a in the short round, b in the long one
	flags []string // of the victim, beside -memory
	// busy says that the attack takes the processors by itself, so that the canary
	// has to be served, but not within a time.
	busy bool
	// stall is how many times the canary's budget its longest call may take; 0: any.
	stall float64
	// play attacks. It returns an error for an answer of the victim that is wrong.
	play func(*arena) error
}

func (at attack) name() string { return at.proto.name + ": " + at.what }

// sent returns what goes over the wire in a round.
func (at attack) sent(long bool) string {
	return alternatives.ReplaceAllStringFunc(at.sends, func(s string) string {
		short, full, _ := strings.Cut(s[1:len(s)-1], "|")
		if long {
			return full
		}
		return short
	})
}

var alternatives = regexp.MustCompile(`\{[^}]*\|[^}]*\}`)

// budget bounds what the victim may spend, whatever the attack.
type budget struct {
	memory int64         // ReadMemory
	factor float64       // peak resident memory, in ReadMemory
	canary time.Duration // the 99th percentile of the canary's calls
	settle time.Duration // until goroutines and descriptors are back
	slack  int           // goroutines and descriptors that may remain
}

// result is what an attack took.
type result struct {
	attack
	peak    int64
	canary  sample
	settled time.Duration
	end     string
	broken  []string // the budgets, and what was wrong
}

// arena is what an attack plays in.
type arena struct {
	ctx     context.Context
	program string
	victim  *child
	canary  *child
	addrs   map[string]string
	proto   protocol
	long    bool
	over    chan struct{} // closed by play when its servers may end
	began   time.Time

	mu    sync.Mutex // guards the fields below
	next  time.Time  // when more may be sent
	conns []net.Conn
	lines []string
}

// scale is a number of the attack's: the first in the short round, the second in the long one.
func (a *arena) scale(short, long int) int {
	if a.long {
		return long
	}
	return short
}

// note says in the table how the attack ended.
func (a *arena) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines = append(a.lines, fmt.Sprintf(format, args...))
}

// canaryTime is the shortest time in which the canary is heard.
const canaryTime = 300 * time.Millisecond

// begin says that all is prepared: the canary's calls until now do not count.
func (a *arena) begin() {
	var unused sample
	a.canary.ask(&unused, "take") // an error is found after the attack as well
	a.began = time.Now()
}

// dial connects to the victim. The connection is closed after the attack.
func (a *arena) dial() (*net.TCPConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(a.ctx, "tcp", a.addrs[a.proto.name])
	if err != nil {
		return nil, err
	}
	a.keep(conn)
	return conn.(*net.TCPConn), nil
}

func (a *arena) keep(conn net.Conn) {
	if end, ok := a.ctx.Deadline(); ok {
		conn.SetDeadline(end) // no attack waits longer
	}
	a.mu.Lock()
	a.conns = append(a.conns, conn)
	a.mu.Unlock()
}

// each runs f over n connections at once, and returns the first error.
func (a *arena) each(n int, f func(i int, conn *net.TCPConn) error) error {
	errs := make(chan error, n)
	for i := range n {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		go func() { errs <- f(i, conn) }()
	}
	var first error
	for range n {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// send writes until everything is written, the other side has ended the connection, or
// it has taken nothing for a while. It returns how many bytes were taken.
func (a *arena) send(conn net.Conn, patience time.Duration, parts ...[]byte) (taken int) {
	for _, part := range parts {
		for len(part) > 0 {
			n := min(len(part), 64<<10)
			a.pace(n)
			conn.SetWriteDeadline(time.Now().Add(patience))
			n, err := conn.Write(part[:n])
			taken += n
			if err != nil {
				return taken
			}
			part = part[n:]
		}
	}
	return taken
}

// rate is what all connections of an attack send together, in bytes a second: more than
// most networks carry, and less than would take the processors for copying alone.
const rate = 256 << 20

// pace waits until n more bytes may be sent.
func (a *arena) pace(n int) {
	a.mu.Lock()
	if now := time.Now(); a.next.Before(now) {
		a.next = now
	}
	at := a.next
	a.next = at.Add(time.Duration(n) * time.Second / rate)
	a.mu.Unlock()
	if wait := time.Until(at); wait > 0 {
		time.Sleep(wait)
	}
}

// awaitEnd reads until the other side ends the connection or says nothing for a while. It
// returns the first bytes, and whether the connection has ended.
func awaitEnd(conn net.Conn, patience time.Duration) (head []byte, ended bool) {
	b := make([]byte, 64<<10)
	for {
		conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(b)
		head = append(head, b[:min(n, 256-min(len(head), 256))]...)
		if e, ok := err.(net.Error); ok && e.Timeout() {
			return head, false
		}
		if err != nil {
			return head, true
		}
	}
}

// discard reads in the background, as a client does that takes its replies.
func discard(conn net.Conn) { go io.Copy(io.Discard, conn) }

// levels asks the victim.
func (a *arena) levels() (l levels, err error) { return l, a.victim.ask(&l, "levels") }

// await asks the victim until done is true, and returns the last answer.
func (a *arena) await(limit time.Duration, done func(levels) bool) (l levels, ok bool, err error) {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if l, err = a.levels(); err != nil || done(l) {
			return l, err == nil, err
		}
		if time.Now().After(end) {
			return l, false, nil
		}
	}
}

// round plays attacks.
type round struct {
	program string
	out     io.Writer
	budget  budget
	long    bool

	attacks []result
	faults  []faultResult
	broken  int // how many of them broke a budget
}

// attack plays one attack on a victim of its own, with a canary beside.
func (r *round) attack(parent context.Context, at attack) (res result, err error) {
	res.attack = at
	limit := time.Minute
	if r.long {
		limit = 3 * time.Minute
	}
	ctx, cancel := context.WithTimeout(parent, limit)
	defer cancel()
	victim, err := start(r.program, "victim", append([]string{fmt.Sprintf("-memory=%d", r.budget.memory)}, at.flags...)...)
	if err != nil {
		return res, err
	}
	defer victim.end()
	var h hello
	if err := victim.receive(&h); err != nil {
		return res, err
	}
	canary, err := start(r.program, "canary", "-proto", at.proto.name, "-addr", h.Addrs[at.proto.name])
	if err != nil {
		return res, err
	}
	defer canary.end()
	var ready string
	if err := canary.receive(&ready); err != nil {
		return res, err
	}
	a := &arena{ctx: ctx, program: r.program, victim: victim, canary: canary, addrs: h.Addrs, proto: at.proto, long: r.long, over: make(chan struct{})}
	g := guardMemory(victim, int64(stopFactor*float64(r.budget.memory)))
	err = r.measure(a, &res)
	g.stop()
	switch most := g.killed.Load(); {
	case most > 0:
		res.peak = most
		res.broken = []string{"memory " + mib(most) + " and growing: the victim was stopped"}
	case err != nil:
		res.broken = append(res.broken, err.Error()) // the victim has crashed, or answers no more
	}
	return res, parent.Err()
}

// measure attacks, and compares what it takes with the budget.
func (r *round) measure(a *arena, res *result) error {
	before, err := a.levels()
	if err != nil {
		return err
	}
	was, err := usageOf(a.victim.pid())
	if err != nil {
		return err
	}
	a.begin()
	played := res.play(a)
	time.Sleep(canaryTime - time.Since(a.began)) // some calls of the canary, whatever the attack
	for _, conn := range a.conns {
		conn.Close()
	}
	if played != nil {
		res.broken = append(res.broken, played.Error())
	}
	if err := a.canary.ask(&res.canary, "take"); err != nil {
		return err
	}
	l, left, err := r.settle(a, before, was, res)
	if err != nil {
		return err
	}
	res.end = a.end(l)
	r.judge(res, left)
	if err := a.serves(); err != nil {
		res.broken = append(res.broken, fmt.Sprintf("after the attack a call of 1 MiB: %v", err))
	}
	return nil
}

// serves makes a large call on a new connection, for which there must be memory again.
func (a *arena) serves() error {
	conn, err := net.Dial("tcp", a.addrs[a.proto.name])
	if err != nil {
		return err
	}
	defer conn.Close()
	go a.send(conn, patience, a.proto.call(1, "/echo", a.proto.codec, a.proto.large()))
	return answered(a.proto, conn, 1)
}

// stopFactor is how many times ReadMemory a victim may take before it is killed, so
// that an attack that succeeds does not take the machine.
const stopFactor = 16

// guard kills a process that takes too much memory.
type guard struct {
	killed atomic.Int64 // its memory then
	done   chan struct{}
}

func guardMemory(c *child, most int64) *guard {
	g := &guard{done: make(chan struct{})}
	go func() {
		t := time.NewTicker(20 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-g.done:
				return
			case <-t.C:
			}
			if u, err := usageOf(c.pid()); err == nil && u.rss > most {
				g.killed.Store(u.rss)
				c.cmd.Process.Kill()
				return
			}
		}
	}()
	return g
}

func (g *guard) stop() { close(g.done) }

// settle waits until the victim has as many goroutines and descriptors as before, and
// measures the peak.
func (r *round) settle(a *arena, before levels, was usage, res *result) (l levels, left string, err error) {
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if l, err = a.levels(); err != nil {
			return l, "", err
		}
		is, err := usageOf(a.victim.pid())
		if err != nil {
			return l, "", err
		}
		res.peak, res.settled = is.peak, time.Since(began)
		goroutines, descriptors := l.Goroutines-before.Goroutines, is.descriptors-was.descriptors
		if goroutines <= r.budget.slack && descriptors <= r.budget.slack {
			return l, "", nil
		}
		if res.settled > r.budget.settle {
			return l, fmt.Sprintf("%d goroutines and %d descriptors more than before, %v after the attack", goroutines, descriptors, r.budget.settle), nil
		}
	}
}

// judge notes the budgets that are broken.
func (r *round) judge(res *result, left string) {
	broken := func(format string, args ...any) { res.broken = append(res.broken, fmt.Sprintf(format, args...)) }
	if most := int64(r.budget.factor * float64(r.budget.memory)); res.peak > most {
		broken("memory %s, over %s", mib(res.peak), mib(most))
	}
	if res.canary.Failed > 0 {
		broken("%d calls of the canary failed: %s", res.canary.Failed, res.canary.Error)
	}
	if !res.busy && res.canary.P99 > r.budget.canary {
		broken("canary p99 %v, over %v", round2(res.canary.P99), r.budget.canary)
	}
	if most := time.Duration(res.stall * float64(r.budget.canary)); most > 0 && res.canary.Max > most {
		broken("the longest call of the canary took %v, over %v", round2(res.canary.Max), most)
	}
	if left != "" {
		broken("%s", left)
	}
}

// end returns how the attack ended: what it has noted itself, else the most frequent
// reason for which the victim ended sessions.
func (a *arena) end(l levels) string {
	if len(a.lines) > 0 {
		return strings.Join(a.lines, "; ")
	}
	reasons := map[string]int{}
	for text, n := range l.Ends {
		if !byAttacker(text) {
			reasons[numbers.ReplaceAllString(text, "N")] += n
		}
	}
	if len(reasons) == 0 {
		return "served"
	}
	text, times := most(reasons)
	return fmt.Sprintf("%d × %s", times, text)
}

// numbers are those of bytes, which differ from one reason to the next.
var numbers = regexp.MustCompile(`\d{5,}`)

// most returns the most frequent text.
func most(count map[string]int) (text string, times int) {
	for _, k := range slices.Sorted(maps.Keys(count)) {
		if count[k] > times {
			text, times = k, count[k]
		}
	}
	return text, times
}

// byAttacker reports whether a reason says only that the other side closed.
func byAttacker(reason string) bool {
	for _, s := range []string{"closed by peer", "EOF", "connection reset", "broken pipe"} {
		if strings.Contains(reason, s) {
			return true
		}
	}
	return false
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

func round2(d time.Duration) time.Duration {
	if d > 10*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
