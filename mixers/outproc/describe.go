package outproc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// Description is what a guest says of itself without being loaded.
type Description struct {
	Name    string          `json:"name"`
	Version string          `json:"version"`
	SHA256  string          `json:"sha256"` // of the file, in hexadecimal
	Parts   []Part          `json:"parts"`
	Schema  json.RawMessage `json:"schema,omitempty"` // JSON Schema of Guest.Config, if it has one
}

// Describe runs the guest's file with the argument "describe", after the hash was checked,
// and returns what it prints. It takes g.StartTimeout at most. Nothing is registered. A
// guest with Connect has no file, and is an error.
func Describe(ctx context.Context, g Guest) (*Description, error) {
	d, err := describe(ctx, g)
	if err != nil {
		return nil, fmt.Errorf("outproc: describe guest %s: %w", g.where(), err)
	}
	return d, nil
}

func describe(ctx context.Context, g Guest) (*Description, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	if g.Connect != "" {
		return nil, errors.New("it has no file here: run PROGRAM describe where the guest is")
	}
	src, err := newSource(&g)
	if err != nil {
		return nil, err
	}
	defer src.close()
	text, err := src.(*program).describe(ctx)
	if err != nil {
		return nil, err
	}
	desc, err := contract.ParseDescription(text)
	if err != nil {
		return nil, err
	}
	if err := g.checkName(desc.Name); err != nil {
		return nil, err
	}
	d := &Description{Name: desc.Name, Version: desc.Version, SHA256: src.sum(), Schema: desc.Schema}
	for _, p := range desc.Parts {
		d.Parts = append(d.Parts, partOf(p))
	}
	return d, nil
}

// describe runs the program with the argument "describe" and returns its output.
func (p *program) describe(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.guest.StartTimeout)
	defer cancel()
	path, err := filepath.Abs(p.guest.Path) // a name without a slash is this file, too, and none of $PATH
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append(append([]string{}, p.guest.Args...), "describe")...)
	cmd.Env = environment(p.guest.Env)
	isolate(cmd, p.file)
	cmd.Cancel = func() error {
		killGroup(cmd.Process.Pid)
		return cmd.Process.Kill()
	}
	cmd.WaitDelay = time.Second // others may hold its output open
	out, tail := &limited{most: contract.MaxDescription, stop: cancel}, &limited{most: maxLine}
	cmd.Stdout, cmd.Stderr = out, tail
	runtime.LockOSThread() // as for a process: Linux ends it with the thread
	err = cmd.Run()
	runtime.UnlockOSThread()
	switch {
	case out.over:
		return nil, fmt.Errorf("its description has more than %d bytes: it is no guest of Teleport", contract.MaxDescription)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("it has not described itself within %v: it is no guest of Teleport, or it hangs", p.guest.StartTimeout)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		if text := strings.TrimSpace(tail.buf.String()); text != "" {
			return nil, fmt.Errorf("%w; its last lines:\n\t%s", err, text)
		}
		return nil, err
	}
	return out.buf.Bytes(), nil
}

// limited keeps the first bytes of what is written to it.
type limited struct {
	buf  bytes.Buffer // not embedded: its ReadFrom has no limit
	most int
	over bool   // more was written
	stop func() // called then, if it is not nil
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.most-l.buf.Len())
	l.buf.Write(b[:n])
	if n < len(b) && !l.over {
		l.over = true
		if l.stop != nil {
			l.stop()
		}
	}
	return len(b), nil
}
