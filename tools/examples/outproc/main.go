// Command outproc is a host whose filter md5 and codec cbor are in programs of their own, and
// so are a gateway for the protocol of Redis, a check of tokens and an audit.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc"
	_ "github.com/teleport-go/teleport/protos/rawproto"
)

//go:embed guests.yaml
var guests []byte

// Sum is the reply of /sum.
type Sum struct {
	Sum  int  `json:"sum"`
	Even bool `json:"even"`
}

func main() {
	tp.SetLoggerLevel("OFF")
	slog.SetLogLoggerLevel(slog.LevelError) // what a guest logs is here, too
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "outproc")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := build(ctx, dir); err != nil {
		return err
	}
	list, audit := filepath.Join(dir, "guests.yaml"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(list, bytes.ReplaceAll(guests, []byte("audit.log"), []byte(audit)), 0o600); err != nil {
		return err
	}
	// What teleport guests lock does; the lock file is then kept with the sources.
	if err := outproc.LockAll(ctx, list); err != nil {
		return err
	}
	handles, err := outproc.LoadAll(ctx, list)
	if err != nil {
		return err
	}
	for _, h := range handles {
		defer h.Close()
		fmt.Println("host: loaded", h.Parts())
	}

	srv, err := tp.Open(tp.PeerConfig{LocalIP: "127.0.0.1"})
	if err != nil {
		return err
	}
	defer srv.Close()
	tp.HandleCall(srv, "/sum", func(_ tp.CallCtx, list *[]int) (sum Sum, err error) {
		for _, n := range *list {
			sum.Sum += n
		}
		sum.Even = sum.Sum%2 == 0
		return sum, nil
	})
	if err := srv.Listen(); err != nil {
		return err
	}
	client := func() error {
		out, err := exec.CommandContext(ctx, filepath.Join(dir, "client"), srv.Addrs()[0].String()).CombinedOutput()
		fmt.Print(string(out))
		return err
	}
	if err := client(); err != nil {
		return err
	}

	// A guest that is killed is started again.
	md5 := handles[0]
	guest, err := os.FindProcess(md5.Health().Processes[0].PID)
	if err != nil {
		return err
	}
	if err := guest.Kill(); err != nil {
		return err
	}
	if err := await(ctx, md5); err != nil {
		return err
	}
	fmt.Println("host: md5guest was killed; restarts:", md5.Restarts())
	if err := client(); err != nil {
		return err
	}

	if err := serveRedis(ctx, handles[2], handles[3], handles[4]); err != nil {
		return err
	}
	for _, h := range handles {
		h.Close() // the observer has got all events then
	}
	if err := printAudit(audit); err != nil {
		return err
	}

	// A file that is not the one that was locked is not run.
	other, err := os.OpenFile(filepath.Join(dir, "md5guest"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = other.WriteString("another file")
	other.Close()
	if err != nil {
		return err
	}
	_, err = outproc.LoadAll(ctx, list)
	_, words, _ := strings.Cut(fmt.Sprint(err), ": it was")
	fmt.Println("host: another md5guest was" + strings.ReplaceAll(words, dir+string(filepath.Separator), ""))
	return nil
}

// build builds guests and client, as their authors do.
func build(ctx context.Context, dir string) error {
	const here = "github.com/teleport-go/teleport/tools/examples/outproc/"
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), here+"...")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// await waits until the killed guest has been replaced.
func await(ctx context.Context, h *outproc.Handle) error {
	for h.Restarts() == 0 {
		select {
		case <-h.Events():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
