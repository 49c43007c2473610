//go:build unix

package tp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestUnixMode(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o177} {
		for _, test := range []struct{ mode, want os.FileMode }{{0, 0o600}, {0o660, 0o660}, {0o666, 0o666}} {
			t.Run(fmt.Sprintf("%03o umask %03o", test.mode, umask), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "s")
				defer syscall.Umask(syscall.Umask(umask))
				if _, err := listen(t, ListenConfig{Network: "unix", LocalIP: path, UnixMode: test.mode}); err != nil {
					t.Fatal(err)
				}
				info, err := os.Lstat(path)
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Mode().Perm(); got != test.want {
					t.Errorf("mode is %03o; want %03o", got, test.want)
				}
			})
		}
	}
}

// Another goroutine checks the mode of a socket file all the time while the file is made again and again.
func TestUnixModeIsNeverWider(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "s")
	var stop atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	wg.Go(func() {
		for !stop.Load() {
			if info, err := os.Lstat(path); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("mode is %03o for a moment; want 600", info.Mode().Perm())
				return
			}
		}
	})
	for range 300 {
		lis, err := listenUnix(t.Context(), ListenConfig{Network: "unix", LocalIP: path})
		if err != nil {
			t.Fatal(err)
		}
		lis.Close()
	}
}

func TestUnixPacketAndAbstract(t *testing.T) {
	if runtime.GOOS != "linux" {
		_, err := listen(t, ListenConfig{Network: "unix", LocalIP: "@x"})
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("abstract name: %v; want ErrUnsupported", err)
		}
		return
	}
	dir := t.TempDir()
	for _, network := range []string{"unix", "unixpacket"} {
		for _, path := range []string{filepath.Join(dir, network), "@" + filepath.Join(dir, network)} {
			t.Run(network+" "+path, func(t *testing.T) {
				lis, err := listen(t, ListenConfig{Network: network, LocalIP: path})
				if err != nil {
					t.Fatal(err)
				}
				client, server := connect(t, lis, DialConfig{Network: network, Addr: path})
				if _, err := client.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 10)
				if n, err := server.Read(b); err != nil || string(b[:n]) != "hello" {
					t.Errorf("read %q, %v; want hello", b[:n], err)
				}
				_, err = listen(t, ListenConfig{Network: network, LocalIP: path})
				wantError(t, err, "stop it, or set LocalIP to another path")
			})
		}
	}
}
