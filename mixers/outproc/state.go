package outproc

import (
	"slices"
	"time"
)

// State is what a guest, or one of its processes, is doing.
type State string

// The states of a guest. Items are answered in Ready and Degraded. In Starting they wait
// until their deadline, in the others they fail at once.
const (
	Starting    State = "starting"    // no process is ready: the first one, or one in place of another that has ended
	Ready       State = "ready"       // all processes are
	Degraded    State = "degraded"    // a replica is missing, or the process that gets the items does not answer pings
	Draining    State = "draining"    // it answers what is under way, and then ends
	Stopped     State = "stopped"     // by Close
	Quarantined State = "quarantined" // it has ended too often; Reload starts it again
)

// Event is a change of the state of a guest.
type Event struct {
	Time  time.Time
	Guest string // its name
	State State
	Err   error // why; nil if nothing is wrong
}

// Health is what a guest and its processes are doing.
type Health struct {
	State     State
	Err       error // why it is not Ready
	InFlight  int   // items that wait for an answer
	Processes []Process
}

// Process is one process of a guest.
type Process struct {
	PID    int   // 0 for one that the host has not started
	State  State // Ready, Degraded or Draining
	Active bool  // gets the items
	Since  time.Time
	RSS    int64 // resident memory in bytes; 0 where it is not known
}

// Health returns what the guest is doing.
func (h *Handle) Health() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := Health{State: h.state, Err: h.why, InFlight: len(h.slots)}
	list := h.draining
	if h.current != nil {
		list = slices.Concat(h.current.ready, h.draining)
	}
	for _, i := range list {
		p := Process{PID: i.to.pid(), State: Ready, Active: i == h.active.Load(), Since: i.since, RSS: residentMemory(i.to.pid())}
		switch {
		case slices.Contains(h.draining, i):
			p.State = Draining
		case i.gone:
			continue
		case i.slow:
			p.State = Degraded
		}
		out.Processes = append(out.Processes, p)
	}
	return out
}

// Restarts returns how often a process of the guest was started because another one had
// ended.
func (h *Handle) Restarts() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.restarts
}

// eventRoom is how many events are kept for a reader of Events.
const eventRoom = 64

// Events returns the channel of the changes of the guest's state, from Load on. It is
// closed by Close. If nobody receives, the oldest of more than 64 are dropped.
func (h *Handle) Events() <-chan Event { return h.events }

// choose derives from what the Handle knows which instance gets the items. The caller holds
// h.mu and has changed that. It returns how many instances are ready, and how many are gone
// for a reason that is not known yet.
func (h *Handle) choose() (ready, gone int) {
	var active *instance
	if h.current != nil {
		for _, i := range h.current.ready {
			if i.gone {
				gone++
				continue
			}
			ready++
			if active == nil || active.slow && !i.slow {
				active = i
			}
		}
	}
	var failed error // why there will be no instance
	switch {
	case h.closing:
		failed = errClosed
	case active == nil:
		failed = h.quarantine
	}
	if h.active.Swap(active) != active || failed != h.failed {
		h.failed = failed
		close(h.changed)
		h.changed = make(chan struct{})
	}
	return ready, gone
}

// update is choose that also derives the state of the guest, and reports a change of it.
func (h *Handle) update() {
	ready, gone := h.choose()
	active, failed := h.active.Load(), h.failed
	state, why := Ready, error(nil)
	switch {
	case h.closing && len(h.draining) > 0:
		state, why = Draining, failed
	case h.closing:
		state, why = Stopped, failed
	case failed != nil:
		state, why = Quarantined, failed
	case active != nil && active.slow:
		state, why = Degraded, errNoPing
	case gone > 0 && ready+gone == h.guest.Replicas && h.state != "":
		state, why = h.state, h.why // mayStart changes it when it is known why
	case active == nil:
		state, why = Starting, h.lastExit
	case ready < h.guest.Replicas:
		state, why = Degraded, h.lastExit
	}
	h.why = why
	if state == h.state {
		return
	}
	h.state = state
	e := Event{time.Now(), h.name, state, why}
	for {
		select {
		case h.events <- e:
			return
		default:
		}
		select {
		case <-h.events:
		default:
		}
	}
}
