package inherit

// A Child is the process that takes over.
type Child struct {
	Pid  int
	Line *Line // over which it takes connections; nil: it takes none

	listeners []*Listener
	exited    chan struct{} // closed when it has ended
	end       string        // how; set before exited is closed
}

// Exited returns how the process has ended, "" while it runs.
func (c *Child) Exited() string {
	select {
	case <-c.exited: // nil in tests: never
		return c.end
	default:
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
