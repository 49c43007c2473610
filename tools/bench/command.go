package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// buildTimeout bounds the build of a program, with the download of its modules.
const buildTimeout = 10 * time.Minute

// output runs a command and returns its standard output; its error has the first
// line of the standard error. When ctx ends the command is interrupted.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var out, log strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %s", name, args[0], reason(firstLine(log.String()), ctx.Err(), err))
	}
	return strings.TrimSpace(out.String()), nil
}

// firstLine returns the first line of the go command's output with an error.
func firstLine(out string) string {
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "go: downloading") {
			return line
		}
	}
	return ""
}

// reason returns line, or the error if there is no line or the time was over.
func reason(line string, errs ...error) string {
	for _, err := range errs {
		if err != nil && (line == "" || errors.Is(err, context.DeadlineExceeded)) {
			return err.Error()
		}
	}
	return line
}
