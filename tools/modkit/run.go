package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// run runs a command and returns its standard output; its standard error is in
// the error. environ is added to the environment of this process.
func run(dir string, environ []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), environ...)
	var out, messages strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("modkit: %s %s in %s: %w\n%s", name, strings.Join(args, " "), dir, err, strings.TrimSpace(messages.String()))
	}
	return out.String(), nil
}

// outside returns the environment of a go command that works as on a user's
// machine: no workspace, and the modules of the repository from the proxy
// directory ours. The module cache is private, since a zip of the work tree in the
// user's cache would be taken for the published version from then on. Third-party
// modules come from the machine's download cache, read as a proxy, and else from
// the network.
func outside(ours, modcache string) ([]string, error) {
	out, err := run("", nil, "go", "env", "GOPROXY", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	proxy, cache, _ := strings.Cut(strings.TrimSpace(out), "\n")
	cache = filepath.ToSlash(filepath.Join(cache, "cache", "download"))
	return []string{
		"GOWORK=off",
		"GOFLAGS=-mod=mod -modcacherw -trimpath", // without -trimpath the build cache would know these directories, which are new each time
		"GOSUMDB=off",                            // nobody has published these versions; GONOSUMDB is not enough
		"GOPROXY=" + fileURL(ours) + "," + fileURL(cache) + "," + proxy,
		"GOMODCACHE=" + modcache,
	}, nil
}

func fileURL(dir string) string {
	dir = filepath.ToSlash(dir)
	if !strings.HasPrefix(dir, "/") {
		dir = "/" + dir // C:/… on Windows
	}
	return "file://" + dir
}
