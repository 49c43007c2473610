package inherit

import "time"

// A Child is the process that takes over.
type Child struct {
	Pid  int
	Line *Line // over which it takes connections; nil: it takes none

	listeners []*Listener
	exited    chan struct{} // closed when it has ended
	end       string        // how; set before exited is closed
}

// deathTime is how long after the end of the line a process may take to have ended.
const deathTime = time.Second

// Exited returns how the process has ended, "" while it runs. If the line has ended without
// Close, it waits a moment for that.
func (c *Child) Exited() string {
	wait := time.Duration(0)
	if c.Line.failed() {
		wait = deathTime
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-c.exited: // nil in tests: never
		return c.end
	case <-t.C:
		return ""
	}
}

// Pause lets only the child accept connections.
func (c *Child) Pause() {
	for _, l := range c.listeners {
		l.Pause()
	}
}

// Recover makes the listeners this process's again, after the child has ended.
func (c *Child) Recover() {
	for _, l := range c.listeners {
		l.handed.Store(false)
		l.Resume()
	}
}
