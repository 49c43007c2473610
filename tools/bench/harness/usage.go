package harness

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what a process has used so far.
type Usage struct {
	CPU    time.Duration // user and system
	Allocs uint64
	Bytes  uint64 // allocated
	RSS    uint64 // bytes resident now; 0 where the system has no /proc
}

func used() Usage {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return Usage{
		CPU:    time.Duration(ru.Utime.Nano() + ru.Stime.Nano()),
		Allocs: ms.Mallocs, Bytes: ms.TotalAlloc, RSS: rss(),
	}
}

// Since returns what was used between was and u; its RSS is that of u.
func (u Usage) Since(was Usage) Usage {
	return Usage{u.CPU - was.CPU, u.Allocs - was.Allocs, u.Bytes - was.Bytes, u.RSS}
}

func rss() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize())
}
