package harness

import (
	"fmt"
	"sync"
	"syscall"
)

// dialers is the number of connections made at a time.
const dialers = 64

// spareFiles is the number of open files of a process beside its connections.
const spareFiles = 64

// Connect makes n connections and, if call is set, one call over each.
func Connect(dial func() (func() error, error), n int, call bool) ([]func() error, error) {
	if err := allowFiles(n); err != nil {
		return nil, err
	}
	calls := make([]func() error, n)
	errs := make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(dialers, n) {
		wg.Go(func() {
			for i := range next {
				if calls[i], errs[i] = dial(); errs[i] == nil && call {
					errs[i] = calls[i]()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("harness: connection %d of %d and its first call: %w", i+1, n, err)
		}
	}
	return calls, nil
}

// allowFiles raises the limit of open files for n connections, if necessary.
func allowFiles(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("harness: the limit of open files: %w", err)
	}
	want := uint64(n + spareFiles)
	if limit.Cur >= want {
		return nil
	}
	raised := syscall.Rlimit{Cur: want, Max: max(limit.Max, want)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		return fmt.Errorf("harness: %d connections need %d open files, and the limit is %d (ulimit -n): %w", n, want, limit.Cur, err)
	}
	return nil
}
