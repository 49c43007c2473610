package outproc

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// isolate makes cmd run the open file, in a process group of its own, and end with the
// host.
func isolate(cmd *exec.Cmd, file *os.File) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// The file is descriptor 3 of the guest: what was hashed is what is run, also a
	// script, whose interpreter opens it once more.
	cmd.ExtraFiles = []*os.File{file}
	cmd.Path = "/proc/self/fd/3"
}

func killGroup(pid int) { syscall.Kill(-pid, syscall.SIGKILL) }

// awaitExit waits until the process has ended, and leaves it to be waited for, so that
// its id is not given to another one.
func awaitExit(pid int) {
	const pPID, wExited, wNoWait = 1, 4, 0x1000000
	var info [128]byte
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pPID, uintptr(pid), uintptr(unsafe.Pointer(&info)), wExited|wNoWait, 0, 0)
		if errno != syscall.EINTR {
			return
		}
	}
}

// checkPeer returns an error unless the other end of a unix socket is a process of this
// user or of root, and pid, if that is not 0.
func checkPeer(lane fdOwner, pid int) error {
	var cred *syscall.Ucred
	var err error
	if e := lane.ControlFD(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); e != nil {
		err = e
	}
	switch {
	case err != nil:
		return fmt.Errorf("read the credentials of the lane's other end: %w", err)
	case int(cred.Uid) != os.Getuid() && cred.Uid != 0:
		return fmt.Errorf("the lane's other end is a process of user %d, not of this user (%d)", cred.Uid, os.Getuid())
	case pid != 0 && int(cred.Pid) != pid:
		return fmt.Errorf("the lane's other end is process %d, not the guest (%d)", cred.Pid, pid)
	}
	return nil
}

// changeTime returns when the file's bytes or properties were changed last.
func changeTime(info fs.FileInfo) syscall.Timespec { return info.Sys().(*syscall.Stat_t).Ctim }
