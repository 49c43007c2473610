package outproc

import (
	"bytes"
	"os"
	"strconv"
)

// residentMemory returns how much memory of the process is resident, in bytes; 0 if that
// is not known.
func residentMemory(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}
